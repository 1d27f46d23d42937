// StoredMatrix: a tensor of a file as the rows and columns that packing asks for. Const; any thread.
#pragma once

#include "tensor/matrix_reader.h"
#include "weights/stored_tensor.h"

namespace quire {

class StoredMatrix : public MatrixReader {
 public:
  // REQUIRES: `columns` divides the tensor's size, and is a multiple of its unit.
  StoredMatrix(const StoredTensor& tensor, int64_t columns) : tensor_(tensor), columns_(columns) {}

  int64_t num_rows() const override { return tensor_.size() / columns_; }
  int64_t num_columns() const override { return columns_; }
  Status Read(const MatrixRange& range, DType dtype, void* to) const override;

 private:
  Status ReadColumns(const MatrixRange& range, DType dtype, std::byte* to) const;

  StoredTensor tensor_;
  int64_t columns_;
};

}  // namespace quire
