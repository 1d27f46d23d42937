#include "base/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"

namespace quire {
namespace {

Error WriteError(const std::string& path) {
  const auto code = errno == ENOSPC || errno == EDQUOT ? ErrorCode::kResourceExhausted : ErrorCode::kIo;
  return MakeError(code, "cannot write {}: {}", path, std::strerror(errno));
}

Error AlreadyThere(const std::string& path) {
  return InvalidArgument("{} is there already: choose another name, or remove it", path);
}

}  // namespace

Result<NewFile> NewFile::Create(const std::string& path, bool replaces) {
  if (!replaces && Env::Posix().Exists(path)) return AlreadyThere(path);
  std::string temporary = path + ".XXXXXX";
  const int fd = mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return WriteError(path);
  static_cast<void>(fchmod(fd, 0644));  // a temporary file is its owner's alone; advice
  return NewFile(path, std::move(temporary), fd, replaces);
}

NewFile::NewFile(std::string path, std::string temporary, int fd, bool replaces)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd), replaces_(replaces) {}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      fd_(std::exchange(other.fd_, -1)),
      replaces_(other.replaces_) {}

NewFile::~NewFile() {
  if (fd_ < 0) return;
  close(fd_);
  unlink(temporary_.c_str());
}

Status NewFile::Append(std::span<const std::byte> bytes) {
  constexpr size_t kMaxWrite = size_t{1} << 30;
  while (!bytes.empty()) {
    const ssize_t count = write(fd_, bytes.data(), std::min(bytes.size(), kMaxWrite));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return WriteError(path_);
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return {};
}

Status NewFile::Finish() {
  if (fsync(fd_) != 0) return WriteError(path_);
  const char *from = temporary_.c_str(), *to = path_.c_str();
  int failed = renameat2(AT_FDCWD, from, AT_FDCWD, to, replaces_ ? 0 : RENAME_NOREPLACE);
  if (failed != 0 && errno == EINVAL && !replaces_) {  // not every file system knows the flag
    if (Env::Posix().Exists(path_)) return AlreadyThere(path_);
    failed = rename(from, to);
  }
  if (failed != 0) return errno == EEXIST ? AlreadyThere(path_) : WriteError(path_);
  close(std::exchange(fd_, -1));
  return {};
}

}  // namespace quire
