#include "tensor/matrix_reader.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace quire {
namespace {

template <typename T>
T LoadUnaligned(const char* data, int64_t index) {
  T value;
  std::memcpy(&value, data + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

float LoadFloat(const char* data, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF32:
      return LoadUnaligned<float>(data, index);
    case DType::kBf16:
      return ToFloat(static_cast<Bf16>(LoadUnaligned<uint16_t>(data, index)));
    case DType::kF16:
      return HalfToFloat(LoadUnaligned<uint16_t>(data, index));
    default:
      QUIRE_CHECK(false, "{}", DTypeName(dtype));
  }
  return 0;
}

}  // namespace

MatrixPart WholeOf(const MatrixReader& matrix) {
  return {.matrix = &matrix, .range = {.num_rows = matrix.num_rows(), .num_columns = matrix.num_columns()}};
}

int64_t NumStackedRows(std::span<const MatrixPart> parts) {
  int64_t rows = 0;
  for (const MatrixPart& part : parts) rows += part.range.num_rows;
  return rows;
}

Status ReadStackedRows(std::span<const MatrixPart> parts, int64_t first, int64_t count, DType dtype, void* to) {
  auto* place = static_cast<std::byte*>(to);
  for (const auto& [matrix, range] : parts) {
    if (count == 0) break;
    if (first < range.num_rows) {
      const MatrixRange run = {.first_row = range.first_row + first,
                               .num_rows = std::min(count, range.num_rows - first),
                               .first_column = range.first_column,
                               .num_columns = range.num_columns};
      QUIRE_RETURN_IF_ERROR(matrix->Read(run, dtype, place));
      place += static_cast<size_t>(run.num_rows * run.num_columns) * DTypeSize(dtype);
      count -= run.num_rows;
    }
    first = std::max<int64_t>(first - range.num_rows, 0);
  }
  QUIRE_CHECK_EQ(count, 0);
  return {};
}

Status TensorMatrix::Read(const MatrixRange& range, DType dtype, void* to) const {
  const size_t element = DTypeSize(tensor_.dtype());
  auto* place = static_cast<std::byte*>(to);
  for (int64_t row = range.first_row; row < range.first_row + range.num_rows; ++row) {
    const char* from =
        tensor_.as<const char>() + static_cast<size_t>(row * num_columns() + range.first_column) * element;
    if (tensor_.dtype() == dtype) {
      std::memcpy(place, from, static_cast<size_t>(range.num_columns) * element);
    } else if (dtype == DType::kF32) {
      auto* out = reinterpret_cast<float*>(place);
      for (int64_t i = 0; i < range.num_columns; ++i) out[i] = LoadFloat(from, tensor_.dtype(), i);
    } else {
      QUIRE_CHECK(dtype == DType::kBf16, "{}", DTypeName(dtype));
      auto* out = reinterpret_cast<Bf16*>(place);
      for (int64_t i = 0; i < range.num_columns; ++i) out[i] = ToBf16(LoadFloat(from, tensor_.dtype(), i));
    }
    place += static_cast<size_t>(range.num_columns) * DTypeSize(dtype);
  }
  return {};
}

}  // namespace quire
