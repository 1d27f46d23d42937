#include "llm/model_text.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "text/chat_template_source.h"
#include "weights/gguf_set.h"

namespace quire {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model";
constexpr std::string_view kTemplate = "tokenizer.chat_template";

// Nothing where the key is absent.
template <typename T, typename Read>
Status ReadIfThere(const GgufMetadata& metadata, std::string_view key, Read read, T& out) {
  if (!metadata.Has(key)) return {};
  QUIRE_ASSIGN_OR_RETURN(out, (metadata.*read)(key));
  return {};
}

struct IdKey {
  std::string_view key;
  std::optional<int64_t> GgufVocabulary::*member;
};
constexpr IdKey kIdKeys[] = {
    {"tokenizer.ggml.bos_token_id", &GgufVocabulary::bos_id},
    {"tokenizer.ggml.eos_token_id", &GgufVocabulary::eos_id},
    {"tokenizer.ggml.eot_token_id", &GgufVocabulary::eot_id},
    {"tokenizer.ggml.eom_token_id", &GgufVocabulary::eom_id},
    {"tokenizer.ggml.unknown_token_id", &GgufVocabulary::unknown_id},
    {"tokenizer.ggml.seperator_token_id", &GgufVocabulary::separator_id},  // as the format spells it
    {"tokenizer.ggml.padding_token_id", &GgufVocabulary::padding_id},
    {"tokenizer.ggml.cls_token_id", &GgufVocabulary::cls_id},
    {"tokenizer.ggml.mask_token_id", &GgufVocabulary::mask_id},
};

struct FlagKey {
  std::string_view key;
  std::optional<bool> GgufVocabulary::*member;
};
constexpr FlagKey kFlagKeys[] = {
    {"tokenizer.ggml.add_bos_token", &GgufVocabulary::add_bos},
    {"tokenizer.ggml.add_eos_token", &GgufVocabulary::add_eos},
    {"tokenizer.ggml.add_space_prefix", &GgufVocabulary::add_space_prefix},
};

// By name: "default", and those of tokenizer.chat_template.NAME.
Result<std::map<std::string, std::string>> ReadTemplates(const GgufMetadata& metadata) {
  std::map<std::string, std::string> templates;
  for (const std::string_view key : metadata.keys()) {
    if (!key.starts_with(kTemplate)) continue;
    std::string_view name = key.substr(kTemplate.size());
    if (!name.empty() && name[0] != '.') continue;  // tokenizer.chat_templates lists their names
    name = name.empty() ? "default" : name.substr(1);
    QUIRE_ASSIGN_OR_RETURN(templates[std::string(name)], metadata.String(key));
  }
  return templates;
}

// The first part of a split file has all metadata.
Result<GgufMetadata> OpenMetadata(const std::string& file) {
  QUIRE_ASSIGN_OR_RETURN(const GgufSet set, GgufSet::Open(file));
  return set.metadata();
}

}  // namespace

Result<std::string> FindTokenizer(const std::string& model) {
  std::error_code error;
  if (std::filesystem::is_directory(model, error)) return model;
  QUIRE_ASSIGN_OR_RETURN(const GgufMetadata metadata, OpenMetadata(model));
  if (metadata.Has(kModel)) return model;
  return std::filesystem::absolute(model).parent_path().string();
}

Result<std::string> FindTokenizerGguf(const std::string& path) {
  std::error_code error;
  const std::filesystem::path tokenizer_json = std::filesystem::path(path) / "tokenizer.json";
  if (!std::filesystem::exists(path, error) || std::filesystem::exists(tokenizer_json, error)) return std::string();
  return std::filesystem::is_directory(path, error) ? FindGgufFile(path) : Result<std::string>(path);
}

Result<GgufVocabulary> ReadGgufVocabulary(const GgufMetadata& metadata) {
  GgufVocabulary out;
  QUIRE_ASSIGN_OR_RETURN(out.model, metadata.String(kModel));
  QUIRE_ASSIGN_OR_RETURN(out.pre, metadata.StringOr("tokenizer.ggml.pre", ""));
  QUIRE_ASSIGN_OR_RETURN(out.name, metadata.StringOr("general.name", ""));
  QUIRE_RETURN_IF_ERROR(ReadIfThere(metadata, "tokenizer.ggml.tokens", &GgufMetadata::Strings, out.tokens));
  QUIRE_RETURN_IF_ERROR(ReadIfThere(metadata, "tokenizer.ggml.scores", &GgufMetadata::Floats, out.scores));
  QUIRE_RETURN_IF_ERROR(ReadIfThere(metadata, "tokenizer.ggml.token_type", &GgufMetadata::Ints, out.token_types));
  QUIRE_RETURN_IF_ERROR(ReadIfThere(metadata, "tokenizer.ggml.merges", &GgufMetadata::Strings, out.merges));
  for (const auto& [key, member] : kIdKeys) {
    if (!metadata.Has(key)) continue;
    QUIRE_ASSIGN_OR_RETURN(out.*member, metadata.Int(key));
  }
  for (const auto& [key, member] : kFlagKeys) {
    QUIRE_RETURN_IF_ERROR(ReadIfThere(metadata, key, &GgufMetadata::Bool, out.*member));
  }
  return out;
}

Result<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const std::string file, FindTokenizerGguf(path));
  if (file.empty()) return Tokenizer::Load(path);
  QUIRE_ASSIGN_OR_RETURN(const GgufMetadata metadata, OpenMetadata(file));
  QUIRE_ASSIGN_OR_RETURN(const GgufVocabulary vocabulary, ReadGgufVocabulary(metadata));
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromGguf(vocabulary);
  if (!tokenizer.ok()) {
    Error problem = std::move(tokenizer).error();
    problem.message = fmt::format("{}: {}", file, problem.message);
    return problem;
  }
  return tokenizer;
}

Result<std::string> LoadChatTemplate(const std::string& path, bool with_tools) {
  // A directory's own files first.
  Result<std::string> beside = LoadChatTemplateSource(path, with_tools);
  if (beside.ok() || beside.error().code != ErrorCode::kNotFound) return beside;
  QUIRE_ASSIGN_OR_RETURN(const std::string file, FindTokenizerGguf(path));
  if (file.empty()) return beside;
  QUIRE_ASSIGN_OR_RETURN(const GgufMetadata metadata, OpenMetadata(file));
  QUIRE_ASSIGN_OR_RETURN(auto templates, ReadTemplates(metadata));
  if (std::optional<std::string> source = PickChatTemplate(templates, with_tools)) return *std::move(source);
  return NotFound("{} has no chat template ({}): give one with --chat-template FILE, or use /v1/completions", file,
                  kTemplate);
}

}  // namespace quire
