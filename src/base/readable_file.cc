#include "base/readable_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

int64_t ModifiedNs(const struct stat& info) {
  return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + int64_t{info.st_mtim.tv_nsec};
}

}  // namespace

Result<ReadableFile> ReadableFile::Open(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return MakeError(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open {}: {}", path,
                     std::strerror(errno));
  }
  struct stat info = {};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return Io("cannot read {}: not a regular file", path);
  }
  return ReadableFile(path, fd, static_cast<uint64_t>(info.st_size), ModifiedNs(info));
}

ReadableFile::ReadableFile(std::string path, int fd, uint64_t size, int64_t modified_ns)
    : path_(std::move(path)), fd_(fd), size_(size), modified_ns_(modified_ns) {}

ReadableFile::~ReadableFile() {
  if (fd_ >= 0) close(fd_);
}

ReadableFile::ReadableFile(ReadableFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      size_(std::exchange(other.size_, 0)),
      modified_ns_(other.modified_ns_) {}

ReadableFile& ReadableFile::operator=(ReadableFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(modified_ns_, other.modified_ns_);
  return *this;
}

Status ReadableFile::Read(uint64_t offset, std::span<std::byte> to) const {
  constexpr size_t kMaxRead = size_t{1} << 30;  // the kernel reads no more than 2 GiB at once
  while (!to.empty()) {
    const ssize_t count = pread(fd_, to.data(), std::min(to.size(), kMaxRead), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Io("cannot read {} at byte {}: {}", path_, offset, std::strerror(errno));
    if (count == 0) {
      return DataLoss("{} ends at byte {}, and had {} when it was opened: it changed while it was read", path_, offset,
                      size_);
    }
    to = to.subspan(static_cast<size_t>(count));
    offset += static_cast<uint64_t>(count);
  }
  return {};
}

Status ReadableFile::CheckUnchanged() const {
  struct stat info = {};
  if (fstat(fd_, &info) != 0) return Io("cannot read {}: {}", path_, std::strerror(errno));
  if (ModifiedNs(info) == modified_ns_ && static_cast<uint64_t>(info.st_size) == size_) return {};
  return DataLoss("{} was written to while it was read: try again when it is complete", path_);
}

}  // namespace quire
