#include "text/chat_messages.h"

#include <algorithm>
#include <array>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/json_limits.h"
#include "base/log.h"
#include "base/strict_json.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, 3> kReasoningFields = {"reasoning_content", "thinking", "reasoning"};

bool IsText(const Json& object, const char* field, std::string_view text) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() && found->get_ref<const std::string&>() == text;
}

bool IsEmpty(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty()) ||
         (value.is_string() && value.get_ref<const std::string&>().empty());
}

std::string Shorten(const std::string& text) {
  constexpr size_t kMaxLength = 60;
  size_t length = std::min(text.size(), kMaxLength);
  while (length > 0 && length < text.size() && (static_cast<unsigned char>(text[length]) & 0xC0) == 0x80) --length;
  return length == text.size() ? text : text.substr(0, length) + "…";
}

// The field that holds the text of a part of this type; null: it is no text.
const char* TextField(const std::string& type) {
  if (type == "text" || type == "input_text" || type == "output_text") return "text";
  if (type == "refusal") return "refusal";
  return type == "thinking" ? "thinking" : nullptr;
}

class Normalizer {
 public:
  explicit Normalizer(const ChatTemplateTraits& traits) : traits_(traits) {}

  Result<Json> Run(const Json& messages) {
    Json normalized = Json::array();
    for (const Json& message : messages) {
      where_ = fmt::format("messages[{}]", normalized.size());
      QUIRE_ASSIGN_OR_RETURN(Json one, NormalizeMessage(message));
      normalized.push_back(std::move(one));
    }
    const bool developer =
        std::ranges::any_of(normalized, [](const Json& message) { return IsText(message, "role", "developer"); });
    return developer && !traits_.knows_developer ? WithDeveloperAsSystem(normalized) : std::move(normalized);
  }

 private:
  Result<Json> NormalizeMessage(const Json& message) {
    if (!message.is_object()) return InvalidArgument("{} must be an object with role and content", where_);
    if (!message.contains("role") || !message["role"].is_string()) {
      return InvalidArgument("{}.role must be a string", where_);
    }
    Json normalized = {{"role", message["role"]}};
    QUIRE_ASSIGN_OR_RETURN(Json parts, ReadParts(message.contains("content") ? message["content"] : Json()));
    const bool refuses = parts.empty() && message.contains("refusal") && message["refusal"].is_string();
    if (refuses && !IsEmpty(message["refusal"])) parts.push_back({{"type", "text"}, {"text", message["refusal"]}});
    normalized["content"] = Content(message["role"].get_ref<const std::string&>(), std::move(parts));
    for (const auto& [name, value] : message.items()) {
      if (name != "role" && name != "content" && !IsEmpty(value)) normalized[name] = value;
    }
    for (const char* name : {"images", "audio", "videos"}) {
      if (normalized.contains(name)) return InvalidArgument("{}.{}: this model takes text only", where_, name);
    }
    QUIRE_RETURN_IF_ERROR(NormalizeToolCalls(normalized));
    NameReasoning(normalized);
    return normalized;
  }

  // As {"type": "text", "text"}, with whatever else they hold.
  Result<Json> ReadParts(const Json& content) {
    Json parts = Json::array();
    if (content.is_null()) return parts;
    if (content.is_string()) {
      parts.push_back({{"type", "text"}, {"text", content}});
      return parts;
    }
    if (!content.is_array()) return InvalidArgument("{}.content must be a string or a list of text parts", where_);
    for (size_t i = 0; i < content.size(); ++i) {
      QUIRE_ASSIGN_OR_RETURN(Json part, ReadPart(content[i], i));
      if (!part.is_null()) parts.push_back(std::move(part));
    }
    return parts;
  }

  // Null: a text that is null.
  Result<Json> ReadPart(const Json& part, size_t index) {
    if (part.is_string()) return Json{{"type", "text"}, {"text", part}};
    if (!part.is_object() || !part.contains("type") || !part["type"].is_string()) {
      return InvalidArgument("{}.content[{}] must be a string or an object with a type, like \"text\"", where_, index);
    }
    const auto& type = part["type"].get_ref<const std::string&>();
    if (type == "tool_reference") return part;
    const char* field = TextField(type);
    if (field == nullptr) {
      return InvalidArgument("{}.content holds a part of type {}: this model takes text only", where_, Shorten(type));
    }
    const auto text = part.find(field);
    if (text != part.end() && text->is_null()) return Json();
    if (text == part.end() || !text->is_string()) {
      return InvalidArgument("{}.content[{}].{} must be a string", where_, index, field);
    }
    Json read = {{"type", "text"}, {"text", *text}};
    for (const auto& [name, value] : part.items()) {
      if (name != "type" && name != field && !IsEmpty(value)) read[name] = value;
    }
    return read;
  }

  // Results of tools are mostly written by templates that take strings there, though they take parts elsewhere.
  Json Content(std::string_view role, Json parts) const {
    const bool all_text = std::ranges::all_of(parts, [](const Json& part) { return IsText(part, "type", "text"); });
    const bool as_parts = traits_.takes_parts && (role != "tool" || !traits_.knows_tool_role || !all_text);
    return as_parts ? std::move(parts) : Json(Joined(parts));
  }

