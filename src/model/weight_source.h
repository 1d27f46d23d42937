// WeightSource: what building a decoder asks for its weights. One kind packs them from their files, the other counts
// what they would take; both walk the same structure, so a footprint finds the same missing and misshapen tensors as
// loading does. One thread at a time; packing itself runs on the backend's threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "quire/result.h"
#include "tensor/buffer.h"
#include "weights/stored_format.h"
#include "weights/tensor_source.h"

namespace quire {

// One tensor of a file among those that are stacked into a weight: [rows, in_features], or [rows].
struct WeightPart {
  std::string name;
  int64_t rows = 0;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The row-wise stack of `parts`.
  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features);
  // The parts in one float vector of the device: biases, norms.
  Result<Buffer> Vector(std::span<const WeightPart> parts);

  // Of all weights so far, in memory, as BufferPool gives it out.
  size_t bytes() const { return bytes_; }
  // A tensor that is used twice counts once.
  int64_t num_parameters() const { return num_parameters_; }
  // Of the tensors that were asked for, the largest part first.
  std::vector<StoredFormat> stored_formats() const;
  // What the files hold beyond what was asked for.
  std::vector<std::string> UnusedTensors() const;

 protected:
  // `format`: of the products, kF32 or kBf16.
  WeightSource(const Backend& backend, const TensorSource& tensors, DType format)
      : backend_(backend), tensors_(tensors), format_(format) {}

  DType format() const { return format_; }

 private:
  virtual Result<std::unique_ptr<PackedLinear>> Pack(std::span<const MatrixPart> parts) = 0;
  virtual Result<Buffer> Store(std::span<const StoredTensor> parts, int64_t size) = 0;

  // Counts the tensor as used; touches no data.
  Result<StoredTensor> Find(const std::string& name, std::span<const int64_t> shape);
  void Count(const std::string& name, const StoredTensor& tensor);

  const Backend& backend_;
  const TensorSource& tensors_;
  DType format_;
  std::set<std::string> used_;
  std::map<std::string_view, uint64_t> stored_bytes_;  // by format
  size_t bytes_ = 0;
  int64_t num_parameters_ = 0;
};

// Packs and copies out of the files, which can go afterwards, into `memory`, which is the backend's.
std::unique_ptr<WeightSource> MakePackingSource(Backend& backend, MemoryPool& memory, const TensorSource& tensors,
                                                DType format);
// Reads headers only; every weight it hands out is empty.
std::unique_ptr<WeightSource> MakeMeasuringSource(const Backend& backend, const TensorSource& tensors, DType format);

}  // namespace quire
