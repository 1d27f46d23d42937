#include "weights/checkpoint_files.h"

#include <simdjson.h>

#include <algorithm>
#include <set>
#include <string_view>
#include <utility>

#include "base/env.h"
#include "base/error.h"
#include "base/foreign_file.h"
#include "base/strict_json.h"
#include "weights/safetensors.h"
#include "weights/tensor_text.h"

namespace quire {
namespace {

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kSuffix = ".safetensors";

// Why a directory holds no weights that can be read, in the order of what helps most.
Error NoWeights(const std::string& directory, const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string path = JoinPath(directory, name);
    if (!name.ends_with(kSuffix)) continue;
    if (const std::string link = DanglingLink(path); !link.empty()) return NotFound("{}: {}", path, link);
  }
  for (const char* suffix : {".bin", ".pt", ".pth"}) {
    for (const std::string& file : names) {
      if (!file.ends_with(suffix)) continue;
      return Unimplemented(
          "{}: there is no {}, only {}, a pickle: reading one runs code that is in it. Download the model in "
          "safetensors, "
          "or convert it where you trust it: python3 -c \"from transformers import AutoModelForCausalLM as M; "
          "M.from_pretrained('{}', torch_dtype='auto').save_pretrained('NEW')\"",
          directory, kSingleFile, file, directory);
    }
  }
  return NotFound("{}: there are no weights: neither {} nor {}", directory, kSingleFile, kIndexFile);
}

// A shard's name stays within the directory.
bool IsShardName(std::string_view name) {
  return name.ends_with(kSuffix) && name.find('/') == std::string_view::npos && name.front() != '.';
}

using Index = std::map<std::string, std::string>;

Result<Index> ReadIndex(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::error_code parsed = parser.parse(text).get(root);
  if (parsed != simdjson::SUCCESS) parsed = parser.parse(StrictJson(text)).get(root);
  if (parsed != simdjson::SUCCESS) {
    const std::string other = WhatElseItIs(text);
    return DataLoss("{}: {}", path,
                    other.empty() ? fmt::format("not valid JSON: {}", simdjson::error_message(parsed)) : other);
  }
  simdjson::dom::object entries;
  if (root["weight_map"].get_object().get(entries) != simdjson::SUCCESS) {
    return DataLoss("{}: weight_map is missing or not an object", path);
  }
  Index index;
  for (const auto& [name, value] : entries) {
    std::string_view shard;
    if (value.get_string().get(shard) != simdjson::SUCCESS || !IsShardName(shard)) {
      return DataLoss("{}: weight_map: the file of tensor {} is not the name of a .safetensors file", path,
                      PrintableName(name));
    }
    index.emplace(name, shard);
  }
  return index;
}

// Mistral's own layout and LoRA adapters lie beside the weights under names of their own.
bool IsOtherLayout(std::string_view name) {
  return name.starts_with("consolidated") || name.starts_with("adapter_model");
}

std::vector<std::string> WithoutIndex(const std::string& directory, const std::vector<std::string>& names) {
  const Env& env = Env::Posix();
  if (env.Exists(JoinPath(directory, kSingleFile))) return {kSingleFile};
  std::vector<std::string> shards;
  for (const std::string& name : names) {
    const bool is_weights = name.ends_with(kSuffix) && name.front() != '.' && !IsOtherLayout(name);
    if (is_weights && env.Exists(JoinPath(directory, name))) shards.push_back(name);
  }
  return shards;
}

}  // namespace

Result<CheckpointFiles> FindCheckpointFiles(const std::string& directory) {
  const Env& env = Env::Posix();
  QUIRE_ASSIGN_OR_RETURN(const std::vector<std::string> names, env.ListDirectory(directory));
  CheckpointFiles files;
  const std::string index_path = JoinPath(directory, kIndexFile);
  if (env.Exists(index_path)) {
    QUIRE_ASSIGN_OR_RETURN(files.index, ReadIndex(index_path));
    std::set<std::string> named;
    for (const auto& [tensor, file] : files.index) {
      if (env.Exists(JoinPath(directory, file))) named.insert(file);
    }
    files.names.assign(named.begin(), named.end());
  }
  if (files.names.empty()) files.names = WithoutIndex(directory, names);
  if (files.names.empty() && files.index.empty()) return NoWeights(directory, names);
  return files;
}

}  // namespace quire
