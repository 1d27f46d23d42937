// Writes a copy of a Hugging Face checkpoint whose layers' weights are integers, in the layout of compressed-tensors
// (https://github.com/vllm-project/compressed-tensors), which vLLM and Transformers read as well.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"
#include "quire/result.h"

namespace quire {

enum class IntegerFormat : uint8_t {
  kInt8,      // W8A8: a scale for each output; activations by token
  kInt4G32,   // W4A16: a scale for each 32 inputs
  kInt4G128,  // W4A16: for each 128
};

struct LayerError {
  std::string name;     // "model.layers.0.mlp.up_proj.weight"
  double relative = 0;  // root mean square of the error, as a part of the weight's
  double largest = 0;   // of all errors
};

struct QuantizedCheckpoint {
  std::vector<LayerError> errors;  // in the order of the names
  uint64_t bytes_before = 0;       // of all tensors
  uint64_t bytes_after = 0;
};

// `from`, a directory, to the new directory `to`. The embedding, the head, norms and biases stay as they are. `threads`
// do the work; `show` is told after every tensor. One that is quantised already is refused. Errors name the file and
// the tensor; then `to` is not there.
Result<QuantizedCheckpoint> QuantizeCheckpoint(const std::string& from, const std::string& to, IntegerFormat format,
                                               int threads, FunctionRef<void(std::string_view tensor)> show);

}  // namespace quire
