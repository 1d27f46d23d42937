// What tests of goldens draw and digest as tools/golden/make_gguf_blocks.py does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

namespace quire {

inline std::vector<std::byte> SplitMixBytes(uint64_t seed, size_t count) {
  std::vector<std::byte> bytes;
  while (bytes.size() < count) {
    seed += 0x9E3779B97F4A7C15U;
    uint64_t z = seed;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(z >> (8 * i) & 0xFFU));
  }
  bytes.resize(count);
  return bytes;
}

// FNV-1a in steps of a word, in hexadecimal.
inline std::string FnvOf(std::span<const uint32_t> words) {
  uint64_t digest = 0xCBF29CE484222325U;
  for (const uint32_t word : words) digest = (digest ^ word) * 0x100000001B3U;
  char text[17];
  static_cast<void>(snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(digest)));
  return text;
}

}  // namespace quire
