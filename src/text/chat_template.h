// ChatTemplate: a checkpoint's Jinja chat template, parsed once, rendered as Transformers renders it. Any thread.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

struct ChatTemplateOptions {
  std::function<std::time_t()> now;  // the time that strftime_now() formats, in the local zone; null: the system clock
  // Variables of every rendering that its context does not set: the special tokens, by name.
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
};

// What a template does with messages, as far as its text tells.
struct ChatTemplateTraits {
  bool takes_parts = false;  // iterates over a message's content: wants a list of {"type": "text", "text"}
  bool knows_developer = false;
  bool knows_tool_role = false;
  bool shows_tool_calls = false;
  bool shows_function_call = false;
  bool reads_documents = false;
};

class ChatTemplate {
 public:
  // InvalidArgument names the line of what is malformed.
  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string_view source, ChatTemplateOptions options = {});
  virtual ~ChatTemplate() = default;

  virtual ChatTemplateTraits traits() const { return {}; }

  // `context`: an object with messages, add_generation_prompt, tools, documents and any chat_template_kwargs.
  // raise_exception(...) in the template becomes kInvalidArgument with its message. Steps, recursion and sizes are
  // bounded (text/jinja_interpreter.h). text/chat_rendering.h makes a context of a conversation.
  virtual Result<std::string> Render(const nlohmann::ordered_json& context) const = 0;
};

}  // namespace quire