  static std::string Joined(const Json& parts) {
    std::string joined;
    for (const Json& part : parts) {
      const auto& text = part[part.contains("text") ? "text" : "name"].get_ref<const std::string&>();
      if (!joined.empty() && !text.empty()) joined += '\n';
      joined += text;
    }
    return joined;
  }

  Status NormalizeToolCalls(Json& message) {
    if (message.contains("function_call") && !traits_.shows_function_call) WarnOfCalls("function_call");
    if (!message.contains("tool_calls") || !IsText(message, "role", "assistant")) return {};
    if (!traits_.shows_tool_calls) WarnOfCalls("tool_calls");
    Json& calls = message["tool_calls"];
    if (!calls.is_array()) return InvalidArgument("{}.tool_calls must be a list", where_);
    for (size_t i = 0; i < calls.size(); ++i) {
      const std::string place = fmt::format("{}.tool_calls[{}]", where_, i);
      QUIRE_RETURN_IF_ERROR(NormalizeToolCall(place, calls[i]));
    }
    return {};
  }

  // Clients go on with histories of other models: as with other servers of this API, that is no reason to refuse them.
  void WarnOfCalls(const char* field) const {
    LogWarning("tool_calls_not_shown at={}.{} reason=\"the chat template has no place for them\"", where_, field);
  }

  Status NormalizeToolCall(const std::string& place, Json& call) {
    if (!call.is_object()) return InvalidArgument("{} must be an object with a function", place);
    if (call.contains("type") && !call["type"].is_null() && !IsText(call, "type", "function")) {
      return InvalidArgument("{}.type must be \"function\"", place);
    }
    const bool named = call.contains("function") && call["function"].is_object() && call["function"].contains("name") &&
                       call["function"]["name"].is_string();
    if (!named) return InvalidArgument("{}.function must be an object with a name and arguments", place);
    for (auto field = call.begin(); field != call.end();) {
      if (field->is_null()) {
        field = call.erase(field);
      } else {
        ++field;
      }
    }
    Json& function = call["function"];
    QUIRE_ASSIGN_OR_RETURN(Json arguments,
                           ReadArguments(place, function.contains("arguments") ? function["arguments"] : Json()));
    function["arguments"] = std::move(arguments);
    return {};
  }

  // A history that holds what a model once wrote wrongly must not be refused for good: what is no object is an empty
  // one, as to other servers of this API.
  Result<Json> ReadArguments(const std::string& place, const Json& arguments) {
    if (arguments.is_object()) return arguments;
    if (IsEmpty(arguments)) return Json::object();
    Json parsed = Json::object();
    if (arguments.is_string()) {
      const auto& text = arguments.get_ref<const std::string&>();
      const std::string excess = limits_.FindExcess(place + ".function.arguments", text);
      if (!excess.empty()) return InvalidArgument("{}", excess);
      parsed = Json::parse(text, nullptr, false);
      if (parsed.is_discarded()) parsed = Json::parse(StrictJson(text), nullptr, false);
    }
    if (arguments.is_string() && parsed.is_object()) return parsed;
    LogWarning("tool_call_arguments_unusable at={} reason=\"not a JSON object\"", place);
    return Json::object();
  }

  static void NameReasoning(Json& message) {
    const auto* found =
        std::ranges::find_if(kReasoningFields, [&](const char* name) { return message.contains(name); });
    if (found == kReasoningFields.end()) return;
    const Json reasoning = message[*found];
    for (const char* name : kReasoningFields) {
      if (!message.contains(name)) message[name] = reasoning;
    }
    message["reasoning_content"] = reasoning;
  }

  Json WithDeveloperAsSystem(const Json& messages) const {
    std::string text;
    Json others = Json::array();
    for (const Json& message : messages) {
      if (!IsText(message, "role", "developer") && !IsText(message, "role", "system")) {
        others.push_back(message);
        continue;
      }
      const Json& content = message["content"];
      const std::string more = content.is_string() ? content.get<std::string>() : Joined(content);
      if (!text.empty() && !more.empty()) text += "\n\n";
      text += more;
    }
    if (others.size() + 1 == messages.size() && IsText(messages.front(), "role", "developer")) {
      Json renamed = messages;
      renamed.front()["role"] = "system";
      return renamed;
    }
    const Json parts = Json::array({{{"type", "text"}, {"text", text}}});
    Json all = Json::array({{{"role", "system"}, {"content", Content("system", parts)}}});
    all.insert(all.end(), others.begin(), others.end());
    return all;
  }

  const ChatTemplateTraits traits_;
  JsonLimits limits_;
  std::string where_;  // the message that is being read
};

}  // namespace

Result<Json> NormalizeMessages(const Json& messages, const ChatTemplateTraits& traits) {
  try {
    return Normalizer(traits).Run(messages);
  } catch (const std::exception& error) {  // out of memory
    return Internal("messages: {}", error.what());
  }
}

}  // namespace quire
