#include "llm/draft_model.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "llm/model_location.h"
#include "model/model_config.h"

namespace quire {

Result<std::optional<DraftModelOutline>> OutlineDraftModel(const SpeculationOptions& speculation,
                                                           const ModelOptions& model_options,
                                                           const ModelFootprint& served,
                                                           const ModelDrafterOptions& drafter, const Backend& backend) {
  if (speculation.model.empty()) return std::optional<DraftModelOutline>();
  DraftModelOutline outline = {.model_options = model_options, .drafter = drafter};
  const auto named = [](Error error) {
    error.message = "--speculative-config: " + error.message;
    return error;
  };
  const Result<std::string> path = LocateModel(speculation.model);
  if (!path.ok()) return named(path.error());
  outline.path = *path;
  const Result<ModelFootprint> measured = MeasureModel(outline.path, backend, model_options);
  if (!measured.ok()) return named(measured.error());
  const ModelFootprint& footprint = *measured;
  if (footprint.config.vocab_size != served.config.vocab_size) {
    return InvalidArgument(
        "--speculative-config: the model {} has a vocabulary of {} tokens, and the one that it is to draft for of {}: "
        "they must have the same",
        speculation.model, footprint.config.vocab_size, served.config.vocab_size);
  }
  outline.drafter.max_model_len = std::min(drafter.max_model_len, footprint.config.max_position);
  outline.weight_bytes = footprint.weight_bytes;
  outline.scratch_bytes = ModelDrafterScratchBytes(footprint.config, backend, outline.drafter);
  KvShape shape = footprint.kv_shape;
  shape.dtype = outline.drafter.kv_dtype;
  outline.kv_bytes_per_token = shape.BytesPerToken() * footprint.kv_layout.groups.size();
  return std::optional(std::move(outline));
}

Result<std::shared_ptr<Drafter>> LoadDraftModel(const DraftModelOutline& outline, Backend& backend,
                                                int32_t num_blocks) {
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Load(outline.path, backend, outline.model_options));
  ModelDrafterOptions options = outline.drafter;
  options.num_blocks = num_blocks;
  QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<ModelDrafter> drafter,
                         ModelDrafter::Create(backend, std::move(model), options));
  return std::shared_ptr<Drafter>(std::move(drafter));
}

}  // namespace quire
