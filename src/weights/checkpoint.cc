#include "weights/checkpoint.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "weights/checkpoint_files.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

bool IsDouble(const SafetensorsEntry& entry) { return entry.dtype_name == "F64"; }

bool IsFloat(const SafetensorsEntry& entry) {
  return entry.dtype == DType::kF32 || entry.dtype == DType::kBf16 || entry.dtype == DType::kF16 || IsDouble(entry);
}

}  // namespace

StoredTensor::StoredTensor(const ReadableFile& file, const SafetensorsEntry& entry)
    : file_(&file),
      offset_(entry.offset),
      dtype_(entry.dtype.value_or(DType::kF32)),
      is_double_(IsDouble(entry)),
      size_(static_cast<int64_t>(entry.bytes / (is_double_ ? sizeof(double) : DTypeSize(dtype_)))) {}

Status StoredTensor::Read(int64_t first, int64_t count, void* to) const {
  QUIRE_CHECK(first >= 0 && count >= 0 && count <= size_ - first, "{} elements from {} of {}", count, first, size_);
  const auto begin = static_cast<uint64_t>(first), number = static_cast<uint64_t>(count);
  if (!is_double_) {
    const size_t element = DTypeSize(dtype_);
    return file_->Read(offset_ + begin * element, {static_cast<std::byte*>(to), number * element});
  }
  constexpr uint64_t kPiece = 8192;
  std::array<double, kPiece> piece;
  auto* floats = static_cast<float*>(to);
  for (uint64_t done = 0; done < number;) {
    const uint64_t num_read = std::min(kPiece, number - done);
    const auto bytes = std::as_writable_bytes(std::span(piece).first(num_read));
    QUIRE_RETURN_IF_ERROR(file_->Read(offset_ + (begin + done) * sizeof(double), bytes));
    for (uint64_t i = 0; i < num_read; ++i) floats[done + i] = static_cast<float>(piece[i]);
    done += num_read;
  }
  return {};
}

Status ReadFloats(const StoredTensor& tensor, int64_t first, std::span<float> to) {
  const auto count = static_cast<int64_t>(to.size());
  if (tensor.dtype() == DType::kF32) return tensor.Read(first, count, to.data());
  constexpr int64_t kPiece = 16384;
  std::array<uint16_t, kPiece> piece;
  for (int64_t done = 0; done < count;) {
    const int64_t num_read = std::min(kPiece, count - done);
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

Result<Checkpoint> Checkpoint::Open(const std::string& directory) {
  QUIRE_ASSIGN_OR_RETURN(const CheckpointFiles files, FindCheckpointFiles(directory));
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  checkpoint.index_.insert(files.index.begin(), files.index.end());
  for (const std::string& name : files.names) {
    QUIRE_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(JoinPath(directory, name)));
    const auto& stored = checkpoint.files_.emplace(name, std::move(file)).first->second;
    for (const auto& [tensor, entry] : stored.entries()) {
      const auto [place, inserted] = checkpoint.places_.try_emplace(tensor, Place{&entry, name});
      const auto said = files.index.find(tensor);
      // Twice there: the index decides.
      if (!inserted && said != files.index.end() && said->second == name) place->second = Place{&entry, name};
    }
  }
  return checkpoint;
}

void Checkpoint::AddMissingPrefix(std::string_view prefix, std::string_view witness) {
  if (Has(witness) || !Has(witness.substr(prefix.size()))) return;
  std::map<std::string, Place, std::less<>> prefixed;
  for (auto& [name, place] : places_) {
    const bool has_prefix = name.starts_with(prefix) || name.starts_with("lm_head.");
    prefixed.emplace(has_prefix ? name : std::string(prefix) + name, std::move(place));
  }
  places_ = std::move(prefixed);
}

void Checkpoint::AddAlias(const std::string& alias, std::string_view name) {
  const auto place = places_.find(name);
  QUIRE_CHECK(place != places_.end());
  places_.emplace(alias, place->second);
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

Result<const Checkpoint::Place*> Checkpoint::FindFloats(std::string_view name, std::span<const int64_t> shape) const {
  QUIRE_CHECK(shape.size() == 1 || shape.size() == 2);
  const auto it = places_.find(name);
  if (it == places_.end()) return Missing(name, shape);
  const SafetensorsEntry& entry = *it->second.entry;
  const std::string path = JoinPath(directory_, it->second.file);
  if (!std::equal(shape.begin(), shape.end(), entry.shape.begin(), entry.shape.end())) {
    return InvalidArgument("{}: tensor {} has shape {}: config.json asks for {}", path, PrintableName(name),
                           ShapeText(entry.shape), ShapeText(shape));
  }
  if (!IsFloat(entry)) {
    return Unimplemented("{}: tensor {} is stored as {}: supported are F32, BF16, F16, F64", path, PrintableName(name),
                         entry.dtype_name);
  }
  return &it->second;
}

Error Checkpoint::Missing(std::string_view name, std::span<const int64_t> shape) const {
  const auto said = index_.find(name);
  std::string hint;
  if (said != index_.end()) {
    const std::string path = JoinPath(directory_, said->second);
    std::string problem = DanglingLink(path);
    if (problem.empty()) {
      problem = files_.count(said->second) > 0 ? "but it is not there" : "which is missing: the download is incomplete";
    }
    hint = fmt::format("; {} says that it is in {}: {}", kIndexFile, said->second, problem);
  } else if (index_.empty() && !files_.empty() && files_.begin()->first.find("-of-") != std::string::npos) {
    hint =
        fmt::format("; there is no {}, and {} of the shards: is the download incomplete?", kIndexFile, files_.size());
  }
  return NotFound("{}: tensor {} is missing: expected shape {}{}", directory_, PrintableName(name), ShapeText(shape),
                  hint);
}

Result<DType> Checkpoint::FindDType(std::string_view name, std::span<const int64_t> shape) const {
  QUIRE_ASSIGN_OR_RETURN(const Place* place, FindFloats(name, shape));
  return place->entry->dtype.value_or(DType::kF32);
}

Result<StoredTensor> Checkpoint::Find(std::string_view name, std::span<const int64_t> shape) const {
  QUIRE_ASSIGN_OR_RETURN(const Place* place, FindFloats(name, shape));
  return StoredTensor(files_.at(place->file).file(), *place->entry);
}

}  // namespace quire
