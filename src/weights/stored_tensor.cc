#include "weights/stored_tensor.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "weights/dequantize.h"

namespace quire {
namespace {

// Elements of a piece that lies on the stack: whole blocks of every format.
constexpr int64_t kPieceElements = 16384;
constexpr size_t kPieceBytes = 65536;

}  // namespace

Status StoredTensor::Read(int64_t first, int64_t count, void* to) const {
  QUIRE_CHECK(first >= 0 && count >= 0 && count <= size_ - first, "{} elements from {} of {}", count, first, size_);
  QUIRE_CHECK(first % unit() == 0 && count % unit() == 0, "{} elements from {}, in blocks of {}", count, first, unit());
  if (paired_.head_rows == 0) return ReadRun(first, count, to);
  const size_t element = DTypeSize(dtype());
  auto* place = static_cast<std::byte*>(to);
  for (const int64_t end = first + count; first < end;) {
    const int64_t row = first / paired_.row_size, column = first % paired_.row_size;
    const int64_t run = std::min(paired_.row_size - column, end - first);
    QUIRE_RETURN_IF_ERROR(ReadRun(StoredRow(row) * paired_.row_size + column, run, place));
    place += static_cast<size_t>(run) * element;
    first += run;
  }
  return {};
}

int64_t StoredTensor::StoredRow(int64_t row) const {
  const int64_t half = paired_.head_rows / 2;
  const int64_t head = row / paired_.head_rows, within = row % paired_.head_rows;
  return head * paired_.head_rows + within % half * 2 + within / half;
}

// Elements that lie one behind the other.
Status StoredTensor::ReadRun(int64_t first, int64_t count, void* to) const {
  if (decoder_ != nullptr) return decoder_->Read(first, count, static_cast<float*>(to));
  const auto block_bytes = static_cast<uint64_t>(format_->block_bytes);
  const uint64_t begin = offset_ + static_cast<uint64_t>(first / unit()) * block_bytes;
  const auto num_blocks = static_cast<uint64_t>(count / unit());
  if (block_bytes == DTypeSize(dtype()) && unit() == 1) {
    return file_->Read(begin, {static_cast<std::byte*>(to), num_blocks * block_bytes});
  }
  std::array<std::byte, kPieceBytes> piece;
  const uint64_t blocks_at_once = kPieceBytes / block_bytes;
  auto* floats = static_cast<float*>(to);
  for (uint64_t done = 0; done < num_blocks;) {
    const uint64_t num_read = std::min(blocks_at_once, num_blocks - done);
    QUIRE_RETURN_IF_ERROR(file_->Read(begin + done * block_bytes, std::span(piece).first(num_read * block_bytes)));
    Dequantize(format_->kind, piece.data(), static_cast<int64_t>(num_read), floats);
    floats += num_read * static_cast<uint64_t>(unit());
    done += num_read;
  }
  return {};
}

Status ReadFloats(const StoredTensor& tensor, int64_t first, std::span<float> to) {
  const auto count = static_cast<int64_t>(to.size());
  if (tensor.dtype() == DType::kF32) return tensor.Read(first, count, to.data());
  std::array<uint16_t, kPieceElements> piece;
  for (int64_t done = 0; done < count;) {
    const int64_t num_read = std::min(kPieceElements, count - done);
    QUIRE_RETURN_IF_ERROR(tensor.Read(first + done, num_read, piece.data()));
    for (int64_t i = 0; i < num_read; ++i) {
      const uint16_t bits = piece[static_cast<size_t>(i)];
      to[static_cast<size_t>(done + i)] =
          tensor.dtype() == DType::kBf16 ? ToFloat(static_cast<Bf16>(bits)) : HalfToFloat(bits);
    }
    done += num_read;
  }
  return {};
}

Status ReadAs(const StoredTensor& tensor, int64_t first, int64_t count, DType dtype, void* to) {
  if (dtype == tensor.dtype()) return tensor.Read(first, count, to);
  if (dtype == DType::kF32) return ReadFloats(tensor, first, {static_cast<float*>(to), static_cast<size_t>(count)});
  QUIRE_CHECK(dtype == DType::kBf16, "{}", DTypeName(dtype));
  std::array<float, kPieceElements> piece;
  auto* place = static_cast<Bf16*>(to);
  for (int64_t done = 0; done < count;) {
    const int64_t num_read = std::min(kPieceElements, count - done);
    const auto floats = std::span(piece).first(static_cast<size_t>(num_read));
    QUIRE_RETURN_IF_ERROR(ReadFloats(tensor, first + done, floats));
    place = std::transform(floats.begin(), floats.end(), place, [](float value) { return ToBf16(value); });
    done += num_read;
  }
  return {};
}

Result<bool> SameValues(const StoredTensor& a, const StoredTensor& b) {
  QUIRE_CHECK_EQ(a.size(), b.size());
  const DType dtype = a.dtype() == b.dtype() ? a.dtype() : DType::kF32;
  const auto piece_bytes = static_cast<size_t>(std::min(kPieceElements, a.size())) * DTypeSize(dtype);
  std::vector<std::byte> a_values(piece_bytes), b_values(piece_bytes);
  for (int64_t first = 0; first < a.size(); first += kPieceElements) {
    const int64_t count = std::min(kPieceElements, a.size() - first);
    QUIRE_RETURN_IF_ERROR(ReadAs(a, first, count, dtype, a_values.data()));
    QUIRE_RETURN_IF_ERROR(ReadAs(b, first, count, dtype, b_values.data()));
    if (std::memcmp(a_values.data(), b_values.data(), static_cast<size_t>(count) * DTypeSize(dtype)) != 0) return false;
  }
  return true;
}

}  // namespace quire
