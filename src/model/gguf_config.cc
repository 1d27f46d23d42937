#include "model/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/config_limits.h"
#include "model/gguf_fields.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr WeightNames kGgufNames = {
    .embedding = "token_embd.weight",
    .final_norm = "output_norm.weight",
    .lm_head = "output.weight",
    .layer = "blk.{}.",
    .attention_norm = "attn_norm.weight",
    .mlp_norm = "ffn_norm.weight",
    .q = "attn_q",
    .k = "attn_k",
    .v = "attn_v",
    .o = "attn_output",
    .gate = "ffn_gate",
    .up = "ffn_up",
    .down = "ffn_down",
    .q_norm = "attn_q_norm.weight",
    .k_norm = "attn_k_norm.weight",
};
constexpr const char* kRopeFactors = "rope_freqs.weight";

// Keys that tell of a variant of a family which is computed in another way, with what they say where they say nothing.
constexpr std::pair<std::string_view, double> kVariants[] = {
    {"expert_count", 0},
    {"expert_used_count", 0},
    {"logit_scale", 1},
    {"embedding_scale", 1},
    {"residual_scale", 1},
    {"attention.scale", 0},
    {"attention.clamp_kqv", 0},
    {"attention.causal", 1},
    {"attn_logit_softcapping", 0},
    {"final_logit_softcapping", 0},
    {"attention.max_alibi_bias", 0},
    {"use_parallel_residual", 0},
    {"pooling_type", 0},
};

Result<const ArchSpec*> FindGgufArchSpec(const GgufMetadata& metadata) {
  QUIRE_ASSIGN_OR_RETURN(const std::string_view name, metadata.String("general.architecture"));
  std::string supported;
  for (const ArchSpec& spec : AllArchSpecs()) {
    if (spec.gguf_architecture.empty()) continue;
    if (spec.gguf_architecture == name) return &spec;
    supported += fmt::format("{}{}", supported.empty() ? "" : ", ", spec.gguf_architecture);
  }
  return Unimplemented("{}: architecture {} is not supported; supported are: {}", metadata.path(), PrintableName(name),
                       supported);
}

int32_t VocabularySize(GgufFields& fields, const GgufMetadata& metadata, const TensorSource& tensors) {
  const int32_t said = fields.Int("vocab_size", 0, 1, kMaxVocab);
  const std::vector<int64_t> shape = tensors.ShapeOf(kGgufNames.embedding);
  const int64_t stored = shape.empty() ? 0 : shape.front();
  if (stored > 0 && stored <= kMaxVocab) return static_cast<int32_t>(stored);
  if (said > 0) return said;
  return static_cast<int32_t>(std::clamp<int64_t>(
      static_cast<int64_t>(std::min<uint64_t>(metadata.ArrayLength("tokenizer.ggml.tokens"), kMaxVocab)), 1,
      kMaxVocab));
}

void ReadGgufShape(GgufFields& fields, ModelConfig& config) {
  config.hidden_size = fields.Int("embedding_length", std::nullopt, 1, kMaxFeatures);
  config.intermediate_size = fields.Int("feed_forward_length", std::nullopt, 1, kMaxFeatures);
  config.num_layers = fields.Int("block_count", std::nullopt, 1, kMaxLayers);
  config.num_heads = fields.Int("attention.head_count", std::nullopt, 1, kMaxHeads);
  config.num_kv_heads = fields.Int("attention.head_count_kv", config.num_heads, 1, kMaxHeads);
  config.max_position = fields.Int("context_length", std::nullopt, 1, kMaxPosition);
  config.rms_norm_eps = fields.Float("attention.layer_norm_rms_epsilon", std::nullopt, 0, 1);
  if (config.num_heads % config.num_kv_heads != 0) {
    fields.Fail("attention.head_count_kv",
                fmt::format("is {}: must divide the {} heads", config.num_kv_heads, config.num_heads));
  }
}

