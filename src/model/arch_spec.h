// ArchSpec: one model family as data. How its checkpoints name weights, which projections have biases, which norms
// exist, what config.json means when it says nothing. Read while a model is built; the forward pass never sees it.
// Immutable; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace quire {

// Where a family's biases are: fixed by the family, or asked for by config.json.
enum class BiasRule : uint8_t { kNone, kAlways, kAttentionBias, kMlpBias };

// Which layers a sliding window concerns.
enum class WindowRule : uint8_t {
  kNone,       // the family has no windows
  kAllLayers,  // config.sliding_window, if not null
  kPerLayer,   // only with use_sliding_window; the layers that layer_types says, or those from max_window_layers on
};

// Names within a layer are relative to `layer`, whose "{}" stands for the layer's number.
struct WeightNames {
  std::string_view embedding = "model.embed_tokens.weight";
  std::string_view final_norm = "model.norm.weight";
  std::string_view lm_head = "lm_head.weight";
  std::string_view layer = "model.layers.{}.";
  std::string_view attention_norm = "input_layernorm.weight";
  std::string_view mlp_norm = "post_attention_layernorm.weight";
  // Projections: ".weight" and, where there is one, ".bias" follow.
  std::string_view q = "self_attn.q_proj";
  std::string_view k = "self_attn.k_proj";
  std::string_view v = "self_attn.v_proj";
  std::string_view o = "self_attn.o_proj";
  std::string_view gate = "mlp.gate_proj";
  std::string_view up = "mlp.up_proj";
  std::string_view down = "mlp.down_proj";
  std::string_view q_norm = "self_attn.q_norm.weight";
  std::string_view k_norm = "self_attn.k_norm.weight";
};

// What config.json leaves out, as Transformers fills it in.
struct ConfigDefaults {
  int32_t vocab_size = 32000;
  int32_t hidden_size = 4096;
  int32_t intermediate_size = 11008;
  int32_t num_layers = 32;
  int32_t num_heads = 32;
  int32_t num_kv_heads = 0;  // 0: as many as heads. (An explicit null always means that.)
  int32_t head_dim = 0;      // 0: hidden_size / num_heads
  int32_t max_position = 2048;
  float rms_norm_eps = 1e-6F;
  float rope_theta = 10000;
  int32_t sliding_window = 0;
  int32_t max_window_layers = 28;
  std::optional<int32_t> bos_token_id;
  std::optional<int32_t> eos_token_id;
};

struct ArchSpec {
  std::string_view architecture;       // of config.json's "architectures"
  std::string_view model_type;         // for a config.json without architectures
  std::string_view gguf_architecture;  // "general.architecture" of a GGUF file; empty: there are none of its own
  // Converters to GGUF put each head's rows of queries and keys in the order of pairs that are rotated together.
  bool gguf_pairs_rows = false;
  WeightNames names;
  BiasRule qkv_bias = BiasRule::kNone;
  BiasRule o_bias = BiasRule::kNone;
  BiasRule mlp_bias = BiasRule::kNone;
  bool qk_norm = false;  // RMS norm of each query and key head before the rotation
  WindowRule window = WindowRule::kNone;
  ConfigDefaults defaults;
};

std::span<const ArchSpec> AllArchSpecs();

// nullptr if the architecture is not supported. In whichever capitals.
const ArchSpec* FindArchSpec(std::string_view architecture);
const ArchSpec* FindArchSpecByModelType(std::string_view model_type);

// "LlamaForCausalLM, MistralForCausalLM, ...": for error messages.
std::string SupportedArchitectures();

}  // namespace quire
