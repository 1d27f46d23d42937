#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace quire {

void CheckFailed(const char* file, int line, std::string_view condition, std::string_view details) {
  const std::string message = fmt::format("{}:{}: check failed: {} {}\n", file, line, condition, details);
  std::fputs(message.c_str(), stderr);
  std::abort();
}

}  // namespace quire
