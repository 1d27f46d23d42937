// One block of each of GGUF's kinds as floats: what Dequantize chooses from. `block` has the format's block_bytes,
// `to` its block_size. Each file says how its kinds lay out a block.
#pragma once

#include <cstdint>
#include <cstring>

#include "tensor/dtype.h"

namespace quire::dequantize {

template <typename T>
T LoadUnaligned(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

inline float LoadHalf(const uint8_t* at) { return HalfToFloat(LoadUnaligned<uint16_t>(at)); }

// Field `index` of those of `bits` bits that are packed into bytes, the first in the lowest bits.
inline int PackedField(const uint8_t* bytes, int index, int bits) {
  const int per_byte = 8 / bits;
  return bytes[index / per_byte] >> (index % per_byte * bits) & ((1 << bits) - 1);
}

// The values that four bits stand for in IQ4_NL and IQ4_XS.
inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

// dequantize_simple.cc: 32 elements and a scale
void Q4_0(const uint8_t* block, float* to);
void Q4_1(const uint8_t* block, float* to);
void Q5_0(const uint8_t* block, float* to);
void Q5_1(const uint8_t* block, float* to);
void Q8_0(const uint8_t* block, float* to);
void Iq4Nl(const uint8_t* block, float* to);
void Mxfp4(const uint8_t* block, float* to);

// dequantize_k.cc: 256 elements, with scales that are scaled, or ternary
void Q2_K(const uint8_t* block, float* to);
void Q3_K(const uint8_t* block, float* to);
void Q4_K(const uint8_t* block, float* to);
void Q5_K(const uint8_t* block, float* to);
void Q6_K(const uint8_t* block, float* to);
void Iq4Xs(const uint8_t* block, float* to);
void Tq1_0(const uint8_t* block, float* to);
void Tq2_0(const uint8_t* block, float* to);

// dequantize_lattice.cc: 256 elements, in groups that are points of a lattice
void Iq1S(const uint8_t* block, float* to);
void Iq1M(const uint8_t* block, float* to);
void Iq2Xxs(const uint8_t* block, float* to);
void Iq2Xs(const uint8_t* block, float* to);
void Iq2S(const uint8_t* block, float* to);
void Iq3Xxs(const uint8_t* block, float* to);
void Iq3S(const uint8_t* block, float* to);

}  // namespace quire::dequantize
