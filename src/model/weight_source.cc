#include "model/weight_source.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <mutex>
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
  PackingSource(Backend& backend, const TensorSource& tensors, DType format)
      : WeightSource(tensors, format), backend_(backend) {}

  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) override {
    std::vector<StoredTensor> stored;
    size_t num_bytes = 0;
    for (const WeightPart& part : parts) {
      QUIRE_ASSIGN_OR_RETURN(const StoredTensor tensor, Find(part.name, std::array{part.rows, in_features}));
      num_bytes += Arena::Align(static_cast<size_t>(tensor.size()) * DTypeSize(StagedDType(tensor)));
      stored.push_back(tensor);
    }
    if (staging_.bytes() < num_bytes) {
      staging_ = Buffer();
      QUIRE_ASSIGN_OR_RETURN(staging_, Buffer::Allocate(num_bytes));
    }
    std::vector<Tensor> tensors;
    auto* place = static_cast<std::byte*>(staging_.data());
    for (size_t i = 0; i < stored.size(); ++i) {
      tensors.emplace_back(place, StagedDType(stored[i]), std::initializer_list<int64_t>{parts[i].rows, in_features});
      QUIRE_RETURN_IF_ERROR(ReadAll(stored[i], StagedDType(stored[i]), place));
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
    const Tensor sized(nullptr, TableDType(stored.format()), {rows, features});
    EmbeddingTable table;
    QUIRE_ASSIGN_OR_RETURN(table.buffer, backend_.Allocate(sized.bytes()));
    table.rows = Tensor(table.buffer.data(), sized.dtype(), {rows, features}, Place::kDevice);
    QUIRE_RETURN_IF_ERROR(UploadAll(stored, table.rows));
    AddBytes(sized.bytes());
    return table;
  }

 private:
  // Plain floats are packed as they are stored; blocks are decoded to what they are multiplied as.
  DType StagedDType(const StoredTensor& stored) const { return IsPlain(stored.format()) ? stored.dtype() : format(); }

  // fn(first, count) over the whole tensor, on each thread its part.
  template <typename Fn>
  Status ForParts(const StoredTensor& stored, Fn fn) {
    FirstError error;
    const int64_t unit = stored.unit();
    backend_.ParallelFor(stored.size() / unit,
                         [&](int64_t begin, int64_t end) { error.Take(fn(begin * unit, (end - begin) * unit)); });
    return error.Get();
  }

  Status ReadAll(const StoredTensor& stored, DType dtype, std::byte* to) {
    return ForParts(stored, [&](int64_t first, int64_t count) {
      return ReadAs(stored, first, count, dtype, to + static_cast<size_t>(first) * DTypeSize(dtype));
    });
  }

  // Piece by piece.
  Status UploadAll(const StoredTensor& stored, const Tensor& to) {
    return ForParts(stored, [&](int64_t first, int64_t count) -> Status {
      for (const int64_t end = first + count; first < end; first += kPiece) {
        QUIRE_RETURN_IF_ERROR(UploadPiece(stored, first, std::min(kPiece, end - first), to));
      }
      return {};
    });
  }

  Status UploadPiece(const StoredTensor& stored, int64_t first, int64_t count, const Tensor& to) {
    const size_t element = DTypeSize(to.dtype());
    alignas(float) std::array<std::byte, kPiece * sizeof(float)> piece;
    QUIRE_RETURN_IF_ERROR(ReadAs(stored, first, count, to.dtype(), piece.data()));
    backend_.Upload(piece.data(), to.as<std::byte>() + static_cast<size_t>(first) * element,
                    static_cast<size_t>(count) * element);
    return {};
  }

  static constexpr int64_t kPiece = 16384;  // whole blocks of every format
  Backend& backend_;
  Buffer staging_;  // the matrix that is being packed
};

class MeasuringSource : public WeightSource {
 public:
  MeasuringSource(const TensorSource& tensors, DType format) : WeightSource(tensors, format) {}

  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) override {
    for (const WeightPart& part : parts) {
      QUIRE_RETURN_IF_ERROR(Find(part.name, std::array{part.rows, in_features}));
      AddBytes(static_cast<size_t>(part.rows * in_features) * DTypeSize(format()));
    }
    return std::unique_ptr<PackedLinear>();
  }

  Result<Buffer> Vector(std::span<const WeightPart> parts) override {
    for (const WeightPart& part : parts) {
      QUIRE_RETURN_IF_ERROR(Find(part.name, std::array{part.rows}));
      AddBytes(static_cast<size_t>(part.rows) * sizeof(float));
    }
    return Buffer();
  }

  Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) override {
    QUIRE_ASSIGN_OR_RETURN(const StoredTensor stored, Find(name, std::array{rows, features}));
    AddBytes(static_cast<size_t>(rows * features) * DTypeSize(TableDType(stored.format())));
    return EmbeddingTable();
  }
};

}  // namespace

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

std::unique_ptr<WeightSource> MakePackingSource(Backend& backend, const TensorSource& tensors, DType format) {
  return std::make_unique<PackingSource>(backend, tensors, format);
}

std::unique_ptr<WeightSource> MakeMeasuringSource(const TensorSource& tensors, DType format) {
  return std::make_unique<MeasuringSource>(tensors, format);
}

}  // namespace quire
