#include "text/chat_template_source.h"

#include <exception>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/checkpoint_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

// The templates of a "chat_template" field by name: a string is the default one, a list has {"name", "template"}, an
// object has them by their names.
std::map<std::string, std::string> TemplatesOf(const Json& file) {
  std::map<std::string, std::string> templates;
  const auto field = file.find("chat_template");
  if (field == file.end()) return templates;
  if (field->is_string()) templates["default"] = field->get<std::string>();
  if (field->is_object()) {
    for (const auto& [name, source] : field->items()) {
      if (source.is_string()) templates[name] = source.get<std::string>();
    }
  }
  if (!field->is_array()) return templates;
  for (const Json& entry : *field) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template")) continue;
    if (!entry["name"].is_string() || !entry["template"].is_string()) continue;
    templates[entry["name"].get<std::string>()] = entry["template"].get<std::string>();
  }
  return templates;
}

Result<std::string> Load(const std::filesystem::path& directory, bool with_tools) {
  QUIRE_ASSIGN_OR_RETURN(const Json config, ReadCheckpointJson(directory / "tokenizer_config.json"));
  QUIRE_ASSIGN_OR_RETURN(auto source, ReadCheckpointFile(directory / "chat_template.jinja"));
  if (!source.has_value()) {
    QUIRE_ASSIGN_OR_RETURN(source, ReadCheckpointFile(directory / "additional_chat_templates" / "default.jinja"));
  }
  if (!source.has_value()) source = PickChatTemplate(TemplatesOf(config), with_tools);
  if (!source.has_value()) {
    QUIRE_ASSIGN_OR_RETURN(const Json file, ReadCheckpointJson(directory / "chat_template.json"));
    source = PickChatTemplate(TemplatesOf(file), with_tools);
  }
  if (!source.has_value()) {
    return NotFound(
        "{} has no chat template (no chat_template.jinja, chat_template.json or chat_template in "
        "tokenizer_config.json): give one with --chat-template FILE, or use /v1/completions",
        directory.string());
  }
  return *std::move(source);
}

}  // namespace

std::optional<std::string> PickChatTemplate(const std::map<std::string, std::string>& templates, bool with_tools) {
  for (const char* name : {with_tools ? "tool_use" : "default", "default"}) {
    if (const auto found = templates.find(name); found != templates.end()) return found->second;
  }
  return std::nullopt;
}

Result<std::string> LoadChatTemplateSource(const std::string& directory, bool with_tools) {
  try {
    return Load(directory, with_tools);
  } catch (const std::exception& error) {
    return Io("cannot read the chat template of {}: {}", directory, error.what());
  }
}

}  // namespace quire
