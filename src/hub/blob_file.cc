#include "hub/blob_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kReadBytes = 1 << 20;

Error FileError(const char* what, const std::string& path) {
  const int error = errno;
  const bool is_full = error == ENOSPC || error == EDQUOT;
  return MakeError(is_full ? ErrorCode::kResourceExhausted : ErrorCode::kIo, "cannot {} {}: {}", what, path,
                   std::strerror(error));
}

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Whether the open file still is what the path names: some versions of filelock remove lock files.
bool IsStillAt(const std::string& path, int file) {
  struct stat here = {}, there = {};
  return fstat(file, &here) == 0 && stat(path.c_str(), &there) == 0 && here.st_ino == there.st_ino &&
         here.st_dev == there.st_dev;
}

// The open, locked file; -1: somebody else has the lock.
Result<int> TryLock(const std::string& path) {
  // Members of a group that share a cache wait for each other.
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0664);
  if (file < 0) return FileError("create", path);
  if (flock(file, LOCK_EX | LOCK_NB) == 0 && IsStillAt(path, file)) return file;
  const bool is_taken = errno == EWOULDBLOCK || errno == EINTR || errno == EACCES || errno == ENOENT || errno == 0;
  const Error error = FileError("lock", path);
  close(file);
  if (is_taken) return -1;
  return error;
}

}  // namespace

BlobFile::BlobFile(const CacheLayout& layout, const RepoFile& file, int lock)
    : blob_(layout.Blob(file.etag())),
      incomplete_(layout.Incomplete(file.etag())),
      etag_(file.etag()),
      full_size_(file.size),
      digest_(etag_, full_size_),
      lock_(lock) {}

BlobFile::~BlobFile() {
  if (file_ >= 0) close(file_);
  if (lock_ >= 0) close(lock_);
}

BlobFile::BlobFile(BlobFile&& other) noexcept
    : blob_(std::move(other.blob_)),
      incomplete_(std::move(other.incomplete_)),
      etag_(std::move(other.etag_)),
      full_size_(other.full_size_),
      size_(other.size_),
      digest_(std::move(other.digest_)),
      lock_(std::exchange(other.lock_, -1)),
      file_(std::exchange(other.file_, -1)) {}

Result<std::optional<BlobFile>> BlobFile::Open(const CacheLayout& layout, const RepoFile& file) {
  const std::string lock_path = layout.Lock(file.etag());
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(layout.LockFolder()));
  QUIRE_RETURN_IF_ERROR(Env::Posix().CreateDirectories(FolderOf(layout.Blob(file.etag()))));
  QUIRE_ASSIGN_OR_RETURN(const int lock, TryLock(lock_path));
  if (lock < 0) return std::optional<BlobFile>();
  BlobFile blob(layout, file, lock);
  if (Env::Posix().Exists(blob.blob_)) {
    blob.size_ = blob.full_size_;
  } else {
    QUIRE_RETURN_IF_ERROR(blob.OpenPart());
  }
  return std::optional<BlobFile>(std::move(blob));
}

Status BlobFile::OpenPart() {
  file_ = open(incomplete_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (file_ < 0) return FileError("write", incomplete_);
  struct stat info = {};
  if (fstat(file_, &info) != 0) return FileError("read", incomplete_);
  if (!S_ISREG(info.st_mode)) return Io("{} is no regular file: remove it", incomplete_);
  if (static_cast<uint64_t>(info.st_size) > full_size_) return StartOver();
  std::string buffer(kReadBytes, '\0');
  while (true) {
    const ssize_t got = read(file_, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError("read", incomplete_);
    if (got == 0) return {};
    digest_.Add(std::string_view(buffer).substr(0, static_cast<size_t>(got)));
    size_ += static_cast<uint64_t>(got);
  }
}

Status BlobFile::Append(std::string_view bytes) {
  if (bytes.size() > full_size_ - size_) return DataLoss("more bytes came than the {} that it has", full_size_);
  digest_.Add(bytes);
  while (!bytes.empty()) {
    const ssize_t written = pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError("write", incomplete_);
    bytes.remove_prefix(static_cast<size_t>(written));
    size_ += static_cast<uint64_t>(written);
  }
  return {};
}

Status BlobFile::StartOver() {
  size_ = 0;
  digest_ = FileDigest(etag_, full_size_);
  return ftruncate(file_, 0) == 0 ? Status() : FileError("empty", incomplete_);
}

Status BlobFile::Finish() {
  if (const std::string digest = digest_.Finish(); digest != etag_) {
    QUIRE_RETURN_IF_ERROR(StartOver());
    return DataLoss("its digest is {} instead of {}", digest, etag_);
  }
  // After a loss of power, too, the blob's name means all its bytes.
  if (fdatasync(file_) != 0) return FileError("write", incomplete_);
  QUIRE_RETURN_IF_ERROR(Env::Posix().Rename(incomplete_, blob_));
  close(std::exchange(file_, -1));
  return {};
}

}  // namespace quire
