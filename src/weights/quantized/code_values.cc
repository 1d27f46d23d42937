// The tables of codes, each by its format's definition.
#include "weights/quantized/code_values.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "base/check.h"

namespace quire {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename Fn>
CodeValues Table(Fn fn) {
  CodeValues values;
  for (int code = 0; code < 256; ++code) values[static_cast<size_t>(code)] = fn(code);
  return values;
}

// Sign, exponent, mantissa, with subnormals; nothing is special.
float SmallFloat(int code, int exponent_bits, int mantissa_bits) {
  const int mantissa = code & ((1 << mantissa_bits) - 1);
  const int exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  const float magnitude = std::ldexp(static_cast<float>(whole), (exponent == 0 ? 1 : exponent) - bias - mantissa_bits);
  const bool is_negative = (code >> (exponent_bits + mantissa_bits) & 1) != 0;
  return is_negative ? -magnitude : magnitude;
}

float E4M3(int code) { return (code & 0x7F) == 0x7F ? kNan : SmallFloat(code, 4, 3); }

float E5M2(int code) {
  if ((code & 0x7C) != 0x7C) return SmallFloat(code, 5, 2);
  if ((code & 0x03) != 0) return kNan;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  return (code & 0x80) != 0 ? -kInfinity : kInfinity;
}

}  // namespace

const CodeValues& Fp8E4M3Values() {
  static const CodeValues kValues = Table(E4M3);
  return kValues;
}

const CodeValues& Fp8E5M2Values() {
  static const CodeValues kValues = Table(E5M2);
  return kValues;
}

const CodeValues& ExponentValues() {
  static const CodeValues kValues = Table([](int code) { return code == 255 ? kNan : std::ldexp(1.0F, code - 127); });
  return kValues;
}

const CodeValues& Fp4Values() {
  static const CodeValues kValues = Table([](int code) { return SmallFloat(code & 0x0F, 2, 1); });
  return kValues;
}

const CodeValues& UnsignedValues() {
  static const CodeValues kValues = Table([](int code) { return static_cast<float>(code); });
  return kValues;
}

const CodeValues& SignedValues() {
  static const CodeValues kValues = Table([](int code) { return static_cast<float>(code < 128 ? code : code - 256); });
  return kValues;
}

const CodeValues& OffsetValues(int bits) {
  QUIRE_CHECK(bits >= 1 && bits <= 8, "{} bits", bits);
  static const std::array<CodeValues, 8> kTables = [] {
    std::array<CodeValues, 8> tables;
    for (int i = 0; i < 8; ++i) {
      tables[static_cast<size_t>(i)] = Table([i](int code) { return static_cast<float>(code - (1 << i)); });
    }
    return tables;
  }();
  return kTables[static_cast<size_t>(bits - 1)];
}

}  // namespace quire
