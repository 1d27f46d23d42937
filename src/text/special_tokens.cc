#include "text/special_tokens.h"

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/checkpoint_json.h"

namespace quire::text {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 7> kStandardNames = {"bos_token", "eos_token", "unk_token", "sep_token",
                                                            "pad_token", "cls_token", "mask_token"};

std::optional<std::string> TokenText(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  const bool token = value.is_object() && value.contains("content") && value["content"].is_string();
  return token ? std::optional(value["content"].get<std::string>()) : std::nullopt;
}

// Names and texts; null takes a name away.
void Take(const Json& named, Json& tokens) {
  for (const auto& [name, value] : named.items()) {
    const bool standard = std::ranges::find(kStandardNames, name) != kStandardNames.end();
    if (const std::optional<std::string> text = TokenText(value)) {
      if (standard || name.ends_with("_token")) tokens[name] = *text;
    } else if (standard && (value.is_null() || (value.is_object() && value.value("content", Json()).is_null()))) {
      tokens[name] = nullptr;
    }
  }
  for (const char* field : {"extra_special_tokens", "model_specific_special_tokens"}) {
    const auto more = named.find(field);
    if (more == named.end() || !more->is_object()) continue;
    for (const auto& [name, value] : more->items()) {
      if (const std::optional<std::string> text = TokenText(value)) tokens[name] = *text;
    }
  }
}

std::string Text(const Json& file, const char* name) {
  const auto field = file.find(name);
  return field != file.end() && field->is_string() ? field->get<std::string>() : "";
}

std::string TokenizerClass(const Json& config, const std::string& model_type) {
  std::string name = Text(config, "tokenizer_class");
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (model_type == "mistral") return "";
  if (model_type == "qwen2" || (model_type == "qwen3" && name.empty())) return "Qwen2Tokenizer";
  return name;
}

struct ClassTokens {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string_view>> tokens;
};

// The defaults of the classes' constructors.
void AddDefaults(std::string_view tokenizer_class, Json& tokens) {
  static const std::array<ClassTokens, 5> kClasses = {{
      {"LlamaTokenizer", {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}}},
      {"Qwen2Tokenizer",
       {{"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}, {"pad_token", "<|endoftext|>"}}},
      {"GPT2Tokenizer",
       {{"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}}},
      {"CodeGenTokenizer",
       {{"bos_token", "<|endoftext|>"}, {"eos_token", "<|endoftext|>"}, {"unk_token", "<|endoftext|>"}}},
      {"GPTNeoXTokenizer",
       {{"bos_token", "<|endoftext|>"},
        {"eos_token", "<|endoftext|>"},
        {"unk_token", "<|endoftext|>"},
        {"pad_token", "<|padding|>"}}},
  }};
  for (const ClassTokens& known : kClasses) {
    if (known.name != tokenizer_class) continue;
    for (const auto& [name, text] : known.tokens) {
      if (!tokens.contains(name)) tokens[std::string(name)] = text;
    }
  }
}

Result<std::vector<NamedToken>> Load(const std::filesystem::path& directory, const std::string& padding_token) {
  QUIRE_ASSIGN_OR_RETURN(const Json config, ReadCheckpointJson(directory / "tokenizer_config.json"));
  QUIRE_ASSIGN_OR_RETURN(const Json map, ReadCheckpointJson(directory / "special_tokens_map.json"));
  QUIRE_ASSIGN_OR_RETURN(const Json model, ReadCheckpointJson(directory / "config.json"));
  Json named = Json::object();
  Take(config, named);
  if (!config.contains("added_tokens_decoder")) Take(map, named);
  AddDefaults(TokenizerClass(config, Text(model, "model_type")), named);
  if (!named.contains("pad_token") && !padding_token.empty()) named["pad_token"] = padding_token;
  std::vector<NamedToken> tokens;
  for (const auto& [name, text] : named.items()) {
    if (text.is_string()) tokens.push_back({name, text.get<std::string>()});
  }
  return tokens;
}

// What the JSON library throws ends here.
template <typename Load>
auto Contained(const std::string& directory, Load load) -> decltype(load()) {
  try {
    return load();
  } catch (const std::exception& error) {
    return Io("cannot read the special tokens of {}: {}", directory, error.what());
  }
}

}  // namespace

Result<std::vector<NamedToken>> LoadSpecialTokens(const std::string& directory, const std::string& padding_token) {
  return Contained(directory, [&] { return Load(directory, padding_token); });
}

Result<std::string> LoadTokenizerClass(const std::string& directory) {
  return Contained(directory, [&]() -> Result<std::string> {
    const std::filesystem::path base(directory);
    QUIRE_ASSIGN_OR_RETURN(const Json config, ReadCheckpointJson(base / "tokenizer_config.json"));
    QUIRE_ASSIGN_OR_RETURN(const Json model, ReadCheckpointJson(base / "config.json"));
    return TokenizerClass(config, Text(model, "model_type"));
  });
}

}  // namespace quire::text
