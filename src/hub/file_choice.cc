#include "hub/file_choice.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/strict_json.h"
#include "hub/gguf_groups.h"

namespace quire {
namespace {

constexpr std::string_view kSafetensors = ".safetensors";
constexpr const char* kSingleWeights = "model.safetensors";

// What a model may have beside its weights.
constexpr std::array kSmallFiles = {"config.json",           "generation_config.json",  "tokenizer.json",
                                    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                    "chat_template.jinja",   "chat_template.json",      "quantize_config.json",
                                    "quant_config.json",     "hf_quant_config.json"};
// Needed where there is no tokenizer.json.
constexpr std::array kOtherTokenizers = {"tokenizer.model", "vocab.json", "merges.txt", "vocab.txt"};
constexpr std::string_view kTemplates = "additional_chat_templates/";

const RepoFile* Find(const std::vector<RepoFile>& listing, std::string_view path) {
  const auto found = std::ranges::find(listing, path, &RepoFile::path);
  return found == listing.end() ? nullptr : &*found;
}

bool IsDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

// "model-00001-of-00002.safetensors".
bool IsShard(std::string_view path) {
  constexpr std::string_view kPrefix = "model-";
  if (!path.starts_with(kPrefix) || !path.ends_with(kSafetensors)) return false;
  const std::string_view middle = path.substr(kPrefix.size(), path.size() - kPrefix.size() - kSafetensors.size());
  const size_t of = middle.find("-of-");
  return of != middle.npos && IsDigits(middle.substr(0, of)) && IsDigits(middle.substr(of + 4));
}

// The same weights in Mistral's layout, those of an adapter, and variants (model.fp16.safetensors) are not the model.
bool IsOtherWeights(std::string_view path) {
  return path.find('/') != path.npos || path.starts_with("consolidated") || path.starts_with("adapter_model") ||
         path.starts_with("model.");
}

std::vector<RepoFile> SafetensorsOf(const std::vector<RepoFile>& listing, bool has_index) {
  if (!has_index) {
    if (const RepoFile* single = Find(listing, kSingleWeights)) return {*single};
  }
  std::vector<RepoFile> shards, others;
  for (const RepoFile& file : listing) {
    if (IsShard(file.path)) {
      shards.push_back(file);
    } else if (file.path.ends_with(kSafetensors) && !IsOtherWeights(file.path)) {
      others.push_back(file);
    }
  }
  if (!shards.empty()) return shards;
  if (const RepoFile* single = Find(listing, kSingleWeights)) return {*single};
  return others;
}

void AddSmallFiles(const std::vector<RepoFile>& listing, FileChoice& choice) {
  const auto add = [&](std::string_view path) {
    if (const RepoFile* file = Find(listing, path)) {
      choice.files.push_back(*file);
    } else {
      choice.absent.emplace_back(path);
    }
  };
  for (const char* path : kSmallFiles) add(path);
  if (Find(listing, "tokenizer.json") == nullptr) {
    for (const char* path : kOtherTokenizers) add(path);
  }
  for (const RepoFile& file : listing) {
    if (file.path.starts_with(kTemplates) && file.path.ends_with(".jinja")) choice.files.push_back(file);
  }
  if (choice.has_index) add(kIndexPath);
  choice.num_small = choice.files.size();
}

Error NoWeightsIn(const std::vector<RepoFile>& listing) {
  for (const std::string_view suffix : {".bin", ".pth", ".pt", ".ckpt", ".h5", ".msgpack", ".onnx"}) {
    for (const RepoFile& file : listing) {
      if (!file.path.ends_with(suffix)) continue;
      return Unimplemented(
          "it has neither safetensors nor GGUF weights, only such as {}, which are not read: look for a conversion of "
          "the model on the hub, or convert it with Transformers' save_pretrained",
          file.path);
    }
  }
  return NotFound("it has neither safetensors nor GGUF weights among its {} files", listing.size());
}

Result<FileChoice> ChooseGguf(const std::vector<GgufGroup>& groups, std::string_view selector) {
  QUIRE_ASSIGN_OR_RETURN(const GgufGroup group, PickGguf(groups, selector));
  FileChoice choice;
  choice.files = group.parts;
  choice.gguf = group.parts.front().path;
  return choice;
}

}  // namespace

Result<FileChoice> ChooseFiles(const std::vector<RepoFile>& listing, std::string_view selector) {
  const std::vector<GgufGroup> ggufs = GroupGgufFiles(listing);
  FileChoice choice;
  choice.has_index = Find(listing, kIndexPath) != nullptr;
  const std::vector<RepoFile> weights = SafetensorsOf(listing, choice.has_index);
  if (!selector.empty() && ggufs.empty()) {
    return NotFound("there is no quantisation \"{}\": it has no GGUF files{}", selector,
                    weights.empty() ? "" : ", but safetensors, which are meant by its name alone");
  }
  if (!selector.empty() || (weights.empty() && !ggufs.empty())) return ChooseGguf(ggufs, selector);
  if (weights.empty()) return NoWeightsIn(listing);
  if (Find(listing, "config.json") == nullptr) return NotFound("it has no config.json at its top");
  AddSmallFiles(listing, choice);
  choice.files.insert(choice.files.end(), weights.begin(), weights.end());
  return choice;
}

Result<FileChoice> WithIndex(const FileChoice& choice, const std::vector<RepoFile>& listing,
                             std::string_view index_json) {
  nlohmann::json index = nlohmann::json::parse(index_json, nullptr, false);
  if (index.is_discarded()) index = nlohmann::json::parse(StrictJson(index_json), nullptr, false);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) {
    return DataLoss("{} has no weight_map", kIndexPath);
  }
  std::set<std::string> names;
  for (const nlohmann::json& file : *map) {
    if (file.is_string()) names.insert(file.get<std::string>());
  }
  FileChoice exact = choice;
  exact.files.resize(choice.num_small);
  size_t num_missing = 0;
  for (const std::string& name : names) {
    const RepoFile* file = Find(listing, name);
    if (file != nullptr) exact.files.push_back(*file);
    if (file == nullptr) ++num_missing;
  }
  // A stale index: shards were merged or renamed. What is there is what the model has.
  if (num_missing == names.size()) return choice;
  if (num_missing == 0) return exact;
  return DataLoss("{} names {} files, of which {} are not there", kIndexPath, names.size(), num_missing);
}

}  // namespace quire
