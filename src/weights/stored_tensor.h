// StoredTensor: a tensor of floats in an open file, in whichever format, which is read in parts. A view: it lives as
// long as the source that found it. Const; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "base/readable_file.h"
#include "quire/result.h"
#include "tensor/dtype.h"
#include "tensor/weight_format.h"
#include "weights/weight_decoder.h"

namespace quire {

// Rows of queries and keys of a file whose rotation turns neighbours: of each head, row 2i + s stands where row
// s * head_rows / 2 + i is meant.
struct PairedRows {
  int64_t head_rows = 0;  // even
  int64_t row_size = 0;   // elements, whole blocks
};

class StoredTensor {
 public:
  StoredTensor(const ReadableFile& file, uint64_t offset, const WeightFormat& format, int64_t size,
               PairedRows paired = {})
      : file_(&file), offset_(offset), format_(&format), size_(size), paired_(paired) {}
  StoredTensor(std::shared_ptr<const WeightDecoder> decoder, const WeightFormat& format, int64_t size)
      : format_(&format), size_(size), decoder_(std::move(decoder)) {}

  const WeightFormat& format() const { return *format_; }
  DType dtype() const { return ReadDType(*format_); }  // of what Read gives
  int64_t size() const { return size_; }               // elements
  // Read begins and ends at multiples of it.
  int64_t unit() const { return decoder_ != nullptr ? 1 : format_->block_size; }

  // Elements [first, first + count), which take count * DTypeSize(dtype()) bytes. 16-bit floats are as they are stored,
  // all else is float32, exactly (but for F64, which is rounded).
  Status Read(int64_t first, int64_t count, void* to) const;

 private:
  Status ReadRun(int64_t first, int64_t count, void* to) const;
  int64_t StoredRow(int64_t row) const;

  const ReadableFile* file_ = nullptr;
  uint64_t offset_ = 0;
  const WeightFormat* format_;
  int64_t size_;
  PairedRows paired_;
  std::shared_ptr<const WeightDecoder> decoder_;  // instead of file_ and offset_
};

// The same as float32.
Status ReadFloats(const StoredTensor& tensor, int64_t first, std::span<float> to);
// The same as `dtype`: its own, kF32, or kBf16, rounded to nearest even.
Status ReadAs(const StoredTensor& tensor, int64_t first, int64_t count, DType dtype, void* to);
// Whether two tensors of one size hold the same numbers.
Result<bool> SameValues(const StoredTensor& a, const StoredTensor& b);

}  // namespace quire