// After ReadGgufShape.
void ReadGgufHeadDim(GgufFields& fields, ModelConfig& config) {
  const bool stated = fields.Has("attention.key_length");
  if (!stated && config.hidden_size % config.num_heads != 0) {
    fields.Fail("attention.head_count",
                fmt::format("is {}: must divide embedding_length, {}, as there is no key_length", config.num_heads,
                            config.hidden_size));
  }
  config.head_dim = fields.Int("attention.key_length", config.hidden_size / config.num_heads, 2, kMaxHeadDim);
  if (config.head_dim % 2 != 0 || config.head_dim < 2 || config.head_dim > kMaxHeadDim) {
    fields.Fail("attention.key_length", fmt::format("is {}: must be even, from 2 to {}", config.head_dim, kMaxHeadDim));
  }
  if (int64_t{config.num_heads} * config.head_dim > kMaxFeatures) {
    fields.Fail("attention.head_count", fmt::format("is {}: with heads of {} the queries have over {} features",
                                                    config.num_heads, config.head_dim, kMaxFeatures));
  }
  for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
    const int32_t size = fields.Int(name, config.head_dim, 1, kMaxHeadDim);
    if (size != config.head_dim) {
      fields.Fail(name, fmt::format("is {}: only the size of a head, {}, is supported", size, config.head_dim));
    }
  }
}

void ReadGgufYarn(GgufFields& fields, RopeScaling& scaling) {
  scaling.beta_fast = fields.Float("rope.scaling.yarn_beta_fast", 32, 1e-6, 1e6);
  scaling.beta_slow = fields.Float("rope.scaling.yarn_beta_slow", 1, 1e-6, 1e6);
  if (scaling.beta_fast < scaling.beta_slow) {
    fields.Fail("rope.scaling.yarn_beta_fast",
                fmt::format("is {}: must be at least yarn_beta_slow, {}", scaling.beta_fast, scaling.beta_slow));
  }
  fields.MustBe("rope.scaling.yarn_ext_factor", 1);
  fields.MustBe("rope.scaling.yarn_log_multiplier", 0);
  fields.MustBe("rope.scaling.yarn_attn_factor", 1);
  // What YaRN's own factor of attention is multiplied by.
  const float times = fields.Float("rope.scaling.attn_factor", 1, 0, 1e6);
  if (times != 1) scaling.attention_factor = times * (0.1F * std::log(scaling.factor) + 1);
}

void ReadGgufRope(GgufFields& fields, ModelConfig& config) {
  using Kind = RopeScaling::Kind;
  config.rope_theta = fields.Float("rope.freq_base", 10000, 1.001, 1e15);
  RopeScaling& scaling = config.rope_scaling;
  const float linear = fields.Float("rope.scale_linear", 1, 1, 1e6);  // the older way to say it
  const std::string kind = fields.String("rope.scaling.type", linear == 1 ? "none" : "linear");
  scaling.factor = fields.Float("rope.scaling.factor", linear, 0, 1e6);
  scaling.original_max_position =
      fields.Int("rope.scaling.original_context_length", config.max_position, 1, kMaxPosition);
  static_cast<void>(fields.Has("rope.scaling.finetuned"));  // says where the numbers come from
  const bool scales = scaling.factor > 1;                   // 0 and 1 mean that nothing is scaled
  if (kind == "linear") {
    scaling.kind = scales ? Kind::kLinear : Kind::kNone;
  } else if (kind == "yarn") {
    scaling.kind = scales ? Kind::kYarn : Kind::kNone;
    ReadGgufYarn(fields, scaling);
  } else if (kind != "none") {
    fields.Fail("rope.scaling.type", fmt::format("is {}: supported are none, linear, yarn", PrintableName(kind)));
  }
  double length = config.max_position;
  if (scaling.kind == Kind::kLinear) length *= scaling.factor;
  if (scaling.kind == Kind::kYarn) length = double{scaling.factor} * scaling.original_max_position;
  if (length > static_cast<double>(kMaxPosition)) {
    fields.Fail("rope.scaling.factor", fmt::format("is {}: it stretches {} positions beyond {}", scaling.factor,
                                                   config.max_position, kMaxPosition));
    return;
  }
  config.max_position = static_cast<int32_t>(length);
}

