#include "model/weight_source.h"

#include <algorithm>
#include <array>
#include <utility>

#include "weights/stored_matrix.h"

namespace quire {
namespace {

class PackingSource : public WeightSource {
 public:
  PackingSource(Backend& backend, MemoryPool& memory, const TensorSource& tensors, DType format)
      : WeightSource(backend, tensors, format), backend_(backend), memory_(memory) {}

 private:
  Result<std::unique_ptr<PackedLinear>> Pack(std::span<const MatrixPart> parts) override {
    return backend_.PackLinear(parts, format(), memory_);
  }

  Result<Buffer> Store(std::span<const StoredTensor> parts, int64_t size) override {
    std::vector<float> values(static_cast<size_t>(size));
    size_t done = 0;
    for (const StoredTensor& part : parts) {
      const auto count = static_cast<size_t>(part.size());
      QUIRE_RETURN_IF_ERROR(ReadFloats(part, 0, std::span(values).subspan(done, count)));
      done += count;
    }
    const size_t num_bytes = values.size() * sizeof(float);
    QUIRE_ASSIGN_OR_RETURN(Buffer vector, memory_.Allocate(num_bytes));
    backend_.Upload(values.data(), vector.data(), num_bytes);
    return vector;
  }

  Backend& backend_;
  MemoryPool& memory_;
};

class MeasuringSource : public WeightSource {
 public:
  MeasuringSource(const Backend& backend, const TensorSource& tensors, DType format)
      : WeightSource(backend, tensors, format) {}

 private:
  Result<std::unique_ptr<PackedLinear>> Pack(std::span<const MatrixPart> /*parts*/) override {
    return std::unique_ptr<PackedLinear>();
  }
  Result<Buffer> Store(std::span<const StoredTensor> /*parts*/, int64_t /*size*/) override { return Buffer(); }
};

}  // namespace

Result<std::unique_ptr<PackedLinear>> WeightSource::Matrix(std::span<const WeightPart> parts, int64_t in_features) {
  std::vector<StoredMatrix> matrices;
  int64_t num_rows = 0;
  for (const WeightPart& part : parts) {
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, Find(part.name, std::array{part.rows, in_features}));
    matrices.emplace_back(tensor, in_features);
    num_rows += part.rows;
  }
  std::vector<MatrixPart> stacked;
  stacked.reserve(matrices.size());
  for (const StoredMatrix& matrix : matrices) stacked.push_back(WholeOf(matrix));
  bytes_ += Arena::Align(backend_.PackedBytes(num_rows, in_features, format_));
  return Pack(stacked);
}

Result<Buffer> WeightSource::Vector(std::span<const WeightPart> parts) {
  std::vector<StoredTensor> tensors;
  int64_t size = 0;
  for (const WeightPart& part : parts) {
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, Find(part.name, std::array{part.rows}));
    tensors.push_back(tensor);
    size += part.rows;
  }
  bytes_ += Arena::Align(static_cast<size_t>(size) * sizeof(float));
  return Store(tensors, size);
}

Result<StoredTensor> WeightSource::Find(const std::string& name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, tensors_.Find(name, shape));
  Count(name, tensor);
  return tensor;
}

void WeightSource::Count(const std::string& name, const StoredTensor& tensor) {
  if (!used_.insert(name).second) return;
  num_parameters_ += tensor.size();
  const WeightFormat& format = tensor.format();
  stored_bytes_[format.name] += static_cast<uint64_t>(tensor.size() / format.block_size * format.block_bytes);
}

std::vector<StoredFormat> WeightSource::stored_formats() const {
  std::vector<StoredFormat> formats;
  for (const auto& [name, bytes] : stored_bytes_) formats.push_back({name, bytes});
  std::stable_sort(formats.begin(), formats.end(),
                   [](const StoredFormat& a, const StoredFormat& b) { return a.bytes > b.bytes; });
  return formats;
}

std::vector<std::string> WeightSource::UnusedTensors() const {
  std::vector<std::string> unused;
  for (std::string& name : tensors_.names()) {
    if (used_.find(name) == used_.end()) unused.push_back(std::move(name));
  }
  return unused;
}

std::unique_ptr<WeightSource> MakePackingSource(Backend& backend, MemoryPool& memory, const TensorSource& tensors,
                                                DType format) {
  return std::make_unique<PackingSource>(backend, memory, tensors, format);
}

std::unique_ptr<WeightSource> MakeMeasuringSource(const Backend& backend, const TensorSource& tensors, DType format) {
  return std::make_unique<MeasuringSource>(backend, tensors, format);
}

}  // namespace quire
