// Blocks of 32 elements: a scale d in float16 (MXFP4: a power of two in a byte), for _1 a minimum m in float16, for Q5
// 32 fifth bits, and four or eight bits of each element. Of four bits, a byte has elements i and i + 16.
#include <bit>

#include "weights/dequantize_blocks.h"

namespace quire::dequantize {
namespace {

constexpr int kHalfBlock = 16;

// to[i] = value(four bits of element i)
template <typename Value>
void ForNibbles(const uint8_t* bytes, float* to, Value value) {
  for (int i = 0; i < kHalfBlock; ++i) {
    to[i] = value(bytes[i] & 0xF);
    to[i + kHalfBlock] = value(bytes[i] >> 4);
  }
}

// to[i] = value(five bits of element i)
template <typename Value>
void ForFives(const uint8_t* fifths, const uint8_t* bytes, float* to, Value value) {
  const auto high = LoadUnaligned<uint32_t>(fifths);
  for (int i = 0; i < kHalfBlock; ++i) {
    to[i] = value((bytes[i] & 0xF) | static_cast<int>(high >> i & 1U) << 4);
    to[i + kHalfBlock] = value(bytes[i] >> 4 | static_cast<int>(high >> (i + kHalfBlock) & 1U) << 4);
  }
}

// Half of 2^(exponent - 127), as the values are doubled to be integers.
float HalvedPowerOfTwo(uint8_t exponent) {
  constexpr uint32_t kQuarterSubnormal = 0x00200000;  // 2^-128
  return std::bit_cast<float>(exponent < 2 ? kQuarterSubnormal << exponent : (uint32_t{exponent} - 1U) << 23);
}

}  // namespace

void Q4_0(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  ForNibbles(block + 2, to, [d](int q) { return d * static_cast<float>(q - 8); });
}

void Q4_1(const uint8_t* block, float* to) {
  const float d = LoadHalf(block), m = LoadHalf(block + 2);
  ForNibbles(block + 4, to, [d, m](int q) { return d * static_cast<float>(q) + m; });
}

void Q5_0(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  ForFives(block + 2, block + 6, to, [d](int q) { return d * static_cast<float>(q - 16); });
}

void Q5_1(const uint8_t* block, float* to) {
  const float d = LoadHalf(block), m = LoadHalf(block + 2);
  ForFives(block + 4, block + 8, to, [d, m](int q) { return d * static_cast<float>(q) + m; });
}

void Q8_0(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int i = 0; i < 2 * kHalfBlock; ++i) to[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
}

void Iq4Nl(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  ForNibbles(block + 2, to, [d](int q) { return d * static_cast<float>(kIq4Values[q]); });
}

void Mxfp4(const uint8_t* block, float* to) {
  static constexpr int8_t kDoubled[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const float d = HalvedPowerOfTwo(block[0]);
  ForNibbles(block + 1, to, [d](int q) { return d * static_cast<float>(kDoubled[q]); });
}

}  // namespace quire::dequantize
