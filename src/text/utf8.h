// UTF-8: validation with the offset of the first fault, code points, and the lossy conversion of a byte stream.
// Stateless but for LossyUtf8, which serves one stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace quire::text {

// The offset of the first byte that is not part of a well-formed character; nothing if all of `bytes` is UTF-8.
std::optional<size_t> FindInvalidUtf8(std::string_view bytes);

struct CodePoint {
  char32_t value = 0;
  size_t length = 0;  // bytes
};

// REQUIRES: `text` is valid UTF-8 and a character starts at `at`.
inline CodePoint DecodeUtf8(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(text[at + i])); };
  const char32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

// The character that ends before `end`. REQUIRES: valid UTF-8, end > 0 is a character boundary.
inline CodePoint DecodeUtf8Before(std::string_view text, size_t end) {
  size_t begin = end - 1;
  while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return DecodeUtf8(text, begin);
}

void AppendUtf8(char32_t code_point, std::string& out);

// Bytes in, whole characters out: each maximal ill-formed part becomes one U+FFFD (Unicode 15, section 3.9).
class LossyUtf8 {
 public:
  void Append(std::string_view bytes, std::string& out);
  void Flush(std::string& out);

 private:
  void AppendByte(unsigned char byte, std::string& out);
  void StartCharacter(unsigned char byte, std::string& out);

  std::string pending_;    // the start of a character, well-formed so far
  int missing_ = 0;        // its bytes to come
  unsigned char low_ = 0;  // bounds of the next of them
  unsigned char high_ = 0;
};

}  // namespace quire::text
