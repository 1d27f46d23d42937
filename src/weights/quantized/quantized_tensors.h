// Finds the quantised weights among the tensors of a checkpoint: which tensors together are one weight, and under what
// name it would be there in floats. What is quantised, and how, the tensors tell, and the config is held against that;
// so lists of layers in the config (ignore, targets, modules_to_not_convert) need not be followed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "quire/result.h"
#include "weights/quantized/quantization_config.h"
#include "weights/quantized/quantized_weight.h"
#include "weights/quantized/stored_part.h"

namespace quire {

// A weight, or why it cannot be read: no matter unless somebody asks for it.
struct QuantizedTensor {
  const ReadableFile* file = nullptr;  // of its codes
  Status problem;
  QuantizedWeight weight;  // if there is none
  WeightFormat format;     // weight.Format()
};

struct QuantizedTensors {
  std::map<std::string, std::shared_ptr<const QuantizedTensor>>
      weights;                     // by name: "model.layers.0.mlp.up_proj.weight"
  std::vector<std::string> parts;  // what belongs to them or to their activations
};

// Reads no data but what is small: shapes that are tensors themselves.
QuantizedTensors FindQuantizedTensors(const QuantizationConfig& config, const StoredParts& tensors);

// The names under which the codes of the weight `name` may be stored, to look for in an index.
std::vector<std::string> NamesOfCodes(std::string_view name);

}  // namespace quire
