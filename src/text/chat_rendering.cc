#include "text/chat_rendering.h"

#include <string_view>
#include <utility>

#include "base/error.h"
#include "text/chat_messages.h"
#include "text/jinja_unicode.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

// Put after the content that is to be continued, it tells where that content ends in what the template writes, and by
// its own last space whether the template strips what it writes.
constexpr std::string_view kEndMark = "CONTINUE_FINAL_MESSAGE_TAG ";

std::string_view Strip(std::string_view text) { return jinja::StripRight(jinja::StripLeft(text)); }

// Whether the conversation ends with the beginning of an answer, as the APIs of Mistral and DeepSeek mark it.
bool IsPrefix(const Json& messages) {
  if (messages.empty() || messages.back()["role"] != Json("assistant")) return false;
  const Json& message = messages.back();
  return message.contains("prefix") && message["prefix"] == Json(true);
}

// The text of the message that is to be continued, within it; null when it has none.
std::string* FinalText(Json& message) {
  Json& content = message["content"];
  if (content.is_string()) return &content.get_ref<std::string&>();
  if (!content.is_array()) return nullptr;
  for (size_t i = content.size(); i > 0; --i) {
    Json& part = content[i - 1];
    if (part.contains("text") && part["text"].is_string()) return &part["text"].get_ref<std::string&>();
  }
  return nullptr;
}

Result<std::string> CutAtMark(std::string rendered, std::string_view content) {
  const size_t mark = rendered.rfind(kEndMark.substr(0, kEndMark.size() - 1));
  if (mark == std::string::npos || rendered.find(Strip(content)) == std::string::npos) {
    return InvalidArgument(
        "continue_final_message: the chat template does not show the final message's content as it is");
  }
  const bool keeps_space = std::string_view(rendered).substr(mark).starts_with(kEndMark);
  rendered.resize(mark);
  if (!keeps_space) rendered.resize(jinja::StripRight(rendered).size());
  return rendered;
}

}  // namespace

Result<std::string> RenderChat(const ChatTemplate& chat_template, const Chat& chat) {
  Json context = chat.variables;
  for (const char* name : {"tools", "documents"}) {
    if (!context.contains(name)) context[name] = nullptr;
  }
  QUIRE_ASSIGN_OR_RETURN(context["messages"], NormalizeMessages(chat.messages, chat_template.traits()));
  Json& messages = context["messages"];
  const bool continues = chat.continue_final_message || IsPrefix(messages);
  context["add_generation_prompt"] = chat.add_generation_prompt && !continues;
  if (!continues) return chat_template.Render(context);
  std::string* const text = messages.empty() ? nullptr : FinalText(messages.back());
  if (text == nullptr) return InvalidArgument("continue_final_message: the final message has no text to continue");
  const std::string content = *text;
  *text += kEndMark;
  QUIRE_ASSIGN_OR_RETURN(std::string rendered, chat_template.Render(context));
  return CutAtMark(std::move(rendered), content);
}

}  // namespace quire
