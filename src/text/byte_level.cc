#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace quire::text {
namespace {

constexpr char32_t kEnd = 0x144;  // the alphabet lies below

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE);
}

struct Alphabet {
  std::array<char16_t, 256> to_char{};
  std::array<int16_t, kEnd> to_byte{};  // -1: not of the alphabet

  constexpr Alphabet() {
    to_byte.fill(-1);
    char16_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char16_t c = StandsForItself(byte) ? static_cast<char16_t>(byte) : next++;
      to_char[byte] = c;
      to_byte[c] = static_cast<int16_t>(byte);
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

void AppendByteLevel(std::string_view bytes, std::string& out) {
  for (const char byte : bytes) AppendUtf8(kAlphabet.to_char[static_cast<unsigned char>(byte)], out);
}

bool AppendBytesOfByteLevel(std::string_view token, std::string& out) {
  const size_t size_before = out.size();
  for (size_t at = 0; at < token.size();) {
    const CodePoint code_point = DecodeUtf8(token, at);
    const int byte = code_point.value < kEnd ? kAlphabet.to_byte[code_point.value] : -1;
    if (byte < 0) {
      out.resize(size_before);
      return false;
    }
    out.push_back(static_cast<char>(static_cast<unsigned char>(byte)));
    at += code_point.length;
  }
  return true;
}

}  // namespace quire::text
