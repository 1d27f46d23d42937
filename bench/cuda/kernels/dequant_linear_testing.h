// Random layers for checks of dequant_linear.h, packed for it and multiplied in double precision.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "kernels/linear_layout.h"

namespace quire::cuda {

inline const char* FormatName(WeightFormat format) {
  constexpr const char* kNames[] = {"bf16", "int8", "int4-g128", "int4-g32"};
  return kNames[static_cast<size_t>(format)];
}

inline float FromBf16(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }
inline uint16_t RoundToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

struct LinearCase {
  WeightFormat format = WeightFormat::kBf16;
  int n = 0, k = 0;
  std::vector<int16_t> codes;          // [n, k]: bits of bf16, or whole numbers about zero
  std::vector<float> row_scales;       // [n]: int8
  std::vector<uint16_t> group_scales;  // [n, groups] bf16: int4

  double Weight(size_t row, size_t column) const {
    const auto size_k = static_cast<size_t>(k);
    const int16_t code = codes[row * size_k + column];
    if (format == WeightFormat::kBf16) return double{FromBf16(static_cast<uint16_t>(code))};
    if (format == WeightFormat::kInt8) return double{row_scales[row]} * code;
    const auto group = static_cast<size_t>(std::max(1, GroupSize(format)));
    return double{FromBf16(group_scales[row * (size_k / group) + column / group])} * code;
  }
};

inline std::vector<uint16_t> RandomTokens(int m, int k, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> x(static_cast<size_t>(m) * static_cast<size_t>(k));
  for (uint16_t& value : x) value = RoundToBf16(normal(random));
  return x;
}

inline LinearCase RandomCase(WeightFormat format, int n, int k, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  LinearCase layer;
  layer.format = format;
  layer.n = n;
  layer.k = k;
  const auto rows = static_cast<size_t>(n), columns = static_cast<size_t>(k);
  layer.codes.resize(rows * columns);
  const int range = 1 << WeightBits(format);
  for (int16_t& code : layer.codes)
    code = static_cast<int16_t>(format == WeightFormat::kBf16
                                    ? RoundToBf16(normal(random))
                                    : static_cast<int>(random() % static_cast<uint32_t>(range)) - range / 2);
  layer.row_scales.resize(rows);
  for (float& scale : layer.row_scales) scale = 0.005F + 0.01F * std::abs(normal(random));
  if (GroupSize(format) != 0) layer.group_scales.resize(rows * columns / static_cast<size_t>(GroupSize(format)));
  for (uint16_t& scale : layer.group_scales) scale = RoundToBf16(0.05F + 0.1F * std::abs(normal(random)));
  return layer;
}

inline std::vector<uint32_t> PackWeights(const LinearCase& layer) {
  const int bits = WeightBits(layer.format);
  std::vector<uint32_t> packed(layer.codes.size() * static_cast<size_t>(bits) / 32);
  const int offset = bits == 4 ? 8 : 0;
  for (int row = 0; row < layer.n; ++row)
    for (int k = 0; k < layer.k; ++k) {
      const auto index = static_cast<size_t>(row) * static_cast<size_t>(layer.k) + static_cast<size_t>(k);
      const uint32_t code = static_cast<uint32_t>(layer.codes[index] + offset) & ((1U << bits) - 1);
      const auto bit = static_cast<size_t>(PackedBit(layer.format, row, k, layer.k));
      packed[bit / 32] |= code << bit % 32;
    }
  return packed;
}

inline std::vector<uint16_t> PackScales(const LinearCase& layer) {
  std::vector<uint16_t> packed(layer.group_scales.size());
  const size_t groups = packed.size() / static_cast<size_t>(layer.n);
  for (size_t i = 0; i < packed.size(); ++i)
    packed[static_cast<size_t>(PackedScale(static_cast<int64_t>(i / groups), static_cast<int64_t>(i % groups),
                                           static_cast<int64_t>(groups)))] = layer.group_scales[i];
  return packed;
}

// Says where y [m, n] is not x w^T, give or take its rounding to bf16 and that of the sums; empty where it is.
inline std::optional<std::string> FirstMismatch(const LinearCase& layer, const std::vector<uint16_t>& x,
                                                const std::vector<uint16_t>& y, int m) {
  const auto rows = static_cast<size_t>(layer.n), columns = static_cast<size_t>(layer.k);
  std::vector<double> weights(columns);
  for (size_t row = 0; row < rows; ++row) {
    for (size_t k = 0; k < columns; ++k) weights[k] = layer.Weight(row, k);
    for (size_t token = 0; token < static_cast<size_t>(m); ++token) {
      double sum = 0, magnitude = 0;
      for (size_t k = 0; k < columns; ++k) {
        const double product = double{FromBf16(x[token * columns + k])} * weights[k];
        sum += product;
        magnitude += std::abs(product);
      }
      const double got = double{FromBf16(y[token * rows + row])};
      if (!(std::abs(got - sum) <= std::abs(sum) * 0x1p-8 + magnitude * 0x1p-16))
        return "token " + std::to_string(token) + " row " + std::to_string(row) + ": " + std::to_string(got) +
               ", not " + std::to_string(sum);
    }
  }
  return std::nullopt;
}

}  // namespace quire::cuda
