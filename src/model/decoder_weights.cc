#include "model/decoder_weights.h"

#include <array>
#include <initializer_list>
#include <string>
#include <utility>

namespace quire {
namespace {

// Builds one layer, or what stands around them, out of names and sizes.
class DecoderBuilder {
 public:
  DecoderBuilder(const ArchSpec& spec, const ModelConfig& config, WeightSource& source)
      : names_(spec.names), spec_(spec), config_(config), kv_layout_(LayOutKv(LayerWindows(config))), source_(source) {}

  Result<DecoderWeights> Build() {
    DecoderWeights weights;
    QUIRE_ASSIGN_OR_RETURN(weights.embedding, BuildVocabulary(names_.embedding));
    for (int32_t i = 0; i < config_.num_layers; ++i) {
      QUIRE_ASSIGN_OR_RETURN(DecoderLayer layer, BuildLayer(i));
      weights.layers.push_back(std::move(layer));
    }
    QUIRE_ASSIGN_OR_RETURN(weights.final_norm, BuildNorm(std::string(names_.final_norm)));
    std::shared_ptr<const PackedLinear> head = weights.embedding;
    if (!config_.tie_word_embeddings) {
      QUIRE_ASSIGN_OR_RETURN(head, BuildVocabulary(names_.lm_head));
    }
    weights.lm_head = Linear(std::move(head), {});
    return weights;
  }

 private:
  struct Projection {
    std::string_view name;
    int64_t rows;
  };

  // A row for every token.
  Result<std::shared_ptr<const PackedLinear>> BuildVocabulary(std::string_view name) {
    const std::array parts = {WeightPart{std::string(name), config_.vocab_size}};
    QUIRE_ASSIGN_OR_RETURN(auto packed, source_.Matrix(parts, config_.hidden_size));
    return std::shared_ptr<const PackedLinear>(std::move(packed));
  }

  Result<DecoderLayer> BuildLayer(int32_t index) {
    const std::string prefix = LayerPrefix(index);
    QUIRE_ASSIGN_OR_RETURN(RmsNorm attention_norm, BuildNorm(prefix + std::string(names_.attention_norm)));
    QUIRE_ASSIGN_OR_RETURN(Attention attention, BuildAttention(prefix, index));
    QUIRE_ASSIGN_OR_RETURN(RmsNorm mlp_norm, BuildNorm(prefix + std::string(names_.mlp_norm)));
    QUIRE_ASSIGN_OR_RETURN(Mlp mlp, BuildMlp(prefix));
    return DecoderLayer{std::move(attention_norm), std::move(attention), std::move(mlp_norm), std::move(mlp)};
  }

  Result<Attention> BuildAttention(const std::string& prefix, int32_t index) {
    const int64_t q_rows = int64_t{config_.num_heads} * config_.head_dim;
    const int64_t kv_rows = int64_t{config_.num_kv_heads} * config_.head_dim;
    AttentionWeights weights;
    QUIRE_ASSIGN_OR_RETURN(weights.qkv,
                           BuildLinear(prefix, {{names_.q, q_rows}, {names_.k, kv_rows}, {names_.v, kv_rows}},
                                       config_.hidden_size, HasBias(spec_.qkv_bias)));
    QUIRE_ASSIGN_OR_RETURN(weights.out,
                           BuildLinear(prefix, {{names_.o, config_.hidden_size}}, q_rows, HasBias(spec_.o_bias)));
    if (spec_.qk_norm) {
      QUIRE_ASSIGN_OR_RETURN(weights.q_norm, HeadNorm(prefix + std::string(names_.q_norm)));
      QUIRE_ASSIGN_OR_RETURN(weights.k_norm, HeadNorm(prefix + std::string(names_.k_norm)));
    }
    return Attention(MakeAttentionShape(config_, kv_layout_, index), std::move(weights));
  }

  Result<Mlp> BuildMlp(const std::string& prefix) {
    const int64_t features = config_.intermediate_size;
    const bool bias = HasBias(spec_.mlp_bias);
    QUIRE_ASSIGN_OR_RETURN(Linear gate_up, BuildLinear(prefix, {{names_.gate, features}, {names_.up, features}},
                                                       config_.hidden_size, bias));
    QUIRE_ASSIGN_OR_RETURN(Linear down, BuildLinear(prefix, {{names_.down, config_.hidden_size}}, features, bias));
    return Mlp(config_.activation, features, std::move(gate_up), std::move(down));
  }

  Result<Linear> BuildLinear(const std::string& prefix, std::initializer_list<Projection> projections,
                             int64_t in_features, bool has_bias) {
    QUIRE_ASSIGN_OR_RETURN(auto weight, source_.Matrix(Parts(prefix, projections, ".weight"), in_features));
    Buffer bias;
    if (has_bias) {
      QUIRE_ASSIGN_OR_RETURN(bias, source_.Vector(Parts(prefix, projections, ".bias")));
    }
    return Linear(std::move(weight), std::move(bias));
  }

  Result<RmsNorm> BuildNorm(const std::string& name) {
    const std::array parts = {WeightPart{name, config_.hidden_size}};
    QUIRE_ASSIGN_OR_RETURN(auto weight, source_.Vector(parts));
    return RmsNorm(std::move(weight), config_.rms_norm_eps);
  }

  Result<Buffer> HeadNorm(const std::string& name) {
    const std::array parts = {WeightPart{name, config_.head_dim}};
    return source_.Vector(parts);
  }

  static std::vector<WeightPart> Parts(const std::string& prefix, std::initializer_list<Projection> projections,
                                       const char* suffix) {
    std::vector<WeightPart> parts;
    for (const Projection& p : projections) parts.push_back({prefix + std::string(p.name) + suffix, p.rows});
    return parts;
  }

  std::string LayerPrefix(int32_t index) const {
    std::string prefix(names_.layer);
    return prefix.replace(prefix.find("{}"), 2, std::to_string(index));
  }

  bool HasBias(BiasRule rule) const {
    switch (rule) {
      case BiasRule::kNone:
        return false;
      case BiasRule::kAlways:
        return true;
      case BiasRule::kAttentionBias:
        return config_.attention_bias;
      case BiasRule::kMlpBias:
        return config_.mlp_bias;
    }
    return false;
  }

  const WeightNames& names_;
  const ArchSpec& spec_;
  const ModelConfig& config_;
  const KvLayout kv_layout_;
  WeightSource& source_;
};

}  // namespace

AttentionShape MakeAttentionShape(const ModelConfig& config, const KvLayout& kv_layout, int32_t layer) {
  const KvPlace place = kv_layout.places[static_cast<size_t>(layer)];
  return {.kv_group = place.group,
          .kv_layer = place.layer,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .head_dim = config.head_dim,
          .window = kv_layout.groups[static_cast<size_t>(place.group)].window,
          .norm_epsilon = config.rms_norm_eps};
}

Result<DecoderWeights> BuildDecoder(const ArchSpec& spec, const ModelConfig& config, WeightSource& source) {
  return DecoderBuilder(spec, config, source).Build();
}

}  // namespace quire
