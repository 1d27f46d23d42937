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

// Plain rows [vocab, features], bf16 or f32, of the device.
struct EmbeddingTable {
  Buffer buffer;
  Tensor rows;
};

class WeightSource {
 public:
  virtual ~WeightSource() = default;

  // The row-wise stack of `parts`.
  virtual Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) = 0;
  // The parts in one float vector of the device: biases, norms.
  virtual Result<Buffer> Vector(std::span<const WeightPart> parts) = 0;
  virtual Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) = 0;

  // Of all weights so far, in memory; a tensor that is used twice takes its place twice.
  size_t bytes() const { return bytes_; }
  // A tensor that is used twice counts once.
  int64_t num_parameters() const { return num_parameters_; }
  // Of the tensors that were asked for, the largest part first.
  std::vector<StoredFormat> stored_formats() const;
  // What the files hold beyond what was asked for.
  std::vector<std::string> UnusedTensors() const;

 protected:
  // `format`: of the products, kF32 or kBf16.
  WeightSource(const TensorSource& tensors, DType format) : tensors_(tensors), format_(format) {}

  // Counts the tensor as used; touches no data.
  Result<StoredTensor> Find(const std::string& name, std::span<const int64_t> shape);
  DType format() const { return format_; }
  // What rows of an embedding are kept as. There is no kernel for f16 and for blocks: these are widened, or rounded
  // where products are bf16.
  DType TableDType(const WeightFormat& stored) const {
    return IsPlain(stored) && ReadDType(stored) != DType::kF16 ? ReadDType(stored) : format_;
  }
  void AddBytes(size_t bytes) { bytes_ += bytes; }

 private:
  void Count(const std::string& name, const StoredTensor& tensor);

  const TensorSource& tensors_;
  DType format_;
  std::set<std::string> used_;
  std::map<std::string_view, uint64_t> stored_bytes_;  // by format
  size_t bytes_ = 0;
  int64_t num_parameters_ = 0;
};

// Packs and copies out of the files, which can go afterwards.
std::unique_ptr<WeightSource> MakePackingSource(Backend& backend, const TensorSource& tensors, DType format);
// Reads headers only; every weight it hands out is empty. Padding of a backend's layout is not counted.
std::unique_ptr<WeightSource> MakeMeasuringSource(const TensorSource& tensors, DType format);

}  // namespace quire
