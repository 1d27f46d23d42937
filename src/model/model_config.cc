#include "model/model_config.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/env.h"
#include "base/error.h"
#include "model/arch_spec.h"
#include "model/config_fields.h"
#include "model/config_limits.h"

namespace quire {
namespace {

Result<const ArchSpec*> ReadArchitecture(ConfigFields& fields) {
  const std::vector<std::string> architectures = fields.Strings("architectures");
  const std::string model_type = fields.String("model_type", "");
  QUIRE_RETURN_IF_ERROR(fields.status());
  for (const std::string& architecture : architectures) {
    if (const ArchSpec* spec = FindArchSpec(architecture)) return spec;
  }
  // A model saved without its head ("LlamaModel") has a family all the same.
  const bool without_head = !architectures.empty() && architectures.front().ends_with("Model");
  if ((architectures.empty() || without_head) && !model_type.empty()) {
    if (const ArchSpec* spec = FindArchSpecByModelType(model_type)) return spec;
  }
  const std::string found = !architectures.empty() ? fmt::format("architecture {}", architectures.front())
                            : !model_type.empty()  ? fmt::format("model_type {}", model_type)
                                                   : "a configuration without architectures";
  return Unimplemented("{}: {} is not supported; supported are: {}", fields.path(), found, SupportedArchitectures());
}

void ReadShape(ConfigFields& fields, const ConfigDefaults& defaults, ModelConfig& config) {
  config.vocab_size = fields.Int("vocab_size", defaults.vocab_size, 1, kMaxVocab);
  config.hidden_size = fields.Int("hidden_size", defaults.hidden_size, 1, kMaxFeatures);
  config.intermediate_size = fields.Int("intermediate_size", defaults.intermediate_size, 1, kMaxFeatures);
  config.num_layers = fields.Int("num_hidden_layers", defaults.num_layers, 1, kMaxLayers);
  config.num_heads = fields.Int("num_attention_heads", defaults.num_heads, 1, kMaxHeads);
  const bool as_heads = defaults.num_kv_heads == 0 || fields.IsNull("num_key_value_heads");
  config.num_kv_heads =
      fields.Int("num_key_value_heads", as_heads ? config.num_heads : defaults.num_kv_heads, 1, kMaxHeads);
  config.max_position = fields.Int("max_position_embeddings", defaults.max_position, 1, kMaxPosition);
  config.rms_norm_eps = fields.Float("rms_norm_eps", defaults.rms_norm_eps, 0, 1);
}

// After ReadShape. An explicit head_dim need not be hidden_size / num_heads.
void ReadHeadDim(ConfigFields& fields, const ConfigDefaults& defaults, ModelConfig& config) {
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("num_key_value_heads",
                fmt::format("is {}: must divide num_attention_heads, {}", config.num_kv_heads, config.num_heads));
  }
  const bool derived = !fields.Has("head_dim") && (defaults.head_dim == 0 || fields.IsNull("head_dim"));
  if (derived && config.hidden_size % config.num_heads != 0) {
    fields.Fail("num_attention_heads", fmt::format("is {}: must divide hidden_size, {}, as there is no head_dim",
                                                   config.num_heads, config.hidden_size));
  }
  const int32_t fallback = derived ? config.hidden_size / config.num_heads : defaults.head_dim;
  config.head_dim = fields.Int("head_dim", fallback, 2, kMaxHeadDim);
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > kMaxHeadDim) {
    fields.Fail("head_dim", fmt::format("is {}{}: must be even, from 2 to {}", config.head_dim,
                                        derived ? " (hidden_size / num_attention_heads)" : "", kMaxHeadDim));
  }
  if (int64_t{config.num_heads} * config.head_dim > kMaxFeatures) {
    fields.Fail("num_attention_heads", fmt::format("is {}: with head_dim {} the queries have over {} features",
                                                   config.num_heads, config.head_dim, kMaxFeatures));
  }
}

std::optional<RopeScaling::Kind> ParseRopeKind(const std::string& name) {
  using Kind = RopeScaling::Kind;
  static const std::pair<const char*, Kind> kKinds[] = {{"default", Kind::kNone},
                                                        {"linear", Kind::kLinear},
                                                        {"dynamic", Kind::kDynamicNtk},
                                                        {"llama3", Kind::kLlama3},
                                                        {"yarn", Kind::kYarn}};
  for (const auto& [kind_name, kind] : kKinds) {
    if (name == kind_name) return kind;
  }
  return std::nullopt;
}

