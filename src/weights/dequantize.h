// Decodes stored weights into floats, exactly: the values that the format defines, in the order of operations of GGUF's
// own tools, so that every bit agrees with them. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/weight_format.h"

namespace quire {

// `blocks`: num_blocks * FormatOf(kind).block_bytes bytes, of any alignment. `to`: num_blocks * block_size floats.
// F64 is rounded to the nearest float, all else is exact.
void Dequantize(WeightKind kind, const std::byte* blocks, int64_t num_blocks, float* to);

}  // namespace quire
