// Mlp: the gated feed-forward branch of a layer: down(act(gate(x)) * up(x)), with gate and up as one product.
// Const after construction.
#pragma once

#include <cstdint>
#include <utility>

#include "backend/backend.h"
#include "model/attention.h"
#include "model/linear.h"

namespace quire {

class Mlp {
 public:
  // gate_up: [2 * features, hidden], gate first; down: [hidden, features].
  Mlp(Activation activation, int64_t features, Linear gate_up, Linear down)
      : activation_(activation), features_(features), gate_up_(std::move(gate_up)), down_(std::move(down)) {}

  // residual += mlp(x); x [rows, hidden] is normalised already.
  void Forward(const StepContext& step, const Tensor& x, const Tensor& residual) const;
  // Of the arena, during Forward.
  static size_t ScratchBytes(int64_t features, int64_t rows);

 private:
  Activation activation_;
  int64_t features_;
  Linear gate_up_;
  Linear down_;
};

}  // namespace quire
