// Holds --quantization against what a model's files are.
#pragma once

#include <string>

#include "model/model.h"
#include "quire/result.h"

namespace quire {

// `asked`: auto or none, a method by the names of vLLM ("gptq", "gptq_marlin", "gguf"), or a format of weights by
// Quire's
// ("q4_1", "gptq-int4-g128"). Weights are read in the formats that they have; whoever names one wants to be sure of it.
// The error names both.
Status CheckQuantization(const std::string& asked, const std::string& path, const ModelFootprint& footprint);

}  // namespace quire
