// Writes a copy of a Hugging Face checkpoint whose layers' weights are integers, in the layout of compressed-tensors
// (https://github.com/vllm-project/compressed-tensors), which vLLM and Transformers read as well.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/function_ref.h"
#include "model/quantization_report.h"
#include "quire/result.h"

namespace quire {

enum class IntegerFormat : uint8_t {
  kInt8,      // W8A8: a scale for each output; activations by token
  kInt4G32,   // W4A16: a scale for each 32 inputs
  kInt4G128,  // W4A16: for each 128
};

// `from`, a directory, to the new directory `to`. The embedding, the head, norms and biases stay as they are. `threads`
// do the work; `show` is told after every tensor. One that is quantised already is refused. Errors name the file and
// the tensor; then `to` is not there.
Result<QuantizationReport> QuantizeCheckpoint(const std::string& from, const std::string& to, IntegerFormat format,
                                              int threads, FunctionRef<void(std::string_view tensor)> show);

}  // namespace quire
