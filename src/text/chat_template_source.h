// Where a checkpoint keeps its chat template. Pure; any thread.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "quire/result.h"

namespace quire {

// From the checkpoint's directory: chat_template.jinja, else additional_chat_templates/default.jinja, else
// tokenizer_config.json, whose template may be one of several by name ("default" is taken, or "tool_use" when
// `with_tools` and it is there), else chat_template.json, a processor's file. NotFound when there is no template.
Result<std::string> LoadChatTemplateSource(const std::string& directory, bool with_tools = false);

// Of templates by name: "tool_use" when `with_tools` and it is there, else "default"; nothing if there is no such one.
std::optional<std::string> PickChatTemplate(const std::map<std::string, std::string>& templates, bool with_tools);

}  // namespace quire
