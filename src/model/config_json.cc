#include "model/config_json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "model/arch_spec.h"
#include "model/rope_table.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
using Kind = RopeScaling::Kind;

// The family's name in config.json. As GGUF, Mistral's models are "llama", and alone have a window there.
const ArchSpec& SpecOf(const ModelConfig& config) {
  const ArchSpec* spec = FindArchSpec(config.architecture);
  QUIRE_CHECK(spec != nullptr, "{}", config.architecture);
  if (config.sliding_window == 0 || spec->window != WindowRule::kNone) return *spec;
  return *FindArchSpec("MistralForCausalLM");
}

// The shortest decimal number that is the float.
double Number(float value) { return std::stod(fmt::format("{}", value)); }

// The usual scaling of Llama 3 whose factors these are. Files keep the factors alone.
Result<RopeScaling> Llama3Scaling(const ModelConfig& config) {
  ModelConfig candidate = config;
  candidate.rope_scaling = {};
  const std::vector<double> plain = ComputeRopeFrequencies(candidate, config.max_position).radians;
  const std::vector<float>& factors = config.rope_scaling.factors;
  // Powers of two: Llama 3.1 has a factor of 8, 3.2 one of 32, both of 8,192 positions.
  constexpr int kMaxFactorBits = 7, kMaxLengthBits = 20;
  for (int i = 0; i < kMaxFactorBits * kMaxLengthBits; ++i) {
    candidate.rope_scaling = {.kind = Kind::kLlama3,
                              .factor = static_cast<float>(2 << i % kMaxFactorBits),
                              .low_freq_factor = 1,
                              .high_freq_factor = 4,
                              .original_max_position = 1 << i / kMaxFactorBits};
    const std::vector<double> scaled = ComputeRopeFrequencies(candidate, config.max_position).radians;
    bool fits = true;
    for (size_t pair = 0; pair < factors.size(); ++pair) {
      fits = fits && std::abs(plain[pair] / scaled[pair] / double{factors[pair]} - 1) < 1e-5;
    }
    if (fits) return candidate.rope_scaling;
  }
  return Unimplemented("the factors of rope_freqs.weight are not those of a scaling that config.json has a name for");
}

// null: nothing is scaled.
Result<Json> RopeScalingJson(const ModelConfig& config) {
  RopeScaling scaling = config.rope_scaling;
  if (scaling.kind == Kind::kFactors) {
    QUIRE_ASSIGN_OR_RETURN(scaling, Llama3Scaling(config));
  }
  Json rope;
  switch (scaling.kind) {
    case Kind::kNone:
    case Kind::kFactors:
      return rope;
    case Kind::kLinear:
    case Kind::kDynamicNtk:
      rope["rope_type"] = scaling.kind == Kind::kLinear ? "linear" : "dynamic";
      rope["factor"] = Number(scaling.factor);
      return rope;
    case Kind::kLlama3:
      rope = {{"rope_type", "llama3"},
              {"factor", Number(scaling.factor)},
              {"low_freq_factor", Number(scaling.low_freq_factor)},
              {"high_freq_factor", Number(scaling.high_freq_factor)},
              {"original_max_position_embeddings", scaling.original_max_position}};
      return rope;
    case Kind::kYarn:
      rope = {{"rope_type", "yarn"},
              {"factor", Number(scaling.factor)},
              {"original_max_position_embeddings", scaling.original_max_position},
              {"beta_fast", Number(scaling.beta_fast)},
              {"beta_slow", Number(scaling.beta_slow)},
              {"truncate", scaling.truncate}};
      if (scaling.attention_factor) rope["attention_factor"] = Number(*scaling.attention_factor);
      return rope;
  }
  return rope;
}

// What is stretched by a linear scaling is stated before the stretch.
int32_t StatedPositions(const ModelConfig& config) {
  if (config.rope_scaling.kind != Kind::kLinear) return config.max_position;
  return static_cast<int32_t>(std::lround(static_cast<double>(config.max_position) / config.rope_scaling.factor));
}

void AddWindow(const ModelConfig& config, const ArchSpec& spec, Json& json) {
  if (spec.window == WindowRule::kNone) return;
  const bool has_window = config.sliding_window > 0;
  json["sliding_window"] = has_window ? Json(config.sliding_window) : Json();
  if (spec.window != WindowRule::kPerLayer) return;
  json["use_sliding_window"] = has_window;
  if (!has_window) return;
  Json types = Json::array();
  for (const int32_t window : LayerWindows(config))
    types.push_back(window > 0 ? "sliding_attention" : "full_attention");
  json["layer_types"] = std::move(types);
}

void AddEnds(const ModelConfig& config, Json& json) {
  json["bos_token_id"] = config.bos_token_id ? Json(*config.bos_token_id) : Json();
  const std::vector<int32_t>& ends = config.eos_token_ids;
  json["eos_token_id"] = ends.empty() ? Json() : ends.size() == 1 ? Json(ends.front()) : Json(ends);
}

}  // namespace

Result<std::string> ModelConfigJson(const ModelConfig& config, DType torch_dtype) {
  const ArchSpec& spec = SpecOf(config);
  Json json = {{"architectures", Json::array({std::string(spec.architecture)})},
               {"model_type", std::string(spec.model_type)},
               {"torch_dtype", DTypeName(torch_dtype)},
               {"vocab_size", config.vocab_size},
               {"hidden_size", config.hidden_size},
               {"intermediate_size", config.intermediate_size},
               {"num_hidden_layers", config.num_layers},
               {"num_attention_heads", config.num_heads},
               {"num_key_value_heads", config.num_kv_heads},
               {"head_dim", config.head_dim},
               {"hidden_act", config.activation == Activation::kSilu ? "silu" : "gelu_pytorch_tanh"},
               {"max_position_embeddings", StatedPositions(config)},
               {"rms_norm_eps", Number(config.rms_norm_eps)},
               {"rope_theta", Number(config.rope_theta)}};
  QUIRE_ASSIGN_OR_RETURN(json["rope_scaling"], RopeScalingJson(config));
  json["tie_word_embeddings"] = config.tie_word_embeddings;
  json["attention_bias"] = config.attention_bias;
  json["mlp_bias"] = config.mlp_bias;
  AddWindow(config, spec, json);
  AddEnds(config, json);
  return json.dump(2) + "\n";
}

std::string GenerationConfigJson(const ModelConfig& config) {
  Json json = Json::object();
  AddEnds(config, json);
  const auto add = [&](const char* name, std::optional<float> value) {
    if (value) json[name] = Number(*value);
  };
  add("temperature", config.default_temperature);
  add("top_p", config.default_top_p);
  add("min_p", config.default_min_p);
  add("repetition_penalty", config.default_repetition_penalty);
  if (config.default_top_k) json["top_k"] = *config.default_top_k;
  if (config.default_max_tokens) json["max_new_tokens"] = *config.default_max_tokens;
  return json.dump(2) + "\n";
}

}  // namespace quire
