// --override-generation-config: sampling defaults over those of the model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/model_config.h"
#include "quire/result.h"

namespace quire {

// Absent: as the model has it.
struct GenerationOverrides {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k, max_new_tokens;
};

// Empty: none. Errors name the field.
Result<GenerationOverrides> ParseGenerationOverrides(const std::string& json);

void Override(const GenerationOverrides& overrides, ModelConfig& config);

}  // namespace quire
