// Writes a copy of a GGUF file whose weights are in another kind of blocks.
#pragma once

#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "model/quantization_report.h"
#include "quire/result.h"
#include "tensor/weight_format.h"

namespace quire {

// `from`, a file or the first part of a split one, to the new file `to`. All matrices become `kind` (Q8_0, Q4_0 or
// Q4_K); the embedding and the head, and what has rows that are not whole blocks, Q8_0; norms, biases and what is of
// that kind already stay as they are. Metadata stay, but for the name of the kind. `threads` do the work; `show` is
// told after every tensor. Errors name the file and the tensor; then `to` is not there.
Result<QuantizationReport> QuantizeGguf(const std::string& from, const std::string& to, WeightKind kind, int threads,
                                        FunctionRef<void(std::string_view tensor)> show);

}  // namespace quire
