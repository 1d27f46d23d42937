// Counter-based random numbers: a draw is a pure function of (seed, stream, position), so that the same request draws
// the same numbers in any batch, order, or thread. Philox4x32-10 (Salmon et al., SC 2011).
#pragma once

#include <array>
#include <cstdint>

namespace quire {

struct RngKey {
  uint64_t seed = 0;
  uint32_t stream = 0;    // which of the sequences of one request
  uint32_t position = 0;  // of the token that is drawn
};

inline std::array<uint32_t, 4> Philox(RngKey key, uint32_t draw) {
  constexpr uint32_t kMul0 = 0xD2511F53U, kMul1 = 0xCD9E8D57U, kWeyl0 = 0x9E3779B9U, kWeyl1 = 0xBB67AE85U;
  std::array<uint32_t, 4> counter = {key.position, key.stream, draw, 0};
  uint32_t k0 = static_cast<uint32_t>(key.seed);
  uint32_t k1 = static_cast<uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{kMul0} * counter[0];
    const uint64_t p1 = uint64_t{kMul1} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return counter;
}

// Uniform in [0, 1), 53 bits.
inline double UniformDouble(RngKey key, uint32_t draw) {
  const std::array<uint32_t, 4> bits = Philox(key, draw);
  const uint64_t wide = (uint64_t{bits[0]} << 32 | bits[1]) >> 11;
  return static_cast<double>(wide) * 0x1p-53;
}

}  // namespace quire
