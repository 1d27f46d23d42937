#include "model/model.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "model/arch_spec.h"
#include "model/decoder_weights.h"
#include "model/opened_model.h"
#include "model/rope_table.h"
#include "model/weight_source.h"
#include "tensor/buffer_pool.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

DType ProductFormat(ComputeDType wanted, DType stored) {
  switch (wanted) {
    case ComputeDType::kF32:
      return DType::kF32;
    case ComputeDType::kBf16:
      return DType::kBf16;
    case ComputeDType::kAuto:
      break;
  }
  return stored == DType::kBf16 ? DType::kBf16 : DType::kF32;
}

size_t FloatBytes(int64_t rows, int64_t features) {
  return Arena::Align(static_cast<size_t>(rows * features) * sizeof(float));
}

KvShape MakeKvShape(const ModelConfig& config, const KvLayout& layout) {
  KvShape shape;
  shape.num_layers = layout.layers_per_block;
  shape.num_kv_heads = config.num_kv_heads;
  shape.head_dim = config.head_dim;
  return shape;
}

Status CheckMaxModelLen(const ModelConfig& config, int32_t max_model_len) {
  if (max_model_len < 0) {
    return InvalidArgument("max_model_len is {}: must be positive, or 0 for the model's own", max_model_len);
  }
  if (max_model_len > LongestContext(config)) {
    return InvalidArgument("--max-model-len is {}, but the model was made for {} positions", max_model_len,
                           LongestContext(config));
  }
  return {};
}

// Everything before weights are read: shared by Load and MeasureModel.
struct Opened {
  OpenedModel model;
  DType format = DType::kF32;
  int32_t num_positions = 0;
};

Result<Opened> Open(const std::string& path, const ModelOptions& options) {
  Opened opened;
  QUIRE_ASSIGN_OR_RETURN(opened.model, OpenModel(path));
  ModelConfig& config = opened.model.config;
  QUIRE_RETURN_IF_ERROR(CheckMaxModelLen(config, options.max_model_len));
  if (!config.checkpoint_dtype) {
    const std::array<int64_t, 2> shape = {config.vocab_size, config.hidden_size};
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor embedding,
                           opened.model.tensors->Find(opened.model.spec.names.embedding, shape));
    config.checkpoint_dtype = embedding.dtype();
  }
  opened.format = ProductFormat(options.dtype, *config.checkpoint_dtype);
  opened.num_positions = options.max_model_len > 0 ? options.max_model_len : config.max_position;
  return opened;
}

void LogWarnings(const std::string& directory, const ModelConfig& config) {
  for (const std::string& warning : config.warnings) {
    LogWarning("model_files model={} problem={}", LogValue(directory), LogValue(warning));
  }
}

// Tensors that no weight was made of hint at a variant of the family that config.json does not tell.
void WarnOfUnusedTensors(const std::string& directory, const WeightSource& source, const WeightNames& names) {
  std::vector<std::string> unused = source.UnusedTensors();
  std::erase_if(unused, [&](const std::string& name) {
    return name == names.lm_head || name.ends_with("rotary_emb.inv_freq") ||  // a tied head; constants
           name.ends_with("rope_freqs.weight") || name.ends_with("attn_rot_embd.weight");
  });
  if (unused.empty()) return;
  LogWarning("tensors_ignored model={} count={} first={}", LogValue(directory), unused.size(),
             LogValue(unused.front()));
}

class DecoderModel : public Model {
 public:
  // `memory`: that the weights are in.
  DecoderModel(ModelConfig config, DType format, Backend& backend, std::unique_ptr<BufferPool> memory,
               DecoderWeights weights, RopeTables rope, const WeightSource& source)
      : config_(std::move(config)),
        format_(format),
        backend_(backend),
        memory_(std::move(memory)),
        weights_(std::move(weights)),
        rope_(std::move(rope)),
        kv_layout_(LayOutKv(LayerWindows(config_))),
        weight_bytes_(source.bytes() + RopeTables::Bytes(config_, rope_.num_positions())),
        num_parameters_(source.num_parameters()) {}

  const ModelConfig& config() const override { return config_; }
  DType compute_dtype() const override { return format_; }
  size_t weight_bytes() const override { return weight_bytes_; }
  int64_t num_parameters() const override { return num_parameters_; }

  const KvLayout& kv_layout() const override { return kv_layout_; }
  KvShape kv_shape() const override { return MakeKvShape(config_, kv_layout_); }

  size_t ArenaBytes(int64_t max_rows, int64_t max_logit_rows) const override {
    return DecoderArenaBytes(config_, max_rows, max_logit_rows);
  }
  BatchLimits batch_limits(int64_t max_rows) const override { return DecoderBatchLimits(config_, max_rows); }