void ReadLlama3Rope(ConfigFields& rope, RopeScaling& scaling) {
  rope.Require("low_freq_factor");
  rope.Require("high_freq_factor");
  scaling.low_freq_factor = rope.Float("low_freq_factor", 1, 1e-6, 1e6);
  scaling.high_freq_factor = rope.Float("high_freq_factor", 4, 1e-6, 1e6);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    rope.Fail("high_freq_factor", fmt::format("is {}: must be over low_freq_factor, {}", scaling.high_freq_factor,
                                              scaling.low_freq_factor));
  }
}

// mscale and mscale_all_dim are another way to say what attention_factor is.
std::optional<float> YarnAttentionFactor(ConfigFields& rope, float factor) {
  const auto explicit_factor = rope.OptionalFloat("attention_factor", 1e-6, 1e6);
  const float mscale = rope.Float("mscale", 0, 0, 1e6);
  const float mscale_all_dim = rope.Float("mscale_all_dim", 0, 0, 1e6);
  if (explicit_factor || mscale == 0 || mscale_all_dim == 0) return explicit_factor;
  const double log_factor = factor <= 1 ? 0 : std::log(static_cast<double>(factor));
  return static_cast<float>((0.1 * mscale * log_factor + 1) / (0.1 * mscale_all_dim * log_factor + 1));
}

void ReadYarnRope(ConfigFields& rope, RopeScaling& scaling) {
  scaling.beta_fast = rope.Float("beta_fast", 32, 1e-6, 1e6);
  scaling.beta_slow = rope.Float("beta_slow", 1, 1e-6, 1e6);
  if (scaling.beta_fast < scaling.beta_slow) {
    rope.Fail("beta_fast", fmt::format("is {}: must be at least beta_slow, {}", scaling.beta_fast, scaling.beta_slow));
  }
  scaling.attention_factor = YarnAttentionFactor(rope, scaling.factor);
  scaling.truncate = rope.Bool("truncate", true);
}

void ReadRopeScaling(ConfigFields& rope, ModelConfig& config) {
  using Kind = RopeScaling::Kind;
  const std::string kind_name = rope.String("rope_type", rope.String("type", "default"));
  const auto kind = ParseRopeKind(kind_name);
  if (!kind) {
    rope.Fail("rope_type", fmt::format("is \"{}\": supported are default, linear, dynamic, llama3, yarn", kind_name));
    return;
  }
  RopeScaling& scaling = config.rope_scaling;
  scaling.kind = *kind;
  if (scaling.kind == Kind::kNone) return;
  scaling.original_max_position = rope.Int("original_max_position_embeddings", config.max_position, 1, kMaxPosition);
  if (scaling.kind == Kind::kDynamicNtk) scaling.original_max_position = config.max_position;  // as in Transformers
  // YaRN may state its factor by the two lengths alone.
  const bool by_lengths = scaling.kind == Kind::kYarn && rope.Has("original_max_position_embeddings");
  if (!by_lengths) rope.Require("factor");
  const float ratio = static_cast<float>(config.max_position) / static_cast<float>(scaling.original_max_position);
  scaling.factor = rope.Float("factor", std::max(ratio, 1.0F), 1, 1e6);
  if (scaling.kind == Kind::kLlama3) ReadLlama3Rope(rope, scaling);
  if (scaling.kind == Kind::kYarn) ReadYarnRope(rope, scaling);
}

// The length that a stretched rope was made for. Llama 3's max_position_embeddings is that length already; a dynamic
// rope keeps the original one, where it is an ordinary rope: going beyond, up to LongestContext, is the user's choice
// (--max-model-len), as it changes what shorter sequences give, too.
void StretchMaxPosition(ConfigFields& rope, ModelConfig& config) {
  using Kind = RopeScaling::Kind;
  const RopeScaling& scaling = config.rope_scaling;
  double length = config.max_position;
  if (scaling.kind == Kind::kLinear) length *= scaling.factor;
  if (scaling.kind == Kind::kYarn) length = double{scaling.factor} * scaling.original_max_position;
  if (length > static_cast<double>(kMaxPosition)) {
    rope.Fail("factor", fmt::format("is {}: it stretches {} positions beyond {}", scaling.factor, config.max_position,
                                    kMaxPosition));
    return;
  }
  config.max_position = static_cast<int32_t>(length);
}

