// The model that drafts for another one (--speculative-config with a model): what it needs, and making it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "backend/backend.h"
#include "llm/speculation_options.h"
#include "model/model.h"
#include "quire/result.h"
#include "runner/model_drafter.h"

namespace quire {

// Before any weight is read.
struct DraftModelOutline {
  std::string path;
  ModelOptions model_options;
  ModelDrafterOptions drafter;  // but for num_blocks
  size_t weight_bytes = 0;
  size_t scratch_bytes = 0;
  size_t kv_bytes_per_token = 0;  // in all layers
};

// Nothing where no model drafts. `served`: the one whose tokens are guessed. Refuses a model with another vocabulary.
Result<std::optional<DraftModelOutline>> OutlineDraftModel(const SpeculationOptions& speculation,
                                                           const ModelOptions& model_options,
                                                           const ModelFootprint& served,
                                                           const ModelDrafterOptions& drafter, const Backend& backend);

// Reads the weights. The drafter's cache has room for as many positions as num_blocks blocks have.
Result<std::shared_ptr<Drafter>> LoadDraftModel(const DraftModelOutline& outline, Backend& backend, int32_t num_blocks);

}  // namespace quire
