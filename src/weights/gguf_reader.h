// GgufReader: a cursor over the head of a GGUF file, which reads ahead in growing pieces as the head says nowhere how
// long it is. Nothing is read or allocated for a length that the file cannot hold. One thread.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/readable_file.h"
#include "quire/result.h"

namespace quire {

static_assert(std::endian::native == std::endian::little, "GGUF's numbers are read as they are stored");

class GgufReader {
 public:
  static constexpr uint64_t kMaxHeadBytes = uint64_t{1} << 29;  // generous beyond any vocabulary

  explicit GgufReader(const ReadableFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  // Of the file, behind the cursor.
  uint64_t remaining() const { return file_.size() - position_; }

  // An error if the file, or what a head may have, ends before `bytes` more: "<path>: <what>: ...".
  Status Need(uint64_t bytes, std::string_view what);

  // A number of type T.
  template <typename T>
  Result<T> Number(std::string_view what) {
    QUIRE_RETURN_IF_ERROR(Need(sizeof(T), what));
    T value;
    std::memcpy(&value, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }
  // Eight bytes of length and as many bytes as they say; the view ends with the next call.
  Result<std::string_view> String(std::string_view what);
  Status Skip(uint64_t bytes, std::string_view what);

  // What was read, up to the cursor.
  std::string Take();

 private:
  const ReadableFile& file_;
  std::string bytes_;  // from the file's beginning
  uint64_t position_ = 0;
};

}  // namespace quire
