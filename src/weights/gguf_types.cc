#include "weights/gguf_types.h"

#include <array>

#include "base/check.h"

namespace quire {
namespace {

GgufTensorType Weights(uint32_t number, WeightKind kind) {
  const WeightFormat& format = FormatOf(kind);
  return {number, format.name, format.block_size, format.block_bytes, kind};
}
GgufTensorType Other(uint32_t number, std::string_view name, int32_t block_size, int32_t block_bytes) {
  return {number, name, block_size, block_bytes, std::nullopt};
}
GgufTensorType Removed(uint32_t number, std::string_view name) { return {number, name, 1, 0, std::nullopt}; }

}  // namespace

const GgufTensorType* FindGgufTensorType(uint32_t number) {
  using Kind = WeightKind;
  static const std::array kTypes = {
      Weights(0, Kind::kF32),     Weights(1, Kind::kF16),    Weights(2, Kind::kQ4_0),    Weights(3, Kind::kQ4_1),
      Removed(4, "Q4_2"),         Removed(5, "Q4_3"),        Weights(6, Kind::kQ5_0),    Weights(7, Kind::kQ5_1),
      Weights(8, Kind::kQ8_0),    Other(9, "Q8_1", 32, 36),  Weights(10, Kind::kQ2_K),   Weights(11, Kind::kQ3_K),
      Weights(12, Kind::kQ4_K),   Weights(13, Kind::kQ5_K),  Weights(14, Kind::kQ6_K),   Other(15, "Q8_K", 256, 292),
      Weights(16, Kind::kIq2Xxs), Weights(17, Kind::kIq2Xs), Weights(18, Kind::kIq3Xxs), Weights(19, Kind::kIq1S),
      Weights(20, Kind::kIq4Nl),  Weights(21, Kind::kIq3S),  Weights(22, Kind::kIq2S),   Weights(23, Kind::kIq4Xs),
      Other(24, "I8", 1, 1),      Other(25, "I16", 1, 2),    Other(26, "I32", 1, 4),     Other(27, "I64", 1, 8),
      Weights(28, Kind::kF64),    Weights(29, Kind::kIq1M),  Weights(30, Kind::kBf16),   Removed(31, "Q4_0_4_4"),
      Removed(32, "Q4_0_4_8"),    Removed(33, "Q4_0_8_8"),   Weights(34, Kind::kTq1_0),  Weights(35, Kind::kTq2_0),
      Removed(36, "IQ4_NL_4_4"),  Removed(37, "IQ4_NL_4_8"), Removed(38, "IQ4_NL_8_8"),  Weights(39, Kind::kMxfp4),
  };
  // Every number up to the last has its place.
  return number < kTypes.size() ? &kTypes[number] : nullptr;
}

uint32_t GgufNumberOf(WeightKind kind) {
  for (uint32_t number = 0;; ++number) {
    const GgufTensorType* type = FindGgufTensorType(number);
    QUIRE_CHECK(type != nullptr, "kind {}", static_cast<int>(kind));
    if (type->kind == kind) return number;
  }
}

}  // namespace quire
