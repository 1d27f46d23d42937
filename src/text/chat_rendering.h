// A conversation as the text that a chat template makes of it. Any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "quire/result.h"
#include "text/chat_template.h"

namespace quire {

struct Chat {
  const nlohmann::ordered_json& messages;  // a list, as clients send it
  bool add_generation_prompt = true;
  // The text ends within the final message's content; no generation prompt then. A final assistant's message with
  // "prefix": true asks for the same.
  bool continue_final_message = false;
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();  // tools, documents, enable_thinking...
};

// As Transformers' apply_chat_template, of the messages that NormalizeMessages makes.
Result<std::string> RenderChat(const ChatTemplate& chat_template, const Chat& chat);

}  // namespace quire
