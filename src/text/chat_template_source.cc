#include "text/chat_template_source.h"

#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "text/checkpoint_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
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

Result<std::string> Load(const std::filesystem::path& directory, bool with_tools) {
  QUIRE_ASSIGN_OR_RETURN(const Json config, ReadCheckpointJson(directory / "tokenizer_config.json"));
  QUIRE_ASSIGN_OR_RETURN(auto source, ReadCheckpointFile(directory / "chat_template.jinja"));
  if (!source.has_value()) {
    QUIRE_ASSIGN_OR_RETURN(const Json file, ReadCheckpointJson(directory / "chat_template.json"));
    source = PickTemplate(file, with_tools);
  }
  if (!source.has_value()) source = PickTemplate(config, with_tools);
  if (!source.has_value()) {
    return NotFound(
        "{} has no chat template (no chat_template.jinja, chat_template.json or chat_template in "
        "tokenizer_config.json): give one with --chat-template FILE, or use /v1/completions",
        directory.string());
  }
  return *std::move(source);
}

}  // namespace

Result<std::string> LoadChatTemplateSource(const std::string& directory, bool with_tools) {
  try {
    return Load(directory, with_tools);
  } catch (const std::exception& error) {
    return Io("cannot read the chat template of {}: {}", directory, error.what());
  }
}

}  // namespace quire
