#include "weights/gguf_file.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/foreign_file.h"
#include "weights/gguf_reader.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr std::string_view kMagic = "GGUF";
constexpr uint64_t kMaxTensors = uint64_t{1} << 20;
constexpr uint64_t kMaxTensorNameBytes = 65535;
constexpr uint32_t kMaxDimensions = 4;
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMaxAlignment = int64_t{1} << 30;
constexpr size_t kShownHeadBytes = 512;  // enough to recognise another format

Result<uint32_t> ReadVersion(GgufReader& reader, const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const auto version, reader.Number<uint32_t>("the header"));
  if (version == 2 || version == 3) return version;
  if ((version & 0xFFFFU) == 0) {
    return Unimplemented("{}: it is a big-endian GGUF file: only little-endian ones are read; convert it", path);
  }
  return Unimplemented("{}: it is GGUF of version {}: versions 2 and 3 are read; convert the model anew", path,
                       version);
}

// The bytes of a tensor whose last dimension is `row` elements; none if they do not fit 63 bits.
std::optional<uint64_t> TensorBytes(const GgufTensorType& type, std::span<const int64_t> shape) {
  int64_t total = type.block_bytes;
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t factor = i + 1 == shape.size() ? shape[i] / type.block_size : shape[i];
    if (__builtin_mul_overflow(total, factor, &total)) return std::nullopt;
  }
  return static_cast<uint64_t>(total);
}

// Elements must be countable, too, whichever dimensions are none: blocks are smaller than what they hold.
bool CountFits(std::span<const int64_t> shape) {
  int64_t total = 4;  // bytes, as floats
  return std::none_of(shape.begin(), shape.end(),
                      [&](int64_t dim) { return __builtin_mul_overflow(total, std::max<int64_t>(dim, 1), &total); });
}

struct DataExtent {
  uint64_t begin, end;
  std::string_view name;
};

Status CheckOverlaps(const std::string& path, std::vector<DataExtent> extents) {
  std::sort(extents.begin(), extents.end(), [](const DataExtent& a, const DataExtent& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin >= extents[i - 1].end) continue;
    return DataLoss("{}: tensor {}: its data begins at byte {}, within tensor {}, which ends at {}", path,
                    PrintableName(extents[i].name), extents[i].begin, PrintableName(extents[i - 1].name),
                    extents[i - 1].end);
  }
  return {};
}

}  // namespace

Result<GgufFile> GgufFile::Open(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(ReadableFile readable, ReadableFile::Open(path));
  GgufFile file(std::move(readable));
  QUIRE_RETURN_IF_ERROR(file.ParseHead());
  return file;
}

Status GgufFile::CheckMagic() const {
  std::string head(std::min<uint64_t>(file_.size(), kShownHeadBytes), '\0');
  QUIRE_RETURN_IF_ERROR(file_.Read(0, std::as_writable_bytes(std::span(head))));
  if (head.starts_with(kMagic)) return {};
  const std::string other = WhatElseItIs(head);
  return DataLoss("{}: {}", path(), other.empty() ? "not a GGUF file: it does not begin with GGUF" : other);
}

Status GgufFile::ParseHead() {
  QUIRE_RETURN_IF_ERROR(CheckMagic());
  GgufReader reader(file_);
  QUIRE_RETURN_IF_ERROR(reader.Skip(kMagic.size(), "the header"));
  QUIRE_ASSIGN_OR_RETURN(version_, ReadVersion(reader, path()));
  QUIRE_ASSIGN_OR_RETURN(const auto num_tensors, reader.Number<uint64_t>("the header"));
  QUIRE_ASSIGN_OR_RETURN(const auto num_pairs, reader.Number<uint64_t>("the header"));
  if (num_tensors > kMaxTensors) {
    return DataLoss("{}: its header promises {} tensors, over the limit of {}", path(), num_tensors, kMaxTensors);
  }
  QUIRE_ASSIGN_OR_RETURN(metadata_, GgufMetadata::Read(path(), num_pairs, reader));
  for (uint64_t i = 0; i < num_tensors; ++i) {
    const std::string which = fmt::format("tensor {} of {}", i + 1, num_tensors);
    QUIRE_ASSIGN_OR_RETURN(const std::string_view text, reader.String(which));
    if (text.size() > kMaxTensorNameBytes) return DataLoss("{}: {}: its name has {} bytes", path(), which, text.size());
    std::string name(text);
    QUIRE_ASSIGN_OR_RETURN(GgufTensor tensor, ReadTensor(reader, fmt::format("tensor {}", PrintableName(name))));
    const auto [place, inserted] = tensors_.emplace(std::move(name), std::move(tensor));
    if (!inserted) return DataLoss("{}: tensor {} is there twice", path(), PrintableName(place->first));
  }
  const uint64_t head_bytes = reader.position();
  metadata_.Keep(reader.Take());
  return PlaceTensors(head_bytes);
}

