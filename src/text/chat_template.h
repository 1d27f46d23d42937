// ChatTemplate: a checkpoint's Jinja chat template, parsed once, rendered as Transformers renders it. Any thread.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "quire/result.h"

namespace quire {

class ChatTemplate {
 public:
  static Result<std::unique_ptr<ChatTemplate>> Parse(std::string_view source);
  virtual ~ChatTemplate() = default;

  // `context`: an object with messages, add_generation_prompt, tools, documents, bos_token, eos_token and any
  // chat_template_kwargs. raise_exception(...) in the template becomes kInvalidArgument with its message.
  virtual Result<std::string> Render(const nlohmann::ordered_json& context) const = 0;
};

}  // namespace quire
