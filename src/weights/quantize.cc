#include "weights/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "tensor/dtype.h"

namespace quire {
namespace {

constexpr int kSmall = 32;   // elements of a block of Q8_0 and Q4_0, of a group of Q4_K
constexpr int kLarge = 256;  // of a block of Q4_K
constexpr int kGroups = kLarge / kSmall;

void StoreHalf(float value, uint8_t* at) {
  const uint16_t bits = FloatToHalf(value);
  std::memcpy(at, &bits, sizeof(bits));
}

// 0: of what is 0, or next to it.
float Inverse(float value) { return std::isfinite(1 / value) ? 1 / value : 0; }

float LargestMagnitude(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

// d, then signed bytes.
void EncodeQ8_0(const float* from, uint8_t* block) {
  const float d = LargestMagnitude({from, kSmall}) / 127, inverse = Inverse(d);
  StoreHalf(d, block);
  for (int i = 0; i < kSmall; ++i) {
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(from[i] * inverse)));  // halves away from zero
  }
}

// d, then nibbles: elements i and i + 16 share a byte. The value of the largest magnitude is the one end, -8.
void EncodeQ4_0(const float* from, uint8_t* block) {
  const float* largest =
      std::max_element(from, from + kSmall, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float d = *largest / -8;
  const double inverse = Inverse(d);
  StoreHalf(d, block);
  const auto code = [&](float value) {
    return std::min(15, static_cast<int>(static_cast<double>(value) * inverse + 8.5));
  };
  for (int i = 0; i < kSmall / 2; ++i) {
    block[2 + i] = static_cast<uint8_t>(code(from[i]) | code(from[i + kSmall / 2]) << 4);
  }
}

// value = scale * code - min, with codes from 0 to 15.
struct Affine {
  float scale = 0, min = 0;  // neither is negative

  int CodeOf(float value) const {
    return scale == 0 ? 0 : std::clamp(static_cast<int>(std::lround((value + min) / scale)), 0, 15);
  }
};

// What a unit of error of each value counts.
using Importance = std::array<float, kSmall>;

float ErrorOf(const float* from, const Importance& importance, const Affine& affine) {
  float error = 0;
  for (size_t i = 0; i < kSmall; ++i) {
    const float difference = affine.scale * static_cast<float>(affine.CodeOf(from[i])) - affine.min - from[i];
    error += importance[i] * difference * difference;
  }
  return error;
}

// The best scale and minimum for the codes that `affine` gives.
Affine Refit(const float* from, const Importance& importance, const Affine& affine) {
  double weight = 0, codes = 0, codes2 = 0, values = 0, products = 0;
  for (size_t i = 0; i < kSmall; ++i) {
    const double w = importance[i], code = affine.CodeOf(from[i]), value = from[i];
    weight += w;
    codes += w * code;
    codes2 += w * code * code;
    values += w * value;
    products += w * code * value;
  }
  const double determinant = weight * codes2 - codes * codes;
  if (determinant <= 0) return affine;
  const double scale = (weight * products - codes * values) / determinant;
  const double min = (codes * products - codes2 * values) / determinant;
  if (min >= 0) return {.scale = static_cast<float>(std::max(scale, 0.0)), .min = static_cast<float>(min)};
  return {.scale = static_cast<float>(std::max(products / codes2, 0.0))};
}

// Starts from scales around that of the whole range, and keeps what errs least.
Affine FitGroup(const float* from) {
  Importance importance;
  float mean_square = 0;
  for (size_t i = 0; i < kSmall; ++i) mean_square += from[i] * from[i] / kSmall;
  for (size_t i = 0; i < kSmall; ++i) importance[i] = std::sqrt(mean_square) + std::abs(from[i]);
  const auto [low, high] = std::minmax_element(from, from + kSmall);
  const float min = std::max(-*low, 0.0F), range = std::max(*high, 0.0F) + min;
  Affine best = {.scale = range / 15, .min = min};
  if (range == 0) return best;
  float least = ErrorOf(from, importance, best);
  for (int step = 0; step <= 20; ++step) {
    const Affine start = {.scale = range / (14.0F + 0.1F * static_cast<float>(step)), .min = min};
    const Affine fitted = Refit(from, importance, start);
    const float error = ErrorOf(from, importance, fitted);
    if (error < least) {
      least = error;
      best = fitted;
    }
  }
  return best;
}

// Six bits of scale and of minimum for each of eight groups, in twelve bytes.
void StoreSixBits(int group, int scale, int min, uint8_t* bytes) {
  if (group < 4) {
    bytes[group] |= static_cast<uint8_t>(scale);
    bytes[group + 4] |= static_cast<uint8_t>(min);
    return;
  }
  bytes[group + 4] = static_cast<uint8_t>((scale & 0xF) | (min & 0xF) << 4);
  bytes[group - 4] |= static_cast<uint8_t>(scale >> 4 << 6);
  bytes[group] |= static_cast<uint8_t>(min >> 4 << 6);
}

// d, dmin, scales and minima [12], nibbles [128]: 64 elements lie in 32 bytes.
void EncodeQ4_K(const float* from, uint8_t* block) {
  std::array<Affine, kGroups> fits;
  float largest_scale = 0, largest_min = 0;
  for (size_t group = 0; group < kGroups; ++group) {
    fits[group] = FitGroup(from + group * kSmall);
    largest_scale = std::max(largest_scale, fits[group].scale);
    largest_min = std::max(largest_min, fits[group].min);
  }
  std::memset(block, 0, static_cast<size_t>(FormatOf(WeightKind::kQ4_K).block_bytes));
  StoreHalf(largest_scale / 63, block);
  StoreHalf(largest_min / 63, block + 2);
  const float d = HalfToFloat(FloatToHalf(largest_scale / 63)), dmin = HalfToFloat(FloatToHalf(largest_min / 63));
  for (int group = 0; group < kGroups; ++group) {
    const Affine& fit = fits[static_cast<size_t>(group)];
    const auto six_bits = [](float value, float unit) {
      return unit == 0 ? 0 : std::clamp(static_cast<int>(std::lround(value / unit)), 0, 63);
    };
    const int scale = six_bits(fit.scale, d), min = six_bits(fit.min, dmin);
    StoreSixBits(group, scale, min, block + 4);
    const Affine stored = {.scale = d * static_cast<float>(scale), .min = dmin * static_cast<float>(min)};
    uint8_t* nibbles = block + 16 + group / 2 * kSmall;
    for (int i = 0; i < kSmall; ++i) {
      nibbles[i] |= static_cast<uint8_t>(stored.CodeOf(from[group * kSmall + i]) << (group % 2 * 4));
    }
  }
}

using BlockEncoder = void (*)(const float* from, uint8_t* block);

BlockEncoder EncoderOf(WeightKind kind) {
  switch (kind) {
    case WeightKind::kQ8_0:
      return EncodeQ8_0;
    case WeightKind::kQ4_0:
      return EncodeQ4_0;
    case WeightKind::kQ4_K:
      return EncodeQ4_K;
    default:
      return nullptr;
  }
}

}  // namespace

bool CanQuantize(WeightKind kind) { return EncoderOf(kind) != nullptr; }

void QuantizeBlocks(WeightKind kind, const float* from, int64_t num_blocks, std::byte* blocks) {
  const WeightFormat& format = FormatOf(kind);
  const BlockEncoder encode = EncoderOf(kind);
  QUIRE_CHECK(encode != nullptr, "{}", format.name);
  for (int64_t i = 0; i < num_blocks; ++i) {
    encode(from, reinterpret_cast<uint8_t*>(blocks));
    from += format.block_size;
    blocks += format.block_bytes;
  }
}

float QuantizeGroup(std::span<const float> from, int bits, int8_t* to) {
  QUIRE_CHECK(bits == 4 || bits == 8, "{}", bits);
  const int low = -(1 << (bits - 1)), high = (1 << (bits - 1)) - 1;
  const auto code = [&](float value, float inverse) {
    return std::clamp(static_cast<int>(std::lrint(value * inverse)), low, high);  // halves to even
  };
  const float widest = LargestMagnitude(from) / (static_cast<float>(high) + 0.5F);
  float best = 0;
  double least = -1;
  // A few large values may cost less cut than all the others cost by a wide scale.
  for (int step = 0; step < (bits == 4 ? 16 : 4); ++step) {
    const float scale = ToFloat(ToBf16(widest * (1 - 0.02F * static_cast<float>(step))));
    const float inverse = Inverse(scale);
    double error = 0;
    for (const float value : from) {
      const double difference = static_cast<double>(scale) * code(value, inverse) - value;
      error += difference * difference;
    }
    if (least >= 0 && error >= least) continue;
    least = error;
    best = scale;
  }
  const float inverse = Inverse(best);
  for (const float value : from) *to++ = static_cast<int8_t>(code(value, inverse));
  return best;
}

}  // namespace quire
