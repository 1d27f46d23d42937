// A file that is open for reading, for parts of large files: what has become shorter meanwhile, or cannot be read, is
// an error that names the file, where a mapping would be a signal. Const; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "quire/result.h"

namespace quire {

class ReadableFile {
 public:
  static Result<ReadableFile> Open(const std::string& path);
  ~ReadableFile();
  ReadableFile(ReadableFile&& other) noexcept;
  ReadableFile& operator=(ReadableFile&& other) noexcept;

  const std::string& path() const { return path_; }
  uint64_t size() const { return size_; }  // when it was opened

  // All of to.size() bytes from `offset` on.
  Status Read(uint64_t offset, std::span<std::byte> to) const;
  // kDataLoss: it was written to since it was opened, so that what was read may be of two versions.
  Status CheckUnchanged() const;

 private:
  ReadableFile(std::string path, int fd, uint64_t size, int64_t modified_ns);

  std::string path_;
  int fd_ = -1;
  uint64_t size_ = 0;
  int64_t modified_ns_ = 0;  // when it was opened
};

}  // namespace quire
