// A conversation as the text that the checkpoint's chat template makes of it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "server/generation_request.h"
#include "server/json_fields.h"
#include "server/model_context.h"
#include "text/chat_template.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

void Fail(FieldReader& fields, std::string message) { fields.Fail("messages", std::move(message)); }

// The text of a content part; null if it is anything else.
const std::string* TextOf(const ordered_json& part) {
  if (part.is_string()) return &part.get_ref<const std::string&>();
  if (!part.is_object()) return nullptr;
  const auto type = part.find("type");
  if (type == part.end()) return nullptr;
  const bool refusal = IsText(*type, "refusal");
  if (!refusal && !IsText(*type, "text") && !IsText(*type, "input_text")) return nullptr;
  const auto text = part.find(refusal ? "refusal" : "text");
  return text != part.end() && text->is_string() ? &text->get_ref<const std::string&>() : nullptr;
}

std::string TypeNameOf(const ordered_json& part) {
  if (part.is_object() && part.contains("type") && part["type"].is_string()) {
    return Shorten(part["type"].get_ref<const std::string&>());
  }
  return part.type_name();
}

// Parts are joined by newlines, since templates take strings.
std::string JoinParts(const ordered_json& parts, size_t index, FieldReader& fields) {
  std::string joined;
  bool first = true;
  for (const ordered_json& part : parts) {
    const std::string* text = TextOf(part);
    if (text == nullptr) {
      Fail(fields, fmt::format("messages[{}].content holds a part of type {}: this model takes text only", index,
                               TypeNameOf(part)));
      return {};
    }
    if (!first) joined += '\n';
    joined += *text;
    first = false;
  }
  return joined;
}

// The message with its content as a string.
ordered_json NormalizeMessage(const ordered_json& message, size_t index, FieldReader& fields) {
  if (!message.is_object()) {
    Fail(fields, fmt::format("messages[{}] must be an object with role and content", index));
    return {};
  }
  const auto role = message.find("role");
  if (role == message.end() || !role->is_string()) {
    Fail(fields, fmt::format("messages[{}].role must be a string", index));
    return {};
  }
  ordered_json normalized = message;
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) {
    if (!IsText(*role, "assistant")) Fail(fields, fmt::format("messages[{}].content is missing", index));
    normalized["content"] = "";
  } else if (content->is_array()) {
    normalized["content"] = JoinParts(*content, index, fields);
  } else if (!content->is_string()) {
    Fail(fields, fmt::format("messages[{}].content must be a string or a list of text parts", index));
  }
  return normalized;
}

ordered_json ReadMessages(FieldReader& fields) {
  ordered_json normalized = ordered_json::array();
  const ordered_json* messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    Fail(fields, "messages must be a list of at least one message");
    return normalized;
  }
  for (const ordered_json& message : *messages) {
    normalized.push_back(NormalizeMessage(message, normalized.size(), fields));
    if (fields.failed()) break;
  }
  return normalized;
}

std::string_view Trim(std::string_view text, bool right) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return right ? text.substr(begin, text.find_last_not_of(kSpace) - begin + 1) : text.substr(begin);
}

// Cuts what the template writes after the last message, so that the model goes on with it.
void CutAfter(const std::string& content, std::string& rendered, FieldReader& fields) {
  const std::string_view trimmed = Trim(content, true);
  const std::string_view left_trimmed = Trim(content, false);
  const size_t begin = rendered.rfind(trimmed);
  if (trimmed.empty() || begin == std::string::npos) {
    return Fail(fields, "continue_final_message: the chat template does not show the final message's content");
  }
  const bool keeps_space = std::string_view(rendered).substr(begin).starts_with(left_trimmed);
  rendered.resize(begin + (keeps_space ? left_trimmed.size() : trimmed.size()));
}

}  // namespace

std::string ReadChatPrompt(const ModelContext& context, FieldReader& fields) {
  if (context.model.chat_template == nullptr) {
    fields.Ignore({"messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs"});
    const std::string& problem = context.model.chat_template_problem;
    Fail(fields, problem.empty() ? "this model has no chat template: use /v1/completions"
                                 : fmt::format("this model cannot chat: {}", problem));
    return {};
  }
  bool add_generation_prompt = true;
  bool continue_final_message = false;
  const bool wants_generation_prompt = fields.Has("add_generation_prompt");
  fields.Read("add_generation_prompt", add_generation_prompt);
  fields.Read("continue_final_message", continue_final_message);
  if (continue_final_message && add_generation_prompt && wants_generation_prompt) {
    fields.Fail("continue_final_message", "continue_final_message and add_generation_prompt exclude each other");
  }
  ordered_json values = ordered_json::object();
  if (const ordered_json* more = fields.Find("chat_template_kwargs")) {
    if (!more->is_object()) fields.Fail("chat_template_kwargs", "chat_template_kwargs must be an object");
    if (more->is_object()) values = *more;
  }
  values["messages"] = ReadMessages(fields);
  values["add_generation_prompt"] = add_generation_prompt && !continue_final_message;
  values["bos_token"] = context.model.bos_token;
  values["eos_token"] = context.model.eos_token;
  if (fields.failed()) return {};
  Result<std::string> rendered = context.model.chat_template->Render(values);
  if (!rendered.ok()) {
    ApiError error = ToApiError(rendered.error());
    error.param = "messages";
    fields.Fail(std::move(error));
    return {};
  }
  std::string text = *std::move(rendered);
  if (continue_final_message) CutAfter(values["messages"].back()["content"].get<std::string>(), text, fields);
  return text;
}

}  // namespace quire::server
