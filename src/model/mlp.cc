#include "model/mlp.h"

namespace quire {

size_t Mlp::ScratchBytes(int64_t features, int64_t rows) {
  const auto floats = static_cast<size_t>(rows * features) * sizeof(float);
  return Arena::Align(2 * floats) + Arena::Align(floats);
}

void Mlp::Forward(const StepContext& step, const Tensor& x, const Tensor& residual) const {
  const size_t mark = step.arena.mark();
  const Tensor gate_up = step.arena.NewTensor(DType::kF32, {x.dim(0), 2 * features_});
  const Tensor gated = step.arena.NewTensor(DType::kF32, {x.dim(0), features_});
  gate_up_.Apply(step.backend, step.batch, x, gate_up);
  step.backend.GatedActivation({.gate_up = gate_up, .activation = activation_, .y = gated});
  down_.AddTo(step.backend, step.batch, gated, residual);
  step.arena.Release(mark);
}

}  // namespace quire
