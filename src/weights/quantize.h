// Encodes floats as quantised weights. Deterministic; pure; any thread. What it writes, Dequantize and the readers of
// compressed-tensors read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/weight_format.h"

namespace quire {

// Whether QuantizeBlocks knows it: Q8_0, Q4_0, Q4_K.
bool CanQuantize(WeightKind kind);

// `from`: num_blocks * block_size finite floats. `blocks`: num_blocks * FormatOf(kind).block_bytes bytes. Q8_0 and Q4_0
// give the bytes that GGUF's own tools give; Q4_K has a choice, and searches for the least squared error, in which
// larger values count more.
// REQUIRES: CanQuantize(kind).
void QuantizeBlocks(WeightKind kind, const float* from, int64_t num_blocks, std::byte* blocks);

// Integers of `bits` bits, signed, that `scale` times gives back the group as well as one scale can (least squared
// error). The scale is a bfloat16 number, as that is what it is stored as. `to` has the size of `from`.
// REQUIRES: bits is 4 or 8; the values are finite.
float QuantizeGroup(std::span<const float> from, int bits, int8_t* to);

}  // namespace quire
