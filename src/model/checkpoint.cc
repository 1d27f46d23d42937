#include "model/checkpoint.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/strict_json.h"

namespace quire {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

// Why a directory holds no weights that can be read, in the order of what helps most.
Error NoWeights(const std::string& directory) {
  const auto names = Env::Posix().ListDirectory(directory);
  if (!names) return names.error();
  const auto first_with = [&](std::string_view suffix) {
    const auto it = std::find_if(names->begin(), names->end(), [&](const auto& n) { return n.ends_with(suffix); });
    return it == names->end() ? std::string() : *it;
  };
  if (const std::string shard = first_with(".safetensors"); !shard.empty()) {
    return NotFound("{}: there is {}, but neither {} nor {}: the download is incomplete", directory, shard, kSingleFile,
                    kIndexFile);
  }
  for (const char* suffix : {".bin", ".pt", ".pth", ".gguf"}) {
    if (const std::string file = first_with(suffix); !file.empty()) {
      return Unimplemented(
          "{}: there is no {}, only {}: weights are read from safetensors alone; download or convert "
          "to that format",
          directory, kSingleFile, file);
    }
  }
  return NotFound("{}: there are no weights: neither {} nor {}", directory, kSingleFile, kIndexFile);
}

// A shard's name stays within the directory.
bool IsShardName(std::string_view name) {
  return name.ends_with(".safetensors") && name.find('/') == std::string_view::npos && name.front() != '.';
}

using WeightMap = std::map<std::string, std::string>;  // tensor -> shard

Result<WeightMap> ReadIndex(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::error_code parsed = parser.parse(text).get(root);
  if (parsed != simdjson::SUCCESS) parsed = parser.parse(StrictJson(text)).get(root);
  if (parsed != simdjson::SUCCESS) return DataLoss("{}: not valid JSON: {}", path, simdjson::error_message(parsed));
  simdjson::dom::object entries;
  if (root["weight_map"].get_object().get(entries) != simdjson::SUCCESS) {
    return DataLoss("{}: weight_map is missing or not an object", path);
  }
  WeightMap map;
  for (const auto& [name, value] : entries) {
    std::string_view shard;
    if (value.get_string().get(shard) != simdjson::SUCCESS || !IsShardName(shard)) {
      return DataLoss("{}: weight_map: the file of tensor {} is not the name of a .safetensors file", path,
                      PrintableName(name));
    }
    map.emplace(name, shard);
  }
  return map;
}

bool IsFloat(const SafetensorsEntry& entry) {
  return entry.dtype == DType::kF32 || entry.dtype == DType::kBf16 || entry.dtype == DType::kF16;
}

Tensor MakeView(const void* data, DType dtype, std::span<const int64_t> shape) {
  void* pointer = const_cast<void*>(data);  // Tensor has no const twin; nobody writes to weights
  if (shape.size() == 1) return Tensor(pointer, dtype, {shape[0]});
  return Tensor(pointer, dtype, {shape[0], shape[1]});
}

}  // namespace

Result<Checkpoint> Checkpoint::Open(const std::string& directory) {
  const std::string single = JoinPath(directory, kSingleFile);
  const std::string index = JoinPath(directory, kIndexFile);
  if (!Env::Posix().Exists(single)) {
    if (Env::Posix().Exists(index)) return OpenSharded(directory, index);
    return NoWeights(directory);
  }
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  QUIRE_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(single));
  const auto& stored = checkpoint.files_.emplace(kSingleFile, std::move(file)).first->second;
  for (const auto& [name, entry] : stored.entries()) checkpoint.places_.emplace(name, Place{&entry, kSingleFile});
  return checkpoint;
}

Result<Checkpoint> Checkpoint::OpenSharded(const std::string& directory, const std::string& index_path) {
  QUIRE_ASSIGN_OR_RETURN(const WeightMap weight_map, ReadIndex(index_path));
  Checkpoint checkpoint;
  checkpoint.directory_ = directory;
  for (const auto& [name, shard] : weight_map) {
    auto it = checkpoint.files_.find(shard);
    if (it == checkpoint.files_.end()) {
      const std::string path = JoinPath(directory, shard);
      if (!Env::Posix().Exists(path)) {
        return NotFound("{}: shard {} is missing, which holds tensor {}: the download is incomplete", directory, shard,
                        PrintableName(name));
      }
      QUIRE_ASSIGN_OR_RETURN(SafetensorsFile file, SafetensorsFile::Open(path));
      it = checkpoint.files_.emplace(shard, std::move(file)).first;
    }
    const SafetensorsEntry* entry = it->second.Find(name);
    if (entry == nullptr) {
      return DataLoss("{}: tensor {} is not there, although {} says so", it->second.path(), PrintableName(name),
                      kIndexFile);
    }
    checkpoint.places_.emplace(name, Place{entry, shard});
  }
  return checkpoint;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

Result<const SafetensorsEntry*> Checkpoint::FindFloats(std::string_view name, std::span<const int64_t> shape) const {
  QUIRE_CHECK(shape.size() == 1 || shape.size() == 2);
  const auto it = places_.find(name);
  if (it == places_.end()) {
    return NotFound("{}: tensor {} is missing: expected shape {}", directory_, PrintableName(name), ShapeText(shape));
  }
  const SafetensorsEntry& entry = *it->second.entry;
  const std::string path = JoinPath(directory_, it->second.file);
  if (!std::equal(shape.begin(), shape.end(), entry.shape.begin(), entry.shape.end())) {
    return InvalidArgument("{}: tensor {} has shape {}: config.json asks for {}", path, PrintableName(name),
                           ShapeText(entry.shape), ShapeText(shape));
  }
  if (!IsFloat(entry)) {
    return Unimplemented("{}: tensor {} is stored as {}: supported are F32, BF16, F16", path, PrintableName(name),
                         entry.dtype_name);
  }
  return &entry;
}

Result<DType> Checkpoint::FindDType(std::string_view name, std::span<const int64_t> shape) const {
  QUIRE_ASSIGN_OR_RETURN(const SafetensorsEntry* entry, FindFloats(name, shape));
  return *entry->dtype;
}

Result<Tensor> Checkpoint::Find(std::string_view name, std::span<const int64_t> shape) {
  QUIRE_ASSIGN_OR_RETURN(const SafetensorsEntry* found, FindFloats(name, shape));
  const SafetensorsEntry& entry = *found;
  const void* data = entry.data.data();
  if (reinterpret_cast<uintptr_t>(data) % DTypeSize(*entry.dtype) != 0) {
    QUIRE_ASSIGN_OR_RETURN(Buffer copy, Buffer::Allocate(entry.data.size()));
    std::memcpy(copy.data(), data, entry.data.size());
    data = copy.data();
    aligned_copies_.push_back(std::move(copy));
  }
  return MakeView(data, *entry.dtype, shape);
}

}  // namespace quire
