// Linear and RmsNorm: a weight and the backend's operation on it. Const after construction; any thread that may call
// the backend.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"

namespace quire {

// y = x Wᵀ + b.
class Linear {
 public:
  Linear() = default;
  // `bias` empty: none.
  Linear(std::unique_ptr<PackedLinear> weight, std::vector<float> bias)
      : weight_(std::move(weight)), bias_(std::move(bias)) {}

  int64_t out_features() const { return weight_->out_features(); }
  int64_t in_features() const { return weight_->in_features(); }

  void Apply(Backend& backend, const Tensor& x, const Tensor& y) const { Run(backend, x, y, false); }
  // y += x Wᵀ + b: a branch back into the residual stream.
  void AddTo(Backend& backend, const Tensor& x, const Tensor& y) const { Run(backend, x, y, true); }

 private:
  void Run(Backend& backend, const Tensor& x, const Tensor& y, bool accumulate) const {
    const float* bias = bias_.empty() ? nullptr : bias_.data();
    backend.Linear({.x = x, .weight = weight_.get(), .bias = bias, .y = y, .accumulate = accumulate});
  }

  std::unique_ptr<PackedLinear> weight_;
  std::vector<float> bias_;
};

class RmsNorm {
 public:
  RmsNorm() = default;
  RmsNorm(std::vector<float> weight, float epsilon) : weight_(std::move(weight)), epsilon_(epsilon) {}

  // y may be x.
  void Apply(Backend& backend, const Tensor& x, const Tensor& y) const {
    backend.RmsNorm({.x = x, .weight = weight_.data(), .epsilon = epsilon_, .y = y});
  }

 private:
  std::vector<float> weight_;
  float epsilon_ = 0;
};

}  // namespace quire
