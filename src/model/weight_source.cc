#include "model/weight_source.h"

#include <array>
#include <cstring>
#include <functional>
#include <numeric>
#include <utility>

namespace quire {
namespace {

// Rows [begin, end) of `from` into those of `to`, which has the same shape.
void ConvertRows(const Tensor& from, const Tensor& to, int64_t begin, int64_t end) {
  const Tensor source = from.Rows(begin, end);
  const Tensor target = to.Rows(begin, end);
  if (source.dtype() == target.dtype()) {
    std::memcpy(target.data(), source.data(), source.bytes());
    return;
  }
  for (int64_t i = 0; i < source.size(); ++i) {
    const float value = ElementToFloat(source, i);
    if (target.dtype() == DType::kBf16) {
      target.as<Bf16>()[i] = ToBf16(value);
    } else {
      target.f32()[i] = value;
    }
  }
}

class PackingSource : public WeightSource {
 public:
  PackingSource(Backend& backend, Checkpoint& checkpoint, DType format)
      : WeightSource(checkpoint, format), backend_(backend) {}

  Result<std::unique_ptr<PackedLinear>> Matrix(std::span<const WeightPart> parts, int64_t in_features) override {
    std::vector<Tensor> tensors;
    for (const WeightPart& part : parts) {
      QUIRE_ASSIGN_OR_RETURN(const Tensor tensor, Find(part.name, std::array{part.rows, in_features}));
      tensors.push_back(tensor);
    }
    QUIRE_ASSIGN_OR_RETURN(auto packed, backend_.PackLinear(tensors, format()));
    AddBytes(packed->bytes());
    return packed;
  }

  Result<std::vector<float>> Vector(std::span<const WeightPart> parts) override {
    std::vector<float> values;
    for (const WeightPart& part : parts) {
      QUIRE_ASSIGN_OR_RETURN(const Tensor tensor, Find(part.name, std::array{part.rows}));
      for (int64_t i = 0; i < part.rows; ++i) values.push_back(ElementToFloat(tensor, i));
    }
    AddBytes(values.size() * sizeof(float));
    return values;
  }

  Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) override {
    QUIRE_ASSIGN_OR_RETURN(const Tensor stored, Find(name, std::array{rows, features}));
    const Tensor sized(nullptr, TableFormat(stored.dtype()), {rows, features});
    EmbeddingTable table;
    QUIRE_ASSIGN_OR_RETURN(table.buffer, Buffer::Allocate(sized.bytes()));
    table.rows = Tensor(table.buffer.data(), sized.dtype(), {rows, features});
    backend_.ParallelFor(rows, [&](int64_t begin, int64_t end) { ConvertRows(stored, table.rows, begin, end); });
    AddBytes(sized.bytes());
    return table;
  }

 private:
  Backend& backend_;
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

  Result<std::vector<float>> Vector(std::span<const WeightPart> parts) override {
    for (const WeightPart& part : parts) {
      QUIRE_RETURN_IF_ERROR(FindDType(part.name, std::array{part.rows}));
      AddBytes(static_cast<size_t>(part.rows) * sizeof(float));
    }
    return std::vector<float>();
  }

  Result<EmbeddingTable> Table(const std::string& name, int64_t rows, int64_t features) override {
    QUIRE_ASSIGN_OR_RETURN(const DType stored, FindDType(name, std::array{rows, features}));
    AddBytes(static_cast<size_t>(rows * features) * DTypeSize(TableFormat(stored)));
    return EmbeddingTable();
  }
};

}  // namespace

float ElementToFloat(const Tensor& tensor, int64_t i) {
  switch (tensor.dtype()) {
    case DType::kBf16:
      return ToFloat(tensor.as<Bf16>()[i]);
    case DType::kF16:
      return HalfToFloat(tensor.as<uint16_t>()[i]);
    default:
      return tensor.f32()[i];
  }
}

Result<Tensor> WeightSource::Find(const std::string& name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const Tensor tensor, checkpoint_.Find(name, shape));
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
