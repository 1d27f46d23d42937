#include "tensor/weight_format.h"

#include <array>

#include "base/check.h"

namespace quire {
namespace {

using Kind = WeightKind;

constexpr WeightFormat Plain(Kind kind, std::string_view name, int32_t bytes) {
  return {.kind = kind, .name = name, .block_bytes = bytes};
}
constexpr WeightFormat Scaled(Kind kind, std::string_view name, int32_t block_size, int32_t bytes, int32_t group) {
  return {.kind = kind, .name = name, .block_size = block_size, .block_bytes = bytes, .group = group};
}
constexpr WeightFormat Shifted(Kind kind, std::string_view name, int32_t block_size, int32_t bytes, int32_t group) {
  WeightFormat format = Scaled(kind, name, block_size, bytes, group);
  format.has_zero_points = true;
  return format;
}

// In the order of the kinds.
constexpr std::array<WeightFormat, kNumWeightKinds> kFormats = {
    Plain(Kind::kF32, "F32", 4),
    Plain(Kind::kF16, "F16", 2),
    Plain(Kind::kBf16, "BF16", 2),
    Plain(Kind::kF64, "F64", 8),
    Scaled(Kind::kQ4_0, "Q4_0", 32, 18, 32),
    Shifted(Kind::kQ4_1, "Q4_1", 32, 20, 32),
    Scaled(Kind::kQ5_0, "Q5_0", 32, 22, 32),
    Shifted(Kind::kQ5_1, "Q5_1", 32, 24, 32),
    Scaled(Kind::kQ8_0, "Q8_0", 32, 34, 32),
    Shifted(Kind::kQ2_K, "Q2_K", 256, 84, 16),
    Scaled(Kind::kQ3_K, "Q3_K", 256, 110, 16),
    Shifted(Kind::kQ4_K, "Q4_K", 256, 144, 32),
    Shifted(Kind::kQ5_K, "Q5_K", 256, 176, 32),
    Scaled(Kind::kQ6_K, "Q6_K", 256, 210, 16),
    Shifted(Kind::kIq1S, "IQ1_S", 256, 50, 32),
    Shifted(Kind::kIq1M, "IQ1_M", 256, 56, 16),
    Scaled(Kind::kIq2Xxs, "IQ2_XXS", 256, 66, 32),
    Scaled(Kind::kIq2Xs, "IQ2_XS", 256, 74, 16),
    Scaled(Kind::kIq2S, "IQ2_S", 256, 82, 16),
    Scaled(Kind::kIq3Xxs, "IQ3_XXS", 256, 98, 32),
    Scaled(Kind::kIq3S, "IQ3_S", 256, 110, 32),
    Scaled(Kind::kIq4Nl, "IQ4_NL", 32, 18, 32),
    Scaled(Kind::kIq4Xs, "IQ4_XS", 256, 136, 32),
    Scaled(Kind::kMxfp4, "MXFP4", 32, 17, 32),
    Scaled(Kind::kTq1_0, "TQ1_0", 256, 54, 256),
    Scaled(Kind::kTq2_0, "TQ2_0", 256, 66, 256),
};

constexpr bool EveryFormatIsInItsPlace() {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (kFormats[i].kind != static_cast<Kind>(i)) return false;
  }
  return true;
}
static_assert(EveryFormatIsInItsPlace());

}  // namespace

const WeightFormat& FormatOf(WeightKind kind) {
  QUIRE_CHECK_LT(static_cast<int>(kind), kNumWeightKinds);
  return kFormats[static_cast<size_t>(kind)];
}

const WeightFormat& FormatOf(DType dtype) {
  QUIRE_CHECK(dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBf16, "{}", DTypeName(dtype));
  return FormatOf(dtype == DType::kF32 ? Kind::kF32 : dtype == DType::kF16 ? Kind::kF16 : Kind::kBf16);
}

DType ReadDType(const WeightFormat& format) {
  if (format.kind == Kind::kF16) return DType::kF16;
  return format.kind == Kind::kBf16 ? DType::kBf16 : DType::kF32;
}

}  // namespace quire
