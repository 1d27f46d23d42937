// What each code of a quantised weight stands for, before zero point and scale. Tables that are computed once; any
// thread.
#pragma once

#include <array>

namespace quire {

using CodeValues = std::array<float, 256>;

// 8-bit floats of the OCP specification (https://www.opencompute.org, OFP8): e4m3 without infinities.
const CodeValues& Fp8E4M3Values();
const CodeValues& Fp8E5M2Values();
// e8m0: powers of two, 2^(code - 127); 255 is NaN.
const CodeValues& ExponentValues();
// e2m1, the low four bits of a code.
const CodeValues& Fp4Values();
// The code itself, as an unsigned number; less `offset`, as a signed one.
const CodeValues& UnsignedValues();
const CodeValues& SignedValues();          // two's complement of 8 bits
const CodeValues& OffsetValues(int bits);  // code - 2^(bits - 1). REQUIRES: 1 <= bits <= 8

}  // namespace quire
