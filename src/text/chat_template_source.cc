#include "text/chat_template_source.h"

#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/strict_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
constexpr uintmax_t kMaxFileBytes = uintmax_t{64} << 20;

// Nothing when there is no such file.
Result<std::optional<std::string>> ReadFile(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return std::optional<std::string>();
  if (std::filesystem::file_size(path, error) > kMaxFileBytes) {
    return InvalidArgument("{} is over {} bytes", path.string(), kMaxFileBytes);
  }
  std::ifstream stream(path, std::ios::binary);
  std::string text{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream.good() && !stream.eof()) return Io("cannot read {}", path.string());
  return std::optional<std::string>(std::move(text));
}

// An empty object when there is no such file.
Result<Json> ReadJson(const std::filesystem::path& path) {
  QUIRE_ASSIGN_OR_RETURN(const auto text, ReadFile(path));
  if (!text.has_value()) return Json::object();
  Json json = Json::parse(*text, nullptr, false);
  if (json.is_discarded()) json = Json::parse(StrictJson(*text), nullptr, false);
  if (!json.is_object()) return DataLoss("{} is not a JSON object", path.string());
  return json;
}

// The template within a "chat_template" field: a string, or a list of {"name", "template"}.
std::optional<std::string> PickTemplate(const Json& file, bool with_tools) {
  const auto field = file.find("chat_template");
  if (field == file.end()) return std::nullopt;
  if (field->is_string()) return field->get<std::string>();
  std::optional<std::string> found;
  if (!field->is_array()) return found;
  for (const Json& entry : *field) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
    if (!entry["name"].is_string() || !entry["template"].is_string()) continue;
    const bool wanted = entry["name"] == "tool_use" && with_tools;
    if (wanted) return entry["template"].get<std::string>();
    if (entry["name"] == "default") found = entry["template"].get<std::string>();
  }
  return found;
}

// A token is a string, or an object with its text as "content".
std::string TokenText(const Json& file, const char* name) {
  const auto field = file.find(name);
  if (field == file.end()) return "";
  if (field->is_string()) return field->get<std::string>();
  const bool object = field->is_object() && field->contains("content") && (*field)["content"].is_string();
  return object ? (*field)["content"].get<std::string>() : "";
}

Result<ChatTemplateSource> Load(const std::filesystem::path& directory, bool with_tools) {
  QUIRE_ASSIGN_OR_RETURN(const Json config, ReadJson(directory / "tokenizer_config.json"));
  QUIRE_ASSIGN_OR_RETURN(const Json tokens, ReadJson(directory / "special_tokens_map.json"));
  QUIRE_ASSIGN_OR_RETURN(auto source, ReadFile(directory / "chat_template.jinja"));
  if (!source.has_value()) {
    QUIRE_ASSIGN_OR_RETURN(const Json file, ReadJson(directory / "chat_template.json"));
    source = PickTemplate(file, with_tools);
  }
  if (!source.has_value()) source = PickTemplate(config, with_tools);
  if (!source.has_value()) {
    return NotFound(
        "{} has no chat template (no chat_template.jinja, chat_template.json or chat_template in "
        "tokenizer_config.json): give one with --chat-template FILE, or use /v1/completions",
        directory.string());
  }
  const auto token = [&](const char* name) {
    const std::string text = TokenText(config, name);
    return text.empty() ? TokenText(tokens, name) : text;
  };
  return ChatTemplateSource{std::move(*source), token("bos_token"), token("eos_token")};
}

}  // namespace

Result<ChatTemplateSource> LoadChatTemplateSource(const std::string& directory, bool with_tools) {
  try {
    return Load(directory, with_tools);
  } catch (const std::exception& error) {
    return Io("cannot read the chat template of {}: {}", directory, error.what());
  }
}

}  // namespace quire