// Two layouts: rope_theta beside rope_scaling, or all in rope_parameters (Transformers 5).
void ReadRope(ConfigFields& fields, const ConfigDefaults& defaults, ModelConfig& config) {
  ConfigFields rope = fields.Object(fields.Has("rope_scaling") ? "rope_scaling" : "rope_parameters");
  const float theta = fields.Float("rope_theta", defaults.rope_theta, 1.001, 1e15);
  config.rope_theta = rope.Float("rope_theta", theta, 1.001, 1e15);
  for (ConfigFields* place : {&fields, &rope}) {
    if (place->Float("partial_rotary_factor", 1, 0, 1) != 1) {
      place->Fail("partial_rotary_factor", "is not 1: partial rotation is not supported");
    }
  }
  ReadRopeScaling(rope, config);
  StretchMaxPosition(rope, config);
}

std::vector<bool> WindowLayers(ConfigFields& fields, const ArchSpec& spec, const ModelConfig& config) {
  const auto num_layers = static_cast<size_t>(config.num_layers);
  std::vector<bool> uses(num_layers);
  if (!fields.Has("layer_types")) {
    const int32_t first = fields.Int("max_window_layers", spec.defaults.max_window_layers, 0, kMaxLayers);
    for (size_t i = 0; i < num_layers; ++i) uses[i] = static_cast<int32_t>(i) >= first;
    return uses;
  }
  const std::vector<std::string> types = fields.Strings("layer_types");
  if (types.size() != num_layers) {
    fields.Fail("layer_types",
                fmt::format("has {} entries: must have num_hidden_layers, {}", types.size(), num_layers));
    return uses;
  }
  for (size_t i = 0; i < num_layers; ++i) {
    uses[i] = types[i] == "sliding_attention";
    if (!uses[i] && types[i] != "full_attention") {
      fields.Fail("layer_types", fmt::format("holds \"{}\": must be full_attention or sliding_attention", types[i]));
    }
  }
  return uses;
}

void ReadWindow(ConfigFields& fields, const ArchSpec& spec, ModelConfig& config) {
  if (spec.window == WindowRule::kNone) return;
  if (spec.window == WindowRule::kPerLayer && !fields.Bool("use_sliding_window", false)) return;
  const int32_t fallback = fields.IsNull("sliding_window") ? 0 : spec.defaults.sliding_window;
  const int32_t window = fields.Int("sliding_window", fallback, 1, INT32_MAX);
  if (window == 0) return;
  if (spec.window == WindowRule::kPerLayer) {
    config.layer_uses_window = WindowLayers(fields, spec, config);
    const auto& uses = config.layer_uses_window;
    if (std::none_of(uses.begin(), uses.end(), [](bool used) { return used; })) {
      config.layer_uses_window.clear();
      return;
    }
  }
  config.sliding_window = window;
}

void ReadActivation(ConfigFields& fields, ModelConfig& config) {
  const std::string name = fields.String("hidden_act", "silu");
  if (name == "silu" || name == "swish") {
    config.activation = Activation::kSilu;
  } else if (name == "gelu_pytorch_tanh" || name == "gelu_new") {
    config.activation = Activation::kGeluTanh;
  } else {
    fields.Fail("hidden_act", fmt::format("is \"{}\": supported are silu, gelu_pytorch_tanh", name));
  }
}

// "dtype" is the newer name of "torch_dtype"; some files prefix the value with "torch.". Without it, or with "auto",
// the weights themselves say it.
void ReadDType(ConfigFields fields, ModelConfig& config) {
  const char* field = fields.Has("dtype") ? "dtype" : "torch_dtype";
  if (!fields.Has(field)) return;
  std::string name = fields.String(field, "");
  if (name.starts_with("torch.")) name = name.substr(6);
  if (name == "float32" || name == "float" || name == "float64" || name == "double") {
    config.checkpoint_dtype = DType::kF32;
  } else if (name == "bfloat16") {
    config.checkpoint_dtype = DType::kBf16;
  } else if (name == "float16" || name == "half") {
    config.checkpoint_dtype = DType::kF16;
  } else if (name != "auto") {
    fields.Fail(field, fmt::format("is \"{}\": the weights decide", name));
  }
}

