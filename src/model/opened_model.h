// A model whose headers have been read: what it is, what its weights are called, and where they are. Loading, measuring
// and converting begin with it.
#pragma once

#include <memory>
#include <string>

#include "model/arch_spec.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "weights/tensor_source.h"

namespace quire {

struct OpenedModel {
  ModelConfig config;  // tie_word_embeddings is what the stored head says
  ArchSpec spec;       // with the names that these files use
  std::unique_ptr<TensorSource> tensors;
};

// `path`: a Hugging Face directory or a GGUF file, whose rows of queries and keys come in the order that is computed
// with. Errors name the file.
Result<OpenedModel> OpenModel(const std::string& path);

}  // namespace quire
