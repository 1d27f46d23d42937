// Rows of a weight as a checkpoint stores them, converted while they are packed. The source may be unaligned.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace quire {

// The row-wise concatenation of matrices of equal width.
class WeightRows {
 public:
  explicit WeightRows(std::span<const Tensor> parts) : parts_(parts) {}

  int64_t num_rows() const;
  int64_t width() const { return parts_[0].dim(1); }

  // Row `row` in width() elements of `out`: exact from bf16 and f16 to float; rounded to nearest even to bf16.
  void Load(int64_t row, float* out) const;
  void Load(int64_t row, uint16_t* out) const;

 private:
  struct Source {
    const char* data;
    DType dtype;
  };
  Source Find(int64_t row) const;

  std::span<const Tensor> parts_;
};

}  // namespace quire
