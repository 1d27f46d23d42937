// What config.json and generation_config.json say, after checking: the numbers a model is built from.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "quire/result.h"
#include "tensor/dtype.h"

namespace quire {

struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kDynamicNtk, kLlama3, kYarn, kFactors };
  Kind kind = Kind::kNone;
  float factor = 1;
  float low_freq_factor = 1;              // llama3
  float high_freq_factor = 4;             // llama3
  int32_t original_max_position = 0;      // dynamic: max_position
  float beta_fast = 32, beta_slow = 1;    // yarn
  std::optional<float> attention_factor;  // yarn; none: 0.1 ln(factor) + 1
  bool truncate = true;                   // yarn: the ramp's ends are rounded outwards to whole dimensions
  std::vector<float> factors;             // factors: each frequency is divided by its own, [head_dim / 2]
};

struct ModelConfig {
  std::string architecture;  // "LlamaForCausalLM"
  int32_t vocab_size = 0;
  int32_t hidden_size = 0;
  int32_t intermediate_size = 0;
  int32_t num_layers = 0;
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t max_position = 0;  // what the checkpoint was made for, with its rope scaling
  float rms_norm_eps = 1e-6F;
  float rope_theta = 10000;
  RopeScaling rope_scaling;
  int32_t sliding_window = 0;           // 0: none
  std::vector<bool> layer_uses_window;  // [num_layers]; empty: all layers, if there is a window
  Activation activation = Activation::kSilu;
  bool tie_word_embeddings = false;
  bool attention_bias = false;  // as config.json says; the family's row decides what it means
  bool mlp_bias = false;
  // As config.json says; a loaded Model's config always has one (the embedding's, if config.json is silent; bf16 for
  // weights in blocks).
  std::optional<DType> checkpoint_dtype;

  std::vector<int32_t> eos_token_ids;
  std::optional<int32_t> bos_token_id;
  // generation_config.json's sampling defaults: what a request that says nothing gets.
  std::optional<float> default_temperature, default_top_p, default_min_p, default_repetition_penalty;
  std::optional<int32_t> default_top_k, default_max_tokens;

  // What the files say and is not heeded, and why: for the log.
  std::vector<std::string> warnings;
};

// Reads `directory`/config.json and generation_config.json. Errors name the file, the field, the value.
Result<ModelConfig> LoadModelConfig(const std::string& directory);

// Of every layer: positions that a row sees, its own one included; 0: all before it.
std::vector<int32_t> LayerWindows(const ModelConfig& config);

// The most positions that a model can be loaded for: max_position, or with a dynamic rope its factor times that.
int32_t LongestContext(const ModelConfig& config);

}  // namespace quire