  Tensor Forward(Batch& batch, KvCache& cache, Arena& arena) const override {
    CheckSpans(batch.spans());
    const auto rows = static_cast<int64_t>(batch.tokens().size());
    const Tensor hidden = arena.NewTensor(DType::kF32, {rows, config_.hidden_size});
    const size_t mark = arena.mark();
    const Tensor normed = arena.NewTensor(DType::kF32, {rows, config_.hidden_size});
    const StepContext step{backend_, batch, rope_.view(), cache, arena};

    backend_.Embed(batch, *weights_.embedding, hidden);
    for (const DecoderLayer& layer : weights_.layers) {
      layer.attention_norm.Apply(backend_, hidden, normed);
      layer.attention.Forward(step, normed, hidden);
      layer.mlp_norm.Apply(backend_, hidden, normed);
      layer.mlp.Forward(step, normed, hidden);
    }
    weights_.final_norm.Apply(backend_, hidden, hidden);
    arena.Release(mark);
    return hidden;
  }

  Tensor Logits(Batch& batch, const Tensor& hidden, Arena& arena) const override {
    const Tensor logits = arena.NewTensor(DType::kF32, {hidden.dim(0), config_.vocab_size});
    weights_.lm_head.Apply(backend_, batch, hidden, logits);
    return logits;
  }

 private:
  // A position beyond the rope tables is the runner's defect.
  void CheckSpans(std::span<const BatchSpan> spans) const {
    for (const BatchSpan& span : spans) {
      QUIRE_CHECK_LE(int64_t{span.first_position} + span.num_rows, int64_t{rope_.num_positions()});
    }
  }

  ModelConfig config_;
  DType format_;
  Backend& backend_;
  std::unique_ptr<BufferPool> memory_;
  DecoderWeights weights_;
  RopeTables rope_;
  KvLayout kv_layout_;
  size_t weight_bytes_;
  int64_t num_parameters_;
};

}  // namespace

size_t DecoderArenaBytes(const ModelConfig& config, int64_t max_rows, int64_t max_logit_rows) {
  const size_t branch =
      std::max(Attention::ScratchBytes(MakeAttentionShape(config, LayOutKv(LayerWindows(config)), 0), max_rows),
               Mlp::ScratchBytes(config.intermediate_size, max_rows));
  const size_t hidden = FloatBytes(max_rows, config.hidden_size);
  return hidden + std::max(hidden + branch, FloatBytes(max_logit_rows, config.vocab_size));
}

BatchLimits DecoderBatchLimits(const ModelConfig& config, int64_t max_rows) {
  const int64_t features = std::max(
      {int64_t{config.hidden_size}, int64_t{config.intermediate_size}, int64_t{config.num_heads} * config.head_dim});
  return {.max_rows = max_rows,
          .max_features = features,
          .num_heads = config.num_heads,
          .num_kv_heads = config.num_kv_heads,
          .vocab_size = config.vocab_size};
}

Result<std::unique_ptr<Model>> Model::Load(const std::string& path, Backend& backend, const ModelOptions& options) {
  QUIRE_ASSIGN_OR_RETURN(Opened opened, Open(path, options));
  const auto measured = MakeMeasuringSource(backend, *opened.model.tensors, opened.format);
  QUIRE_RETURN_IF_ERROR(BuildDecoder(opened.model.spec, opened.model.config, *measured));
  QUIRE_ASSIGN_OR_RETURN(Buffer arena, backend.Allocate(measured->bytes()));
  auto memory = std::make_unique<BufferPool>(std::move(arena));
  const auto source = MakePackingSource(backend, *memory, *opened.model.tensors, opened.format);
  QUIRE_ASSIGN_OR_RETURN(DecoderWeights weights, BuildDecoder(opened.model.spec, opened.model.config, *source));
  QUIRE_RETURN_IF_ERROR(opened.model.tensors->CheckUnchanged());
  QUIRE_ASSIGN_OR_RETURN(RopeTables rope, RopeTables::Make(opened.model.config, opened.num_positions, backend));
  LogWarnings(path, opened.model.config);
  WarnOfUnusedTensors(path, *source, opened.model.spec.names);
  return std::unique_ptr<Model>(std::make_unique<DecoderModel>(std::move(opened.model.config), opened.format, backend,
                                                               std::move(memory), std::move(weights), std::move(rope),
                                                               *source));
}

Result<ModelFootprint> MeasureModel(const std::string& path, const Backend& backend, const ModelOptions& options) {
  QUIRE_ASSIGN_OR_RETURN(Opened opened, Open(path, options));
  const auto source = MakeMeasuringSource(backend, *opened.model.tensors, opened.format);
  QUIRE_RETURN_IF_ERROR(BuildDecoder(opened.model.spec, opened.model.config, *source));
  const KvLayout kv_layout = LayOutKv(LayerWindows(opened.model.config));
  return ModelFootprint{.config = opened.model.config,
                        .compute_dtype = opened.format,
                        .weight_bytes = source->bytes() + RopeTables::Bytes(opened.model.config, opened.num_positions),
                        .kv_layout = kv_layout,
                        .kv_shape = MakeKvShape(opened.model.config, kv_layout),
                        .num_parameters = source->num_parameters(),
                        .stored_formats = source->stored_formats(),
                        .quantization = std::string(opened.model.tensors->quantization())};
}

}  // namespace quire
