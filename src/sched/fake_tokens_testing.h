// What a FakeRunner computes: digests of a sequence up to and with each token, and draws that depend on nothing else.
#pragma once

#include <cstdint>

namespace quire {

inline uint64_t MixDigests(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15ULL + b + 0x632BE59BD9B4E019ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// After one token more.
inline uint64_t ExtendDigest(uint64_t digest, int32_t token) {
  return MixDigests(digest, static_cast<uint32_t>(token));
}

inline int32_t DrawnToken(uint64_t digest, uint64_t seed, uint32_t position, int32_t vocab_size) {
  return static_cast<int32_t>(MixDigests(MixDigests(digest, seed), position) % static_cast<uint64_t>(vocab_size));
}

}  // namespace quire
