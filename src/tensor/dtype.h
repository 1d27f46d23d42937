// Storage formats of tensors and the conversions between the 16-bit ones and float.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace quire {

enum class DType : uint8_t { kF32, kBf16, kF16, kI32, kI64, kU8, kI8 };

constexpr size_t DTypeSize(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kI64:
      return 8;
    case DType::kU8:
    case DType::kI8:
      return 1;
  }
  return 0;
}

constexpr const char* DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kBf16:
      return "bfloat16";
    case DType::kF16:
      return "float16";
    case DType::kI32:
      return "int32";
    case DType::kI64:
      return "int64";
    case DType::kU8:
      return "uint8";
    case DType::kI8:
      return "int8";
  }
  return "unknown";
}

// bfloat16 as its bits: the upper half of a float.
enum class Bf16 : uint16_t {};

constexpr float ToFloat(Bf16 value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// Round to nearest even; NaN stays NaN (quiet).
constexpr Bf16 ToBf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) return static_cast<Bf16>((bits >> 16) | 0x40U);
  return static_cast<Bf16>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// IEEE binary16 to float, exact.
constexpr float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1FU;
  const uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -subnormal : subnormal;
}

// Round to nearest even, to infinity beyond 65,504; NaN stays NaN (quiet).
constexpr uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & 0x7FFFFFFFU;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000U);
  if (magnitude > 0x7F800000U) return static_cast<uint16_t>(sign | 0x7E00U | (magnitude >> 13 & 0x3FFU));
  if (magnitude >= 0x477FF000U) return static_cast<uint16_t>(sign | 0x7C00U);  // rounds beyond the largest
  // Half's normals lose 13 bits of mantissa, its subnormals one more for each power of two that they are smaller.
  uint32_t mantissa = magnitude, shift = 13;
  if (magnitude < 0x38800000U) {
    shift = 126U - (magnitude >> 23);
    if (shift > 24) return sign;
    mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
  } else {
    mantissa -= 112U << 23;
  }
  const uint32_t half_way = 1U << (shift - 1), odd = mantissa >> shift & 1U;
  return static_cast<uint16_t>(sign | (mantissa + half_way - 1 + odd) >> shift);
}

}  // namespace quire
