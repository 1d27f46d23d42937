// The weights of a decoder as its family's row names them, in the order in which they are used.
#pragma once

#include <memory>
#include <vector>

#include "model/arch_spec.h"
#include "model/attention.h"
#include "model/kv_layout.h"
#include "model/linear.h"
#include "model/mlp.h"
#include "model/model_config.h"
#include "model/weight_source.h"
#include "quire/result.h"

namespace quire {

struct DecoderLayer {
  RmsNorm attention_norm;
  Attention attention;
  RmsNorm mlp_norm;
  Mlp mlp;
};

struct DecoderWeights {
  std::shared_ptr<const PackedLinear> embedding;
  std::vector<DecoderLayer> layers;
  RmsNorm final_norm;
  Linear lm_head;
};

// Takes every weight from `source`. With tied embeddings the head is the embedding.
Result<DecoderWeights> BuildDecoder(const ArchSpec& spec, const ModelConfig& config, WeightSource& source);

// The shape of a layer's attention, as ScratchBytes wants it too.
AttentionShape MakeAttentionShape(const ModelConfig& config, const KvLayout& kv_layout, int32_t layer);

}  // namespace quire
