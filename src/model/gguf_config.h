// The config of a model in a GGUF file, out of its metadata: what config.json and generation_config.json say elsewhere;
// and what differs in such a file: names of weights, and the order of rows.
#pragma once

#include "model/arch_spec.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "weights/gguf_metadata.h"
#include "weights/tensor_source.h"

namespace quire {

// Errors name the file and the key. Where tensors say it (size of the vocabulary, a head of its own, biases), they
// decide.
Result<ModelConfig> ReadGgufConfig(const GgufMetadata& metadata, const TensorSource& tensors);

// What every family's weights are called: "blk.0.attn_q.weight".
WeightNames GgufWeightNames();

// Where a family's converter has put the rows of queries and keys in pairs, they are read in order again.
Status OrderGgufRows(const ArchSpec& spec, const ModelConfig& config, TensorSource& tensors);

}  // namespace quire
