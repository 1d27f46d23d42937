#include "model/opened_model.h"

#include <array>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "model/gguf_config.h"
#include "model/model_files.h"

namespace quire {
namespace {

// What is stored decides whether the head is the embedding: flags are wrong more often than weights. A head that is
// neither stored nor said to be is the embedding, too.
Status SettleHead(const WeightNames& names, TensorSource& tensors, ModelConfig& config) {
  if (!tensors.Has(names.lm_head)) {
    if (config.tie_word_embeddings || tensors.IsMissing(names.lm_head)) return {};
    config.tie_word_embeddings = true;
    config.warnings.push_back(
        fmt::format("there is no {}: the embedding is used, although tie_word_embeddings is false", names.lm_head));
    return {};
  }
  if (!config.tie_word_embeddings) return {};
  if (!tensors.Has(names.embedding)) {  // tied the other way round
    tensors.AddAlias(std::string(names.embedding), names.lm_head);
    return {};
  }
  const std::array<int64_t, 2> shape = {config.vocab_size, config.hidden_size};
  const Result<StoredTensor> head = tensors.Find(names.lm_head, shape);
  if (!head.ok()) {
    config.warnings.push_back(fmt::format("ignored, as tie_word_embeddings is true: {}", head.error().message));
    return {};
  }
  QUIRE_ASSIGN_OR_RETURN(const StoredTensor embedding, tensors.Find(names.embedding, shape));
  QUIRE_ASSIGN_OR_RETURN(const bool same, SameValues(*head, embedding));
  if (same) return {};
  config.tie_word_embeddings = false;
  config.warnings.push_back(
      fmt::format("{} differs from the embedding: it is used, although tie_word_embeddings is true", names.lm_head));
  return {};
}

Result<OpenedModel> OpenDirectory(const std::string& directory) {
  OpenedModel opened;
  QUIRE_ASSIGN_OR_RETURN(opened.config, LoadModelConfig(directory));
  const ArchSpec* spec = FindArchSpec(opened.config.architecture);
  QUIRE_CHECK(spec != nullptr);
  opened.spec = *spec;
  QUIRE_ASSIGN_OR_RETURN(opened.tensors, OpenSafetensors(directory));
  opened.tensors->AddMissingPrefix("model.", spec->names.embedding);
  return opened;
}

Result<OpenedModel> OpenGguf(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(GgufSet set, GgufSet::Open(path));
  const GgufMetadata metadata = set.metadata();
  OpenedModel opened;
  opened.tensors = MakeGgufSource(std::move(set));
  QUIRE_ASSIGN_OR_RETURN(opened.config, ReadGgufConfig(metadata, *opened.tensors));
  const ArchSpec* spec = FindArchSpec(opened.config.architecture);
  QUIRE_CHECK(spec != nullptr);
  opened.spec = *spec;
  opened.spec.names = GgufWeightNames();
  QUIRE_RETURN_IF_ERROR(OrderGgufRows(opened.spec, opened.config, *opened.tensors));
  return opened;
}

}  // namespace

Result<OpenedModel> OpenModel(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(OpenedModel opened, IsGgufModel(path) ? OpenGguf(path) : OpenDirectory(path));
  QUIRE_RETURN_IF_ERROR(SettleHead(opened.spec.names, *opened.tensors, opened.config));
  return opened;
}

}  // namespace quire
