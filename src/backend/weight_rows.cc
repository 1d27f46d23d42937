#include "backend/weight_rows.h"

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

}  // namespace

int64_t WeightRows::num_rows() const {
  int64_t rows = 0;
  for (const Tensor& part : parts_) rows += part.dim(0);
  return rows;
}

WeightRows::Source WeightRows::Find(int64_t row) const {
  for (const Tensor& part : parts_) {
    if (row < part.dim(0)) {
      const size_t offset = static_cast<size_t>(row * width()) * DTypeSize(part.dtype());
      return {part.as<const char>() + offset, part.dtype()};
    }
    row -= part.dim(0);
  }
  QUIRE_CHECK(false, "row past the end by {}", row);
  return {};
}

void WeightRows::Load(int64_t row, float* out) const {
  const Source source = Find(row);
  const int64_t n = width();
  switch (source.dtype) {
    case DType::kF32:
      std::memcpy(out, source.data, static_cast<size_t>(n) * sizeof(float));
      return;
    case DType::kBf16:
      for (int64_t i = 0; i < n; ++i) out[i] = ToFloat(static_cast<Bf16>(LoadUnaligned<uint16_t>(source.data, i)));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) out[i] = HalfToFloat(LoadUnaligned<uint16_t>(source.data, i));
      return;
    default:
      QUIRE_CHECK(false, "{}", DTypeName(source.dtype));
  }
}

void WeightRows::Load(int64_t row, uint16_t* out) const {
  const Source source = Find(row);
  const int64_t n = width();
  switch (source.dtype) {
    case DType::kF32:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<uint16_t>(ToBf16(LoadUnaligned<float>(source.data, i)));
      return;
    case DType::kBf16:
      std::memcpy(out, source.data, static_cast<size_t>(n) * sizeof(uint16_t));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) {
        out[i] = static_cast<uint16_t>(ToBf16(HalfToFloat(LoadUnaligned<uint16_t>(source.data, i))));
      }
      return;
    default:
      QUIRE_CHECK(false, "{}", DTypeName(source.dtype));
  }
}

}  // namespace quire
