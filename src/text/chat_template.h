// ChatTemplate: a checkpoint's Jinja chat template, parsed once, rendered as Transformers renders it. Any thread.
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

struct ChatTemplateOptions {
  std::function<std::time_t()> now;  // the time that strftime_now() formats, in the local zone; null: the system clock
};

class ChatTemplate {
 public:
  // InvalidArgument names the line of what is malformed.
  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string_view source, ChatTemplateOptions options = {});
  virtual ~ChatTemplate() = default;

  // `context`: an object with messages, add_generation_prompt, tools, documents, bos_token, eos_token and any
  // chat_template_kwargs. raise_exception(...) in the template becomes kInvalidArgument with its message. Steps,
  // recursion and sizes are bounded (text/jinja_interpreter.h).
  virtual Result<std::string> Render(const nlohmann::ordered_json& context) const = 0;
};

}  // namespace quire
