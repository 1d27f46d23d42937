// What quantising a model's weights has cost. A value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quire {

struct LayerError {
  std::string name;     // "model.layers.0.mlp.up_proj.weight"
  double relative = 0;  // root mean square of the error, as a part of the weight's
  double largest = 0;   // of all errors
};

struct QuantizationReport {
  std::vector<LayerError> errors;  // in the order of the names
  uint64_t bytes_before = 0;       // of all tensors
  uint64_t bytes_after = 0;
};

}  // namespace quire
