// The digests by which the hub names a file's bytes: SHA-256 of a file in LFS, git's SHA-1 of any other ("blob <size>"
// and a zero before the bytes). Thread-compatible.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace quire {

class FileDigest {
 public:
  // `etag`: of 64 hexadecimal digits, or of 40. `size`: of the whole file.
  FileDigest(std::string_view etag, uint64_t size);
  ~FileDigest();
  FileDigest(FileDigest&&) noexcept;
  FileDigest& operator=(FileDigest&&) noexcept;

  void Add(std::string_view bytes);
  // Of all that was added, in hexadecimal digits. Once.
  std::string Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
