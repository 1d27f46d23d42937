#include "model/weight_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <mutex>
#include <numeric>
#include <utility>

namespace quire {
namespace {

// Of several threads that read: the first error.
class FirstError {
 public:
  void Take(Status status) {
    if (status.ok()) return;
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  Status Get() const { return status_; }

 private:
  std::mutex mutex_;
  Status status_;
};

class PackingSource : public WeightSource {
 public:
  PackingSource(Backend& backend, Checkpoint& checkpoint, DType format)
      : WeightSource(checkpoint, format), backend_(backend) {}

  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) override {
    std::vector<StoredTensor> stored;
    size_t num_bytes = 0;
    for (const WeightPart& part : parts) {
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, Find(part.name, std::array{part.rows, in_features}));
      num_bytes += Arena::Align(static_cast<size_t>(tensor.size()) * DTypeSize(tensor.dtype()));
      stored.push_back(tensor);
    }
    if (staging_.bytes() < num_bytes) {
      staging_ = Buffer();
      QUIRE_ASSIGN_OR_RETURN(staging_, Buffer::Allocate(num_bytes));
    }
    std::vector<Tensor> tensors;
    auto* place = static_cast<std::byte*>(staging_.data());
    for (size_t i = 0; i < stored.size(); ++i) {
      tensors.emplace_back(place, stored[i].dtype(), std::initializer_list<int64_t>{parts[i].rows, in_features});
      QUIRE_RETURN_IF_ERROR(ReadAll(stored[i], place));
      place += Arena::Align(tensors.back().bytes());
    }
    QUIRE_ASSIGN_OR_RETURN(auto packed, backend_.PackLinear(tensors, format()));
    AddBytes(packed->bytes());
    return packed;
  }

  Result<Buffer> Vector(std::span<const WeightPart> parts) override {
    std::vector<float> values;
    for (const WeightPart& part : parts) {
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, Find(part.name, std::array{part.rows}));
      const size_t begin = values.size();
      values.resize(begin + static_cast<size_t>(part.rows));
      QUIRE_RETURN_IF_ERROR(ReadFloats(stored, 0, std::span(values).subspan(begin)));
    }
    const size_t num_bytes = values.size() * sizeof(float);
    QUIRE_ASSIGN_OR_RETURN(Buffer vector, backend_.Allocate(num_bytes));
    backend_.Upload(values.data(), vector.data(), num_bytes);
    AddBytes(num_bytes);
    return vector;
  }

  Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) override {
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, Find(name, std::array{rows, features}));
    const Tensor sized(nullptr, TableFormat(stored.dtype()), {rows, features});
    EmbeddingTable table;
    QUIRE_ASSIGN_OR_RETURN(table.buffer, backend_.Allocate(sized.bytes()));
    table.rows = Tensor(table.buffer.data(), sized.dtype(), {rows, features}, Place::kDevice);
    QUIRE_RETURN_IF_ERROR(UploadAll(stored, table.rows));
    AddBytes(sized.bytes());
    return table;
  }

 private:
  // Each thread reads its part.
  Status ReadAll(const StoredTensor& stored, void* to) {
    FirstError error;
    const size_t element = DTypeSize(stored.dtype());
    backend_.ParallelFor(stored.size(), [&](int64_t begin, int64_t end) {
      error.Take(stored.Read(begin, end - begin, static_cast<std::byte*>(to) + static_cast<size_t>(begin) * element));
    });
    return error.Get();
  }

  // Piece by piece, as it is stored or to another type.
  Status UploadAll(const StoredTensor& stored, const Tensor& to) {
    FirstError error;
    backend_.ParallelFor(stored.size(), [&](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; first += kPiece) {
        error.Take(UploadPiece(stored, first, std::min(kPiece, end - first), to));
      }
    });
    return error.Get();
  }

  Status UploadPiece(const StoredTensor& stored, int64_t first, int64_t count, const Tensor& to) {
    const size_t element = DTypeSize(to.dtype());
    alignas(float) std::array<std::byte, kPiece * sizeof(float)> piece;
    if (stored.dtype() == to.dtype()) {
      QUIRE_RETURN_IF_ERROR(stored.Read(first, count, piece.data()));
    } else {
      QUIRE_RETURN_IF_ERROR(ConvertPiece(stored, first, count, to.dtype(), piece.data()));
    }
    backend_.Upload(piece.data(), to.as<std::byte>() + static_cast<size_t>(first) * element,
                    static_cast<size_t>(count) * element);
    return {};
  }

  static Status ConvertPiece(const StoredTensor& stored, int64_t first, int64_t count, DType dtype, void* to) {
    std::array<float, kPiece> values;
    const auto floats = std::span(values).first(static_cast<size_t>(count));
    QUIRE_RETURN_IF_ERROR(ReadFloats(stored, first, floats));
    if (dtype == DType::kF32) {
      std::memcpy(to, values.data(), floats.size_bytes());
    } else {
      std::transform(floats.begin(), floats.end(), static_cast<Bf16*>(to), [](float value) { return ToBf16(value); });
    }
    return {};
  }

  static constexpr int64_t kPiece = 16384;
  Backend& backend_;
  Buffer staging_;  // the matrix that is being packed, as it is stored
};

class MeasuringSource : public WeightSource {
 public:
  MeasuringSource(Checkpoint& checkpoint, DType format) : WeightSource(checkpoint, format) {}

  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) override {
    for (const WeightPart& part : parts) {
      QUIRE_RETURN_IF_ERROR(FindDType(part.name, std::array{part.rows, in_features}));
      AddBytes(static_cast<size_t>(part.rows * in_features) * DTypeSize(format()));
    }
    return std::unique_ptr<PackedLinear>();
  }

  Result<Buffer> Vector(std::span<const WeightPart> parts) override {
    for (const WeightPart& part : parts) {
      QUIRE_RETURN_IF_ERROR(FindDType(part.name, std::array{part.rows}));
      AddBytes(static_cast<size_t>(part.rows) * sizeof(float));
    }
    return Buffer();
  }

  Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) override {
    QUIRE_ASSIGN_OR_RETURN(const DType stored, FindDType(name, std::array{rows, features}));
    AddBytes(static_cast<size_t>(rows * features) * DTypeSize(TableFormat(stored)));
    return EmbeddingTable();
  }
};

}  // namespace

Result<StoredTensor> WeightSource::Find(const std::string& name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, checkpoint_.Find(name, shape));
  Count(name, shape);
  return tensor;
}

Result<DType> WeightSource::FindDType(const std::string& name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const DType dtype, checkpoint_.FindDType(name, shape));
  Count(name, shape);
  return dtype;
}

void WeightSource::Count(const std::string& name, std::span<const int64_t> shape) {
  if (!used_.insert(name).second) return;
  num_parameters_ += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::vector<std::string> WeightSource::UnusedTensors() const {
  std::vector<std::string> unused;
  for (std::string& name : checkpoint_.names()) {
    if (used_.find(name) == used_.end()) unused.push_back(std::move(name));
  }
  return unused;
}

std::unique_ptr<WeightSource> MakePackingSource(Backend& backend, Checkpoint& checkpoint, DType format) {
  return std::make_unique<PackingSource>(backend, checkpoint, format);
}

std::unique_ptr<WeightSource> MakeMeasuringSource(Checkpoint& checkpoint, DType format) {
  return std::make_unique<MeasuringSource>(checkpoint, format);
}

}  // namespace quire
