#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"

namespace quire {
namespace {

// Why the first write failed: stdio remembers that one did, not why.
int output_errno = 0;

bool Flush() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  if (output_errno == 0) output_errno = errno;
  return false;
}

}  // namespace

bool PrintAll(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return Flush();
}

Error LostOutput() {
  return Io("cannot write to standard output: {}",
            output_errno == 0 ? "some of it was lost" : std::strerror(output_errno));
}

int WithOutputChecked(int exit_code) {
  if (Flush() || exit_code != 0) return exit_code;
  std::fprintf(stderr, "quire: %s\n", LostOutput().message.c_str());
  return 1;
}

}  // namespace quire