// Llama 3's scaling is stored as what it divides each frequency by.
Status ReadRopeFactors(const TensorSource& tensors, ModelConfig& config) {
  if (!tensors.Has(kRopeFactors)) return {};
  const int64_t count = config.head_dim / 2;
  QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, tensors.Find(kRopeFactors, std::array{count}));
  if (count % stored.unit() != 0) {
    return Unimplemented("tensor {} is stored as {}: must be floats", kRopeFactors, stored.format().name);
  }
  std::vector<float> factors(static_cast<size_t>(count));
  QUIRE_RETURN_IF_ERROR(ReadFloats(stored, 0, factors));
  if (!std::all_of(factors.begin(), factors.end(), [](float f) { return f >= 1e-6F && f <= 1e6F; })) {
    return InvalidArgument("tensor {} holds a factor that is not in [1e-6, 1e6]", kRopeFactors);
  }
  if (std::all_of(factors.begin(), factors.end(), [](float f) { return f == 1; })) return {};
  if (config.rope_scaling.kind != RopeScaling::Kind::kNone) {
    return Unimplemented("tensor {} scales frequencies that rope.scaling.type scales as well: not supported",
                         kRopeFactors);
  }
  config.rope_scaling.kind = RopeScaling::Kind::kFactors;
  config.rope_scaling.factors = std::move(factors);
  return {};
}

void ReadGgufWindow(GgufFields& fields, const ArchSpec& spec, ModelConfig& config) {
  const int32_t window = fields.Int("attention.sliding_window", 0, 0, INT32_MAX);
  const std::vector<bool> pattern = fields.Bools("attention.sliding_window_pattern");
  if (window == 0) return;
  if (pattern.empty() && spec.window == WindowRule::kPerLayer) {
    config.warnings.push_back("attention.sliding_window is ignored: no key says which layers have it");
    return;
  }
  if (!pattern.empty() && pattern.size() != static_cast<size_t>(config.num_layers)) {
    fields.Fail("attention.sliding_window_pattern",
                fmt::format("has {} entries: must have block_count, {}", pattern.size(), config.num_layers));
    return;
  }
  if (!pattern.empty() && std::none_of(pattern.begin(), pattern.end(), [](bool used) { return used; })) return;
  config.sliding_window = window;
  config.layer_uses_window = pattern;
}

// An id that cannot occur never stops anything, and begins nothing.
void ReadGgufTokens(const GgufMetadata& metadata, ModelConfig& config) {
  const auto id = [&](const char* key) -> std::optional<int32_t> {
    const Result<int64_t> value = metadata.Int(key, 0, config.vocab_size - 1);
    if (value.ok()) return static_cast<int32_t>(*value);
    if (metadata.Has(key)) config.warnings.push_back(fmt::format("ignored: {}", value.error().message));
    return std::nullopt;
  };
  config.bos_token_id = id("tokenizer.ggml.bos_token_id");
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::optional<int32_t> end = id(fmt::format("tokenizer.ggml.{}_token_id", name).c_str());
    std::vector<int32_t>& ids = config.eos_token_ids;
    if (end && std::find(ids.begin(), ids.end(), *end) == ids.end()) ids.push_back(*end);
  }
}

