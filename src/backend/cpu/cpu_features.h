// What this CPU and its operating system offer, whether the kernels use it or not, where the compilers' own question
// does not know its name.
#pragma once

namespace quire::cpu {

// Between float16 and float32 (F16C).
bool HasHalfConversions();
// Dot products of bf16 pairs in vectors (AVX512_BF16).
bool HasBf16DotProducts();
// Products of bf16 tiles (AMX), if the operating system lends this process the registers, which are too large to be
// anybody's unasked: asks for them.
bool HasTileUnit();

}  // namespace quire::cpu
