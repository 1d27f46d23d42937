// Where a checkpoint keeps its chat template and the tokens that the template writes. Pure; any thread.
#pragma once

#include <string>

#include "quire/result.h"

namespace quire {

struct ChatTemplateSource {
  std::string source;     // for ChatTemplate::Parse
  std::string bos_token;  // empty when there is none
  std::string eos_token;
};

// From the checkpoint's directory: chat_template.jinja, else chat_template.json, else tokenizer_config.json, whose
// template may be one of several by name ("default" is taken, or "tool_use" when `with_tools` and it is there). The
// tokens come from tokenizer_config.json, else special_tokens_map.json. NotFound when there is no template.
Result<ChatTemplateSource> LoadChatTemplateSource(const std::string& directory, bool with_tools = false);

}  // namespace quire
