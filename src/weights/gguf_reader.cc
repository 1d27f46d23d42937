#include "weights/gguf_reader.h"

#include <algorithm>
#include <span>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

constexpr uint64_t kFirstPiece = uint64_t{1} << 18;

}  // namespace

Status GgufReader::Need(uint64_t bytes, std::string_view what) {
  if (bytes <= bytes_.size() - position_) return {};
  if (bytes > remaining()) {
    return DataLoss("{}: {}: truncated: {} bytes are needed at byte {}, and the file ends at {}", file_.path(), what,
                    bytes, position_, file_.size());
  }
  const uint64_t end = position_ + bytes;
  if (end > kMaxHeadBytes) {
    return DataLoss("{}: {}: metadata would reach byte {}, over the limit of {}", file_.path(), what, end,
                    kMaxHeadBytes);
  }
  const uint64_t begin = bytes_.size();
  const uint64_t wanted = std::max({end, 2 * begin, kFirstPiece});
  bytes_.resize(std::min({wanted, file_.size(), kMaxHeadBytes}));
  return file_.Read(begin, std::as_writable_bytes(std::span(bytes_).subspan(begin)));
}

Result<std::string_view> GgufReader::String(std::string_view what) {
  QUIRE_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(what));
  QUIRE_RETURN_IF_ERROR(Need(length, what));
  const std::string_view text(bytes_.data() + position_, length);
  position_ += length;
  return text;
}

Status GgufReader::Skip(uint64_t bytes, std::string_view what) {
  QUIRE_RETURN_IF_ERROR(Need(bytes, what));
  position_ += bytes;
  return {};
}

std::string GgufReader::Take() {
  bytes_.resize(position_);
  bytes_.shrink_to_fit();
  return std::move(bytes_);
}

}  // namespace quire