// An id that cannot occur never stops anything, and begins nothing.
void ReadSpecialTokens(ConfigFields fields, const ConfigDefaults& defaults, ModelConfig& config) {
  const int64_t last = config.vocab_size - 1;
  config.bos_token_id = fields.OptionalInt("bos_token_id", 0, last);
  if (!config.bos_token_id && !fields.IsNull("bos_token_id")) config.bos_token_id = defaults.bos_token_id;
  config.eos_token_ids = fields.IntOrList("eos_token_id", 0, last);
  const bool absent = !fields.Has("eos_token_id") && !fields.IsNull("eos_token_id");
  if (absent && defaults.eos_token_id) config.eos_token_ids = {*defaults.eos_token_id};
}

// generation_config.json is optional; what it says comes first. A model can do without any of it.
Status ReadGenerationConfig(const std::string& directory, ModelConfig& config) {
  const std::string path = JoinPath(directory, "generation_config.json");
  if (!Env::Posix().Exists(path)) return {};
  QUIRE_ASSIGN_OR_RETURN(const ConfigFields file, ConfigFields::Read(path));
  ConfigFields fields = file.Lenient();
  const int64_t last = config.vocab_size - 1;
  if (fields.Has("eos_token_id")) config.eos_token_ids = fields.IntOrList("eos_token_id", 0, last);
  if (fields.Has("bos_token_id")) config.bos_token_id = fields.OptionalInt("bos_token_id", 0, last);
  config.default_temperature = fields.OptionalFloat("temperature", 0, 1e6);
  config.default_top_p = fields.OptionalFloat("top_p", 1e-9, 1);
  config.default_min_p = fields.OptionalFloat("min_p", 0, 1);
  config.default_top_k = fields.OptionalInt("top_k", -1, INT32_MAX);
  config.default_repetition_penalty = fields.OptionalFloat("repetition_penalty", 1e-6, 1e6);
  config.default_max_tokens = fields.OptionalInt("max_new_tokens", 1, INT32_MAX);
  config.warnings.insert(config.warnings.end(), fields.warnings().begin(), fields.warnings().end());
  return {};
}

}  // namespace

Result<ModelConfig> LoadModelConfig(const std::string& directory) {
  QUIRE_ASSIGN_OR_RETURN(ConfigFields fields, ConfigFields::Read(JoinPath(directory, "config.json")));
  QUIRE_ASSIGN_OR_RETURN(const ArchSpec* spec, ReadArchitecture(fields));
  ModelConfig config;
  config.architecture = spec->architecture;
  ReadShape(fields, spec->defaults, config);
  QUIRE_RETURN_IF_ERROR(fields.status());  // what follows divides by these
  ReadHeadDim(fields, spec->defaults, config);
  ReadRope(fields, spec->defaults, config);
  ReadWindow(fields, *spec, config);
  ReadActivation(fields, config);
  config.tie_word_embeddings = fields.Bool("tie_word_embeddings", false);
  config.attention_bias = fields.Bool("attention_bias", false);
  config.mlp_bias = fields.Bool("mlp_bias", false);
  ReadDType(fields.Lenient(), config);
  ReadSpecialTokens(fields.Lenient(), spec->defaults, config);
  QUIRE_RETURN_IF_ERROR(fields.status());
  config.warnings = fields.warnings();
  QUIRE_RETURN_IF_ERROR(ReadGenerationConfig(directory, config));
  return config;
}

std::vector<int32_t> LayerWindows(const ModelConfig& config) {
  std::vector<int32_t> windows(static_cast<size_t>(config.num_layers), config.sliding_window);
  for (size_t i = 0; i < config.layer_uses_window.size(); ++i) {
    if (!config.layer_uses_window[i]) windows[i] = 0;
  }
  return windows;
}

int32_t LongestContext(const ModelConfig& config) {
  if (config.rope_scaling.kind != RopeScaling::Kind::kDynamicNtk) return config.max_position;
  const double longest = double{config.rope_scaling.factor} * config.max_position;
  return static_cast<int32_t>(std::min(longest, static_cast<double>(kMaxPosition)));
}

}  // namespace quire
