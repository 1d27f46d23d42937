#include "text/chat_template.h"

#include <exception>

#include "base/error.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_json.h"
#include "text/jinja_message_use.h"
#include "text/jinja_parser.h"

namespace quire {
namespace {

ChatTemplateTraits FindTraits(const jinja::Template& parsed) {
  const jinja::MessageUse use = jinja::FindMessageUse(parsed);
  return {.takes_parts = use.iterates_content,
          .knows_developer = use.words.contains("developer"),
          .knows_tool_role = use.words.contains("tool"),
          .shows_tool_calls = use.shows_whole || use.words.contains("tool_calls"),
          .shows_function_call = use.shows_whole || use.words.contains("function_call"),
          .reads_documents = use.words.contains("documents")};
}

class JinjaChatTemplate : public ChatTemplate {
 public:
  JinjaChatTemplate(jinja::Template parsed, ChatTemplateOptions options)
      : template_(std::move(parsed)), options_(std::move(options)), traits_(FindTraits(template_)) {}

  ChatTemplateTraits traits() const override { return traits_; }

  Result<std::string> Render(const nlohmann::ordered_json& context) const override {
    if (!context.is_object()) return InvalidArgument("the context of a chat template must be a JSON object");
    try {
      QUIRE_ASSIGN_OR_RETURN(const jinja::Value values, jinja::FromJson(context));
      QUIRE_ASSIGN_OR_RETURN(const jinja::Value defaults, jinja::FromJson(options_.variables));
      jinja::Interpreter interpreter(template_, options_.now);
      return interpreter.Render(values.dict(), defaults.dict());
    } catch (const std::exception& error) {  // out of memory, a library's refusal
      return Internal("chat template: {}", error.what());
    }
  }

 private:
  const jinja::Template template_;
  const ChatTemplateOptions options_;
  const ChatTemplateTraits traits_;
};

}  // namespace

Result<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(std::string_view source, ChatTemplateOptions options) {
  QUIRE_ASSIGN_OR_RETURN(jinja::Template parsed, jinja::ParseTemplate(source));
  if (options.now == nullptr) options.now = [] { return std::time(nullptr); };
  return std::unique_ptr<ChatTemplate>(new JinjaChatTemplate(std::move(parsed), std::move(options)));
}

}  // namespace quire
