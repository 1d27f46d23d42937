// WeightFormat: how the numbers of a weight are stored, block by block; apart from DType, which says what one number
// is. A block is the least that can be read by itself: `block_size` consecutive elements of a row in `block_bytes`
// bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "tensor/dtype.h"

namespace quire {

enum class WeightKind : uint8_t {
  // One number each.
  kF32,
  kF16,
  kBf16,
  kF64,
  // Those of GGUF, by its names: https://github.com/ggml-org/ggml (ggml-common.h states the blocks).
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIq1S,
  kIq1M,
  kIq2Xxs,
  kIq2Xs,
  kIq2S,
  kIq3Xxs,
  kIq3S,
  kIq4Nl,
  kIq4Xs,
  kMxfp4,
  kTq1_0,
  kTq2_0,
  // Codes of a checkpoint that keeps their scales in tensors beside them: how groups and scales lie is not the kind's
  // to
  // say, so each weight has a WeightFormat of its own.
  kFp8E4M3,
  kFp8E5M2,
  kInt2,
  kInt3,
  kInt4,
  kInt8,
  kFp4,
  kNf4
};
// Of the kinds whose blocks FormatOf states and Dequantize decodes.
inline constexpr int kNumWeightKinds = static_cast<int>(WeightKind::kTq2_0) + 1;

struct WeightFormat {
  WeightKind kind = WeightKind::kF32;
  std::string_view name;            // "Q4_K", "gptq-int4-g128"
  int32_t block_size = 1;           // elements; with scales in tensors beside it: a row
  int32_t block_bytes = 4;          // of a block, scales and all
  int32_t group = 1;                // elements of a row that share a scale
  bool has_zero_points = false;     // each group is shifted as well as scaled
  std::optional<DType> activation;  // what its products were made to take; none: floats

  bool operator==(const WeightFormat& other) const { return kind == other.kind; }
};

// REQUIRES: one of the first kNumWeightKinds.
const WeightFormat& FormatOf(WeightKind kind);
// The plain format of a float type. REQUIRES: kF32, kF16 or kBf16.
const WeightFormat& FormatOf(DType dtype);

// What its numbers are read as: kF16 and kBf16 as they are, all others kF32.
DType ReadDType(const WeightFormat& format);

// Floats, stored one by one: reading changes no bits.
constexpr bool IsPlain(const WeightFormat& format) { return format.kind <= WeightKind::kF64; }

}  // namespace quire
