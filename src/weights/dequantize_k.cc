// Blocks of 256 elements. Groups of 16 or 32 have small integer scales (and minima), which a float16 scale d (and dmin)
// of the block scales. Fields of less than a byte are interleaved: a byte's fields are 32 (of four bits in Q6_K: 64)
// elements apart.
#include "weights/dequantize_blocks.h"

namespace quire::dequantize {
namespace {

constexpr int kBlock = 256;

// Two bits of element e: 128 elements lie in 32 bytes.
int TwoBits(const uint8_t* bytes, int e) { return bytes[e / 128 * 32 + e % 32] >> (e % 128 / 32 * 2) & 3; }
// Four bits of element e: 64 elements lie in 32 bytes.
int FourBits(const uint8_t* bytes, int e) { return bytes[e / 64 * 32 + e % 32] >> (e % 64 / 32 * 4) & 0xF; }
// One bit of element e: all 256 lie in 32 bytes.
int OneBit(const uint8_t* bytes, int e) { return bytes[e % 32] >> (e / 32) & 1; }

// Six bits of scale and of minimum for each of eight groups, in twelve bytes.
struct ScaleAndMin {
  int scale, min;
};
ScaleAndMin SixBits(const uint8_t* bytes, int group) {
  if (group < 4) return {bytes[group] & 0x3F, bytes[group + 4] & 0x3F};
  const int low = bytes[group + 4];
  return {(low & 0xF) | (bytes[group - 4] >> 2 & 0x30), low >> 4 | (bytes[group] >> 2 & 0x30)};
}

// Q4_K and Q5_K: to[e] = d * scale * q(e) - dmin * min
template <typename Field>
void ScaledAndShifted(const uint8_t* block, float* to, Field field) {
  const float d = LoadHalf(block), dmin = LoadHalf(block + 2);
  for (int group = 0; group < kBlock / 32; ++group) {
    const auto [scale, min] = SixBits(block + 4, group);
    const float by = d * static_cast<float>(scale), shift = dmin * static_cast<float>(min);
    for (int e = group * 32; e < group * 32 + 32; ++e) to[e] = by * static_cast<float>(field(e)) - shift;
  }
}

// Ternary digits: the product by 3^digit, of which eight bits are kept, has the digit at its top.
void TernaryDigits(const uint8_t* bytes, int num_bytes, int num_digits, float d, float* to) {
  int power = 1;
  for (int digit = 0; digit < num_digits; ++digit) {
    for (int i = 0; i < num_bytes; ++i) {
      const int rest = bytes[i] * power & 0xFF;
      to[digit * num_bytes + i] = d * static_cast<float>((rest * 3 >> 8) - 1);
    }
    power *= 3;
  }
}

}  // namespace

// scales and minima [16] of four bits, fields [64], d, dmin
void Q2_K(const uint8_t* block, float* to) {
  const float d = LoadHalf(block + 80), dmin = LoadHalf(block + 82);
  for (int group = 0; group < 16; ++group) {
    const float by = d * static_cast<float>(block[group] & 0xF), shift = dmin * static_cast<float>(block[group] >> 4);
    for (int e = group * 16; e < group * 16 + 16; ++e) to[e] = by * static_cast<float>(TwoBits(block + 16, e)) - shift;
  }
}

// high bits [32], fields [64], scales [12] of six bits, d. A high bit of 0 takes four away.
void Q3_K(const uint8_t* block, float* to) {
  const uint8_t* scales = block + 96;
  const float d = LoadHalf(block + 108);
  for (int group = 0; group < 16; ++group) {
    const int low = scales[group % 8] >> (group / 8 * 4) & 0xF, high = scales[8 + group % 4] >> (group / 4 * 2) & 3;
    const float by = d * static_cast<float>((low | high << 4) - 32);
    for (int e = group * 16; e < group * 16 + 16; ++e) {
      to[e] = by * static_cast<float>(TwoBits(block + 32, e) - 4 * (1 - OneBit(block, e)));
    }
  }
}

// d, dmin, scales [12], fields [128]
void Q4_K(const uint8_t* block, float* to) {
  ScaledAndShifted(block, to, [block](int e) { return FourBits(block + 16, e); });
}

// d, dmin, scales [12], fifth bits [32], fields [128]
void Q5_K(const uint8_t* block, float* to) {
  ScaledAndShifted(block, to, [block](int e) { return FourBits(block + 48, e) | OneBit(block + 16, e) << 4; });
}

// fields [128], their high two bits [64], scales [16] of eight bits, d
void Q6_K(const uint8_t* block, float* to) {
  const float d = LoadHalf(block + 208);
  for (int group = 0; group < 16; ++group) {
    const float by = d * static_cast<float>(static_cast<int8_t>(block[192 + group]));
    for (int e = group * 16; e < group * 16 + 16; ++e) {
      const int low = block[e / 128 * 64 + e % 64] >> (e % 128 / 64 * 4) & 0xF;
      to[e] = by * static_cast<float>((low | TwoBits(block + 128, e) << 4) - 32);
    }
  }
}

// d, high two bits of the scales [2], their low four [4], fields [128]: of a group, elements i and i + 16 share a byte.
void Iq4Xs(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  const int high = LoadUnaligned<uint16_t>(block + 2);
  for (int group = 0; group < 8; ++group) {
    const int scale = (PackedField(block + 4, group, 4) | (high >> (2 * group) & 3) << 4) - 32;
    const float by = d * static_cast<float>(scale);
    const uint8_t* fields = block + 8 + 16 * group;
    for (int i = 0; i < 16; ++i) {
      to[32 * group + i] = by * static_cast<float>(kIq4Values[fields[i] & 0xF]);
      to[32 * group + 16 + i] = by * static_cast<float>(kIq4Values[fields[i] >> 4]);
    }
  }
}

// five digits a byte [32] [16], four a byte [4], d
void Tq1_0(const uint8_t* block, float* to) {
  const float d = LoadHalf(block + 52);
  TernaryDigits(block, 32, 5, d, to);
  TernaryDigits(block + 32, 16, 5, d, to + 160);
  TernaryDigits(block + 48, 4, 4, d, to + 240);
}

// fields [64], d
void Tq2_0(const uint8_t* block, float* to) {
  const float d = LoadHalf(block + 64);
  for (int e = 0; e < kBlock; ++e) to[e] = d * static_cast<float>(TwoBits(block, e) - 1);
}

}  // namespace quire::dequantize
