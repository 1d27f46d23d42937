// Blocks of 256 elements that are points of a lattice (gguf_grids.h) with signs, times a scale for each 16 or 32, times
// the block's float16 scale d. Signs are bits of an element each, or seven bits for eight elements whose number of
// minuses is even. IQ1 has no signs, but shifts each group by an eighth, up or down.
#include <bit>

#include "weights/dequantize_blocks.h"
#include "weights/gguf_grids.h"

namespace quire::dequantize {
namespace {

constexpr int kGroups = 8;  // of 32 elements

// Of eight elements a bit each, from seven.
unsigned EvenSigns(unsigned seven) { return seven | static_cast<unsigned>(std::popcount(seven) & 1) << 7; }

// to[0..8) = ±by * point
void SignedPoint8(unsigned point, unsigned signs, float by, float* to) {
  for (unsigned i = 0; i < 8; ++i) {
    const float value = by * kIq2Levels[point >> (2 * i) & 3U];
    to[i] = (signs >> i & 1U) != 0 ? -value : value;
  }
}

// to[0..4) = ±by * point
void SignedPoint4(unsigned point, unsigned signs, const std::array<float, 8>& levels, float by, float* to) {
  for (unsigned i = 0; i < 4; ++i) {
    const float value = by * levels[point >> (4 * i) & 7U];
    to[i] = (signs >> i & 1U) != 0 ? -value : value;
  }
}

// to[0..8) = by * (point + shift)
void ShiftedPoint8(unsigned point, float shift, float by, float* to) {
  for (unsigned i = 0; i < 8; ++i) to[i] = by * (kIq1Levels[point >> (2 * i) & 3U] + shift);
}

constexpr float kIq1Shift = 0.125F;

}  // namespace

// d; of each group four points of eight bits, then four signs of seven bits and a scale of four
void Iq2Xxs(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int group = 0; group < kGroups; ++group) {
    const uint8_t* points = block + 2 + 8 * group;
    const auto rest = LoadUnaligned<uint32_t>(points + 4);
    const float by = d * (0.5F + static_cast<float>(rest >> 28)) * 0.25F;
    for (int i = 0; i < 4; ++i) {
      SignedPoint8(kIq2XxsGrid[points[i]], EvenSigns(rest >> (7 * i) & 0x7FU), by, to + 32 * group + 8 * i);
    }
  }
}

// d, points [32] of nine bits with signs of seven, scales [8] of four bits for 16 elements each
void Iq2Xs(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int i = 0; i < 4 * kGroups; ++i) {
    const unsigned field = LoadUnaligned<uint16_t>(block + 2 + 2 * i);
    const float by = d * (0.5F + static_cast<float>(PackedField(block + 66, i / 2, 4))) * 0.25F;
    SignedPoint8(kIq2XsGrid[field & 0x1FFU], EvenSigns(field >> 9), by, to + 8 * i);
  }
}

// d, points [32], signs [32], the points' high two bits [8], scales [8] as in IQ2_XS
void Iq2S(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int i = 0; i < 4 * kGroups; ++i) {
    const auto point = static_cast<size_t>(block[2 + i] | PackedField(block + 66, i, 2) << 8);
    const float by = d * (0.5F + static_cast<float>(PackedField(block + 74, i / 2, 4))) * 0.25F;
    SignedPoint8(kIq2SGrid[point], block[34 + i], by, to + 8 * i);
  }
}

// d, points [64]; of each group four signs of seven bits and a scale of four
void Iq3Xxs(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int group = 0; group < kGroups; ++group) {
    const auto rest = LoadUnaligned<uint32_t>(block + 66 + 4 * group);
    const float by = d * (0.5F + static_cast<float>(rest >> 28)) * 0.5F;
    for (int i = 0; i < 8; ++i) {
      const unsigned signs = EvenSigns(rest >> (7 * (i / 2)) & 0x7FU) >> (4 * (i % 2));
      SignedPoint4(kIq3XxsGrid[block[2 + 8 * group + i]], signs, kIq3XxsLevels, by, to + 32 * group + 4 * i);
    }
  }
}

// d, points [64], their high bits [8], signs [32], scales [4] of four bits
void Iq3S(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int i = 0; i < 8 * kGroups; ++i) {
    const auto point = static_cast<size_t>(block[2 + i] | PackedField(block + 66, i, 1) << 8);
    const float by = d * static_cast<float>(1 + 2 * PackedField(block + 106, i / 8, 4));
    const auto signs = static_cast<unsigned>(PackedField(block + 74, i, 4));
    SignedPoint4(kIq3SGrid[point], signs, kIq3SLevels, by, to + 4 * i);
  }
}

// d, points [32]; of each group four times three high bits, a scale of three, and the shift's sign
void Iq1S(const uint8_t* block, float* to) {
  const float d = LoadHalf(block);
  for (int group = 0; group < kGroups; ++group) {
    const unsigned rest = LoadUnaligned<uint16_t>(block + 34 + 2 * group);
    const float by = d * static_cast<float>(2 * (rest >> 12 & 7U) + 1);
    const float shift = (rest & 0x8000U) != 0 ? -kIq1Shift : kIq1Shift;
    for (int i = 0; i < 4; ++i) {
      const unsigned point = block[2 + 4 * group + i] | (rest >> (3 * i) & 7U) << 8;
      ShiftedPoint8(kIq1Grid[point], shift, by, to + 32 * group + 8 * i);
    }
  }
}

// points [32]; three high bits of each and its shift's sign [16]; scales [8]: four times 16 bits, of which twelve are
// four scales of 16 elements, and the highest four together are d
void Iq1M(const uint8_t* block, float* to) {
  unsigned half = 0;
  for (int i = 0; i < 4; ++i) half |= static_cast<unsigned>(block[48 + 2 * i + 1] >> 4) << (4 * i);
  const float d = HalfToFloat(static_cast<uint16_t>(half));
  for (int i = 0; i < 4 * kGroups; ++i) {
    const int rest = PackedField(block + 32, i, 4);
    const int scale = LoadUnaligned<uint16_t>(block + 48 + 2 * (i / 8)) >> (3 * (i / 2 % 4)) & 7;
    const float shift = (rest & 8) != 0 ? -kIq1Shift : kIq1Shift;
    const auto point = static_cast<size_t>(block[i] | (rest & 7) << 8);
    ShiftedPoint8(kIq1Grid[point], shift, d * static_cast<float>(2 * scale + 1), to + 8 * i);
  }
}

}  // namespace quire::dequantize
