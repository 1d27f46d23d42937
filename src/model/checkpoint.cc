#include "model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "model/checkpoint_files.h"

namespace quire {
namespace {

bool IsDouble(const SafetensorsEntry& entry) { return entry.dtype_name == "F64"; }

bool IsFloat(const SafetensorsEntry& entry) {
  return entry.dtype == DType::kF32 || entry.dtype == DType::kBf16 || entry.dtype == DType::kF16 || IsDouble(entry);
}

Tensor MakeView(const void* data, DType dtype, std::span<const int64_t> shape) {
  void* pointer = const_cast<void*>(data);  // Tensor has no const twin; nobody writes to weights
  if (shape.size() == 1) return Tensor(pointer, dtype, {shape[0]});
  return Tensor(pointer, dtype, {shape[0], shape[1]});
}

}  // namespace

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

Result<const SafetensorsEntry*> Checkpoint::FindFloats(std::string_view name, std::span<const int64_t> shape) const {
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
  return &entry;
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
  QUIRE_ASSIGN_OR_RETURN(const SafetensorsEntry* entry, FindFloats(name, shape));
  return entry->dtype.value_or(DType::kF32);
}

Result<Tensor> Checkpoint::Narrowed(const SafetensorsEntry& entry) {
  const size_t count = entry.data.size() / sizeof(double);
  QUIRE_ASSIGN_OR_RETURN(Buffer copy, Buffer::Allocate(count * sizeof(float)));
  auto* floats = static_cast<float*>(static_cast<void*>(copy.data()));
  for (size_t i = 0; i < count; ++i) {
    double value = 0;  // need not be aligned in the file
    std::memcpy(&value, entry.data.data() + i * sizeof(double), sizeof(double));
    floats[i] = static_cast<float>(value);
  }
  copies_.push_back(std::move(copy));
  return MakeView(floats, DType::kF32, entry.shape);
}

Result<Tensor> Checkpoint::Find(std::string_view name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const SafetensorsEntry* found, FindFloats(name, shape));
  const SafetensorsEntry& entry = *found;
  if (IsDouble(entry)) return Narrowed(entry);
  const void* data = entry.data.data();
  if (reinterpret_cast<uintptr_t>(data) % DTypeSize(*entry.dtype) != 0) {
    QUIRE_ASSIGN_OR_RETURN(Buffer copy, Buffer::Allocate(entry.data.size()));
    std::memcpy(copy.data(), data, entry.data.size());
    data = copy.data();
    copies_.push_back(std::move(copy));
  }
  return MakeView(data, *entry.dtype, shape);
}

}  // namespace quire