void ReadGgufSampling(const GgufMetadata& metadata, ModelConfig& config) {
  const auto number = [&](const char* key, double min, double max) -> std::optional<float> {
    if (!metadata.Has(key)) return std::nullopt;
    const Result<double> value = metadata.Float(key);
    if (value.ok() && *value >= min && *value <= max) return static_cast<float>(*value);
    config.warnings.push_back(value.ok() ? fmt::format("ignored: {} is {}: must be in [{}, {}]", key, *value, min, max)
                                         : fmt::format("ignored: {}", value.error().message));
    return std::nullopt;
  };
  config.default_temperature = number("general.sampling.temp", 0, 1e6);
  config.default_top_p = number("general.sampling.top_p", 1e-9, 1);
  config.default_min_p = number("general.sampling.min_p", 0, 1);
  config.default_repetition_penalty = number("general.sampling.penalty_repeat", 1e-6, 1e6);
  if (const auto top_k = number("general.sampling.top_k", -1, 1 << 24)) {
    config.default_top_k = static_cast<int32_t>(*top_k);
  }
}

std::string LayerName(int32_t layer, std::string_view name) {
  std::string text(kGgufNames.layer);
  return text.replace(text.find("{}"), 2, std::to_string(layer)) + std::string(name);
}

// What the weights are read as where nobody says: blocks are approximations that bf16 holds as well as float32 does;
// without any, the embedding's type.
DType StoredDType(const TensorSource& tensors) {
  for (const std::string& name : tensors.names()) {
    const Result<StoredTensor> tensor = tensors.Find(name, tensors.ShapeOf(name));
    if (tensor.ok() && !IsPlain(tensor->format())) return DType::kBf16;
  }
  const Result<StoredTensor> embedding = tensors.Find(kGgufNames.embedding, tensors.ShapeOf(kGgufNames.embedding));
  return embedding.ok() ? embedding->dtype() : DType::kF32;
}

}  // namespace

WeightNames GgufWeightNames() { return kGgufNames; }

Result<ModelConfig> ReadGgufConfig(const GgufMetadata& metadata, const TensorSource& tensors) {
  QUIRE_ASSIGN_OR_RETURN(const ArchSpec* spec, FindGgufArchSpec(metadata));
  GgufFields fields(metadata, spec->gguf_architecture);
  ModelConfig config;
  config.architecture = spec->architecture;
  for (const auto& [name, neutral] : kVariants) fields.MustBe(name, neutral);
  config.vocab_size = VocabularySize(fields, metadata, tensors);
  ReadGgufShape(fields, config);
  QUIRE_RETURN_IF_ERROR(fields.status());  // what follows divides by these
  ReadGgufHeadDim(fields, config);
  ReadGgufRope(fields, config);
  ReadGgufWindow(fields, *spec, config);
  QUIRE_RETURN_IF_ERROR(fields.status());
  QUIRE_RETURN_IF_ERROR(ReadRopeFactors(tensors, config));
  config.tie_word_embeddings = !tensors.Has(kGgufNames.lm_head);
  config.attention_bias = tensors.Has(LayerName(0, kGgufNames.q) + ".bias");
  config.mlp_bias = tensors.Has(LayerName(0, kGgufNames.gate) + ".bias");
  config.checkpoint_dtype = StoredDType(tensors);
  ReadGgufTokens(metadata, config);
  ReadGgufSampling(metadata, config);
  for (const std::string& key : fields.unread()) config.warnings.push_back(fmt::format("key {} is not known", key));
  return config;
}

Status OrderGgufRows(const ArchSpec& spec, const ModelConfig& config, TensorSource& tensors) {
  if (!spec.gguf_pairs_rows) return {};
  for (int32_t layer = 0; layer < config.num_layers; ++layer) {
    for (const char* suffix : {".weight", ".bias"}) {
      QUIRE_RETURN_IF_ERROR(tensors.OrderPairedRows(LayerName(layer, kGgufNames.q) + suffix, config.num_heads));
      QUIRE_RETURN_IF_ERROR(tensors.OrderPairedRows(LayerName(layer, kGgufNames.k) + suffix, config.num_kv_heads));
    }
  }
  return {};
}

}  // namespace quire
