// Linear and RmsNorm: a weight and the backend's operation on it. Const after construction; any thread that may call
// the backend.
#pragma once

#include <memory>
#include <utility>

#include "backend/backend.h"

namespace quire {

// y = x Wᵀ + b.
class Linear {
 public:
  Linear() = default;
  // `bias` [out_features] of the device; empty: none.
  Linear(std::shared_ptr<const PackedLinear> weight, Buffer bias)
      : weight_(std::move(weight)), bias_(std::move(bias)) {}

  int64_t out_features() const { return weight_->out_features(); }
  int64_t in_features() const { return weight_->in_features(); }

  void Apply(Backend& backend, Batch& batch, const Tensor& x, const Tensor& y) const {
    Run(backend, batch, x, y, false);
  }
  // y += x Wᵀ + b: a branch back into the residual stream.
  void AddTo(Backend& backend, Batch& batch, const Tensor& x, const Tensor& y) const {
    Run(backend, batch, x, y, true);
  }

 private:
  void Run(Backend& backend, Batch& batch, const Tensor& x, const Tensor& y, bool accumulate) const {
    backend.Linear({.batch = &batch,
                    .x = x,
                    .weight = weight_.get(),
                    .bias = static_cast<const float*>(bias_.data()),
                    .y = y,
                    .accumulate = accumulate});
  }

  std::shared_ptr<const PackedLinear> weight_;
  Buffer bias_;
};

class RmsNorm {
 public:
  RmsNorm() = default;
  // `weight` [features] of the device.
  RmsNorm(Buffer weight, float epsilon) : weight_(std::move(weight)), epsilon_(epsilon) {}

  // y may be x.
  void Apply(Backend& backend, const Tensor& x, const Tensor& y) const {
    backend.RmsNorm({.x = x, .weight = static_cast<const float*>(weight_.data()), .epsilon = epsilon_, .y = y});
  }

 private:
  Buffer weight_;
  float epsilon_ = 0;
};

}  // namespace quire
