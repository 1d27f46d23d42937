// MatrixReader: a matrix of weights wherever it is stored, read in parts by the threads that pack it. MatrixPart: the
// part of one that goes into a weight: stacking, splitting of fused tensors and shards are all lists of parts.
#pragma once

#include <cstdint>
#include <span>

#include "quire/result.h"
#include "tensor/tensor.h"

namespace quire {

struct MatrixRange {
  int64_t first_row = 0, num_rows = 0;
  int64_t first_column = 0, num_columns = 0;
};

class MatrixReader {
 public:
  virtual ~MatrixReader() = default;
  virtual int64_t num_rows() const = 0;
  virtual int64_t num_columns() const = 0;
  // The range, row behind row without gaps, as `dtype`: kF32, or kBf16, which rounds to nearest even what is not of
  // that format. REQUIRES: the range is within the matrix. Any thread, several at once.
  virtual Status Read(const MatrixRange& range, DType dtype, void* to) const = 0;
};

struct MatrixPart {
  const MatrixReader* matrix = nullptr;
  MatrixRange range;
};

// All of a matrix.
MatrixPart WholeOf(const MatrixReader& matrix);

int64_t NumStackedRows(std::span<const MatrixPart> parts);
// Rows [first, first + count) of the parts stacked row-wise, as MatrixReader::Read. REQUIRES: parts of one width.
Status ReadStackedRows(std::span<const MatrixPart> parts, int64_t first, int64_t count, DType dtype, void* to);

// A matrix in the host's memory: f32, bf16 or f16, of any alignment.
class TensorMatrix : public MatrixReader {
 public:
  explicit TensorMatrix(const Tensor& tensor) : tensor_(tensor) {}
  int64_t num_rows() const override { return tensor_.dim(0); }
  int64_t num_columns() const override { return tensor_.dim(1); }
  Status Read(const MatrixRange& range, DType dtype, void* to) const override;

 private:
  Tensor tensor_;
};

}  // namespace quire
