#include "model/attention.h"

#include <cmath>

namespace quire {
namespace {

int64_t QueryFeatures(const AttentionShape& shape) { return int64_t{shape.num_heads} * shape.head_dim; }

int64_t QkvFeatures(const AttentionShape& shape) {
  return (int64_t{shape.num_heads} + 2 * int64_t{shape.num_kv_heads}) * shape.head_dim;
}

}  // namespace

size_t Attention::ScratchBytes(const AttentionShape& shape, int64_t rows) {
  const auto floats = [&](int64_t features) {
    return Arena::Align(static_cast<size_t>(rows * features) * sizeof(float));
  };
  return floats(QkvFeatures(shape)) + floats(QueryFeatures(shape));
}

void Attention::Forward(const StepContext& step, const Tensor& x, const Tensor& residual) const {
  const size_t mark = step.arena.mark();
  const Tensor qkv = step.arena.NewTensor(DType::kF32, {x.dim(0), QkvFeatures(shape_)});
  const Tensor attended = step.arena.NewTensor(DType::kF32, {x.dim(0), QueryFeatures(shape_)});
  weights_.qkv.Apply(step.backend, step.batch, x, qkv);
  step.backend.RopeAndCache({.qkv = qkv,
                             .num_heads = shape_.num_heads,
                             .q_norm = static_cast<const float*>(weights_.q_norm.data()),
                             .k_norm = static_cast<const float*>(weights_.k_norm.data()),
                             .norm_epsilon = shape_.norm_epsilon,
                             .rope = step.rope,
                             .batch = &step.batch,
                             .cache = &step.cache,
                             .group = shape_.kv_group,
                             .layer = shape_.kv_layer});
  step.backend.Attention({.qkv = qkv,
                          .num_heads = shape_.num_heads,
                          .scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)),
                          .window = shape_.window,
                          .batch = &step.batch,
                          .cache = &step.cache,
                          .group = shape_.kv_group,
                          .layer = shape_.kv_layer,
                          .y = attended});
  weights_.out.AddTo(step.backend, step.batch, attended, residual);
  step.arena.Release(mark);
}

}  // namespace quire
