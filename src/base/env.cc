#include "base/env.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) close(fd_);
  }
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&&) = delete;
  int get() const { return fd_; }
  // Errors of a delayed write are reported here.
  bool Close() { return close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

class PosixFileLock final : public FileLock {
 public:
  explicit PosixFileLock(FileDescriptor file) : file_(std::move(file)) {}

 private:
  FileDescriptor file_;
};

ErrorCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
      return ErrorCode::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return ErrorCode::kResourceExhausted;
    default:
      return ErrorCode::kIo;
  }
}

Error SystemError(const char* what, const std::string& path, int error) {
  return MakeError(CodeOf(error), "cannot {} {}: {}", what, path, std::strerror(error));
}

Result<FileDescriptor> OpenFile(const char* what, const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) return SystemError(what, path, errno);
  return FileDescriptor(fd);
}

Result<struct stat> InfoOf(const FileDescriptor& file, const std::string& path) {
  struct stat info = {};
  if (fstat(file.get(), &info) != 0) return SystemError("read", path, errno);
  return info;
}

// Reads on until max_bytes or the end of the file, whatever size it claims to have (those of /proc claim none).
Result<std::string> ReadUpTo(const FileDescriptor& file, const std::string& path, off_t claimed_bytes,
                             size_t max_bytes) {
  std::string contents(std::min(static_cast<size_t>(claimed_bytes) + 1, max_bytes), '\0');
  size_t size = 0;
  while (size < max_bytes) {
    if (size == contents.size()) contents.resize(std::min(2 * contents.size() + 4096, max_bytes));
    const ssize_t got = read(file.get(), contents.data() + size, contents.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EIO) return DataLoss("cannot read {}: {}", path, std::strerror(EIO));
    if (got < 0) return SystemError("read", path, errno);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  contents.resize(size);
  return contents;
}

class PosixEnv final : public Env {
 public:
  Result<std::string> ReadFile(const std::string& path) const override {
    QUIRE_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile("open", path, O_RDONLY));
    QUIRE_ASSIGN_OR_RETURN(const struct stat info, InfoOf(file, path));
    if (S_ISDIR(info.st_mode)) return Io("cannot read {}: it is a directory", path);
    return ReadUpTo(file, path, info.st_size, std::numeric_limits<size_t>::max());
  }

  Result<std::string> ReadFileUpTo(const std::string& path, size_t max_bytes) const override {
    QUIRE_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile("open", path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    QUIRE_ASSIGN_OR_RETURN(const struct stat info, InfoOf(file, path));
    if (!S_ISREG(info.st_mode)) return DataLoss("cannot read {}: it is not a regular file", path);
    return ReadUpTo(file, path, info.st_size, max_bytes);
  }

  Status WriteFile(const std::string& path, std::string_view contents) const override {
    QUIRE_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile("write", path, O_WRONLY | O_CREAT | O_TRUNC));
    while (!contents.empty()) {
      const ssize_t written = write(file.get(), contents.data(), contents.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return SystemError("write", path, errno);
      contents.remove_prefix(static_cast<size_t>(written));
    }
    if (!file.Close()) return SystemError("write", path, errno);
    return {};
  }

  bool Exists(const std::string& path) const override {
    std::error_code code;
    return fs::exists(path, code);
  }

  bool IsDirectory(const std::string& path) const override {
    std::error_code code;
    return fs::is_directory(path, code);
  }

  Result<std::vector<std::string>> ListDirectory(const std::string& path) const override {
    std::error_code code;
    std::vector<std::string> names;
    for (fs::directory_iterator it(path, code), end; !code && it != end; it.increment(code)) {
      names.push_back(it->path().filename().string());
    }
    if (code) return Io("cannot list {}: {}", path, code.message());
    std::sort(names.begin(), names.end());
    return names;
  }

  Status CreateDirectories(const std::string& path) const override {
    std::error_code code;
    fs::create_directories(path, code);
    if (code) return Io("cannot create the directory {}: {}", path, code.message());
    if (!IsDirectory(path)) return Io("{} is not a directory", path);
    return {};
  }

  Status Rename(const std::string& from, const std::string& to) const override {
    if (std::rename(from.c_str(), to.c_str()) != 0) return SystemError("rename to", to, errno);
    return {};
  }

  Status Remove(const std::string& path) const override {
    if (unlink(path.c_str()) != 0) return SystemError("remove", path, errno);
    return {};
  }

  Result<int64_t> ModifiedTime(const std::string& path) const override {
    struct stat info = {};
    if (stat(path.c_str(), &info) != 0) return SystemError("stat", path, errno);
    return int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + int64_t{info.st_mtim.tv_nsec};
  }

  // Not UTIME_NOW: that is the time of the kernel's last tick, and two files of one tick would look equally old.
  Status SetModifiedNow(const std::string& path) const override {
    timespec times[2] = {};
    clock_gettime(CLOCK_REALTIME, &times[0]);
    times[1] = times[0];
    if (utimensat(AT_FDCWD, path.c_str(), times, 0) != 0) return SystemError("touch", path, errno);
    return {};
  }

  Result<std::unique_ptr<FileLock>> Lock(const std::string& path) const override {
    QUIRE_ASSIGN_OR_RETURN(FileDescriptor file, OpenFile("create", path, O_RDWR | O_CREAT));
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) return Unavailable("{} is locked: another process uses it", path);
      return SystemError("lock", path, errno);
    }
    return std::unique_ptr<FileLock>(std::make_unique<PosixFileLock>(std::move(file)));
  }

  Status Allocate(int file, uint64_t offset, uint64_t bytes) const override {
    int error = 0;
    do {
      error = posix_fallocate(file, static_cast<off_t>(offset), static_cast<off_t>(bytes));
    } while (error == EINTR);
    if (error != 0) return MakeError(CodeOf(error), "no disk space for {} bytes: {}", bytes, std::strerror(error));
    return {};
  }
};

}  // namespace

const Env& Env::Posix() {
  static const PosixEnv env;
  return env;
}

std::string JoinPath(const std::string& directory, const std::string& name) {
  if (directory.empty() || directory.back() == '/') return directory + name;
  return directory + '/' + name;
}

}  // namespace quire
