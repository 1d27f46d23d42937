// config.json and generation_config.json of a model that was described elsewhere. Pure; any thread.
#pragma once

#include <string>

#include "model/model_config.h"
#include "quire/result.h"

namespace quire {

// What LoadModelConfig reads back as the same numbers; `torch_dtype`: of the weights beside it. kUnimplemented: the
// format cannot say it.
Result<std::string> ModelConfigJson(const ModelConfig& config, DType torch_dtype);
std::string GenerationConfigJson(const ModelConfig& config);

}  // namespace quire
