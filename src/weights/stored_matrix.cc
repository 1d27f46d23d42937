#include "weights/stored_matrix.h"

#include <cstring>
#include <vector>

namespace quire {

Status StoredMatrix::Read(const MatrixRange& range, DType dtype, void* to) const {
  if (range.num_columns != columns_) return ReadColumns(range, dtype, static_cast<std::byte*>(to));
  return ReadAs(tensor_, range.first_row * columns_, range.num_rows * columns_, dtype, to);
}

// Row by row, of each the units that the columns are in.
Status StoredMatrix::ReadColumns(const MatrixRange& range, DType dtype, std::byte* to) const {
  const int64_t unit = tensor_.unit();
  const int64_t begin = range.first_column / unit * unit;
  const int64_t end = (range.first_column + range.num_columns + unit - 1) / unit * unit;
  const size_t element = DTypeSize(dtype), num_bytes = static_cast<size_t>(range.num_columns) * element;
  std::vector<std::byte> units(static_cast<size_t>(end - begin) * element);
  for (int64_t row = range.first_row; row < range.first_row + range.num_rows; ++row) {
    QUIRE_RETURN_IF_ERROR(ReadAs(tensor_, row * columns_ + begin, end - begin, dtype, units.data()));
    std::memcpy(to, units.data() + static_cast<size_t>(range.first_column - begin) * element, num_bytes);
    to += num_bytes;
  }
  return {};
}

}  // namespace quire