// One entry of the list behind its name; `offset` is still that from where the data begins.
Result<GgufTensor> GgufFile::ReadTensor(GgufReader& reader, std::string_view what) const {
  GgufTensor tensor;
  QUIRE_ASSIGN_OR_RETURN(const auto rank, reader.Number<uint32_t>(what));
  if (rank > kMaxDimensions) {
    return DataLoss("{}: {}: it has {} dimensions, over the format's {}", path(), what, rank, kMaxDimensions);
  }
  for (uint32_t i = 0; i < rank; ++i) {
    QUIRE_ASSIGN_OR_RETURN(const auto dim, reader.Number<int64_t>(what));
    if (dim < 0) return DataLoss("{}: {}: a dimension is {}", path(), what, static_cast<uint64_t>(dim));
    tensor.shape.insert(tensor.shape.begin(), dim);
  }
  QUIRE_ASSIGN_OR_RETURN(const auto number, reader.Number<uint32_t>(what));
  QUIRE_ASSIGN_OR_RETURN(tensor.offset, reader.Number<uint64_t>(what));
  tensor.type = FindGgufTensorType(number);
  if (tensor.type == nullptr) return Unimplemented("{}: {}: its type is {}, which is not known", path(), what, number);
  const GgufTensorType& type = *tensor.type;
  if (type.block_bytes == 0) {
    return Unimplemented("{}: {}: its type is {}, which GGUF no longer has: convert the model anew", path(), what,
                         type.name);
  }
  const int64_t row = tensor.shape.empty() ? 1 : tensor.shape.back();
  if (row % type.block_size != 0) {
    return DataLoss("{}: {}: its rows of {} are not whole blocks of {}, of {} each", path(), what, row, type.name,
                    type.block_size);
  }
  const std::optional<uint64_t> bytes = TensorBytes(type, tensor.shape);
  if (!bytes || !CountFits(tensor.shape)) {
    return DataLoss("{}: {}: shape {} is too large", path(), what, ShapeText(tensor.shape));
  }
  tensor.bytes = *bytes;
  return tensor;
}

// Offsets become those in the file.
Status GgufFile::PlaceTensors(uint64_t head_bytes) {
  QUIRE_ASSIGN_OR_RETURN(const int64_t alignment,
                         metadata_.IntOr("general.alignment", kDefaultAlignment, 1, kMaxAlignment));
  if ((alignment & (alignment - 1)) != 0) {
    return DataLoss("{}: key \"general.alignment\" is {}: must be a power of two", path(), alignment);
  }
  const auto mask = static_cast<uint64_t>(alignment) - 1;
  const uint64_t begin = (head_bytes + mask) & ~mask;
  std::vector<DataExtent> extents;
  for (auto& [name, tensor] : tensors_) {
    if ((tensor.offset & mask) != 0) {
      return DataLoss("{}: tensor {}: its offset {} is not a multiple of the file's alignment, {}", path(),
                      PrintableName(name), tensor.offset, alignment);
    }
    const uint64_t data_bytes = file_.size() - std::min(begin, file_.size());
    if (tensor.bytes > data_bytes || tensor.offset > data_bytes - tensor.bytes) {
      return DataLoss("{}: truncated: tensor {}: its {} bytes from {} on end beyond the {} bytes of data", path(),
                      PrintableName(name), tensor.bytes, tensor.offset, data_bytes);
    }
    tensor.offset += begin;
    if (tensor.bytes > 0) extents.push_back({tensor.offset, tensor.offset + tensor.bytes, name});
  }
  return CheckOverlaps(path(), std::move(extents));
}

}  // namespace quire
