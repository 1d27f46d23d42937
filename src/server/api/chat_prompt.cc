// A conversation as the text that the checkpoint's chat template makes of it: which of the request's fields the
// template gets to see.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "server/api/json_fields.h"
#include "server/api/model_context.h"
#include "server/api/prompt_fields.h"
#include "text/chat_rendering.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

void Fail(FieldReader& fields, std::string message) { fields.Fail("messages", std::move(message)); }

// The fields that ReadChatText looks for.
void IgnoreAll(FieldReader& fields) {
  fields.Ignore({"messages", "add_generation_prompt", "continue_final_message", "chat_template_kwargs", "tools",
                 "documents", "reasoning_effort", "enable_thinking", "chat_template"});
}

void CheckTools(const ordered_json& tools, FieldReader& fields) {
  if (!tools.is_array()) return fields.Fail("tools", "tools must be a list of functions");
  for (size_t i = 0; i < tools.size(); ++i) {
    const ordered_json& tool = tools[i];
    const bool function = tool.is_object() && tool.contains("function") && tool["function"].is_object() &&
                          tool["function"].contains("name") && tool["function"]["name"].is_string();
    const bool typed = function && (!tool.contains("type") || IsText(tool["type"], "function"));
    if (typed) continue;
    return fields.Fail("tools", fmt::format("tools[{}] must be {{\"type\": \"function\", \"function\": {{\"name\": "
                                            "...}}}}: this server knows functions only",
                                            i));
  }
}

void CheckDocuments(const ordered_json& documents, bool read_by_template, FieldReader& fields) {
  const bool good = documents.is_array() && std::ranges::all_of(documents, &ordered_json::is_object);
  if (!good) return fields.Fail("documents", "documents must be a list of objects, with title and text");
  if (read_by_template || documents.empty()) return;
  fields.Fail("documents", "documents: this model's chat template does not read them; put their texts into a message");
}

// A list that is empty asks for nothing.
void ReadLists(const ModelContext& context, FieldReader& fields, ordered_json& values) {
  if (const ordered_json* tools = fields.Find("tools")) {
    CheckTools(*tools, fields);
    if (!tools->empty()) values["tools"] = *tools;
  }
  if (const ordered_json* documents = fields.Find("documents")) {
    CheckDocuments(*documents, context.model.chat_template->traits().reads_documents, fields);
    if (!documents->empty()) values["documents"] = *documents;
  }
}

// An effort but "none" asks for thinking, as far as enable_thinking does not say it.
void ReadThinking(FieldReader& fields, ordered_json& values) {
  static constexpr std::array<std::string_view, 7> kEfforts = {"none", "minimal", "low", "medium",
                                                               "high", "xhigh",   "max"};
  std::string effort;
  fields.Read("reasoning_effort", effort);
  if (!effort.empty()) {
    if (std::ranges::find(kEfforts, effort) == kEfforts.end()) {
      fields.Fail("reasoning_effort", fmt::format("reasoning_effort is {}: it must be one of {}", Shorten(effort),
                                                  fmt::join(kEfforts, ", ")));
    }
    values["reasoning_effort"] = effort;
    if (!values.contains("enable_thinking")) values["enable_thinking"] = effort != "none";
  }
  if (!fields.Has("enable_thinking")) return;
  bool enable_thinking = true;
  fields.Read("enable_thinking", enable_thinking);
  values["enable_thinking"] = enable_thinking;
}

// The template's variables but the messages. The request's own fields go before those of chat_template_kwargs.
ordered_json ReadVariables(const ModelContext& context, FieldReader& fields) {
  ordered_json values = ordered_json::object();
  if (const ordered_json* more = fields.Find("chat_template_kwargs")) {
    if (!more->is_object()) fields.Fail("chat_template_kwargs", "chat_template_kwargs must be an object");
    if (more->is_object()) values = *more;
  }
  for (const char* name : {"messages", "chat_template", "tokenize", "continue_final_message"}) {
    if (!values.contains(name)) continue;
    fields.Fail("chat_template_kwargs", fmt::format("chat_template_kwargs holds {}, which is no variable of chat "
                                                    "templates",
                                                    name));
  }
  ReadLists(context, fields, values);
  ReadThinking(fields, values);
  return values;
}

void RefuseTemplate(FieldReader& fields) {
  const ordered_json* given = fields.Find("chat_template");
  if (given == nullptr || IsText(*given, "")) return;
  fields.Fail({.message = "a chat template in the request (chat_template) is not supported by this server: start it "
                          "with --chat-template FILE, and pass variables as chat_template_kwargs",
               .param = "chat_template",
               .code = "unsupported_parameter"});
}

// Absent: a generation prompt, unless the final message is to be continued.
bool ReadGenerationPrompt(FieldReader& fields, const ordered_json& values, bool continues) {
  bool add = true;
  if (const auto given = values.find("add_generation_prompt"); given != values.end()) {
    if (!given->is_boolean()) fields.Fail("chat_template_kwargs", "add_generation_prompt must be true or false");
    if (given->is_boolean()) add = given->get<bool>();
  }
  fields.Read("add_generation_prompt", add);
  if (continues && add && fields.Has("add_generation_prompt")) {
    fields.Fail("continue_final_message", "continue_final_message and add_generation_prompt exclude each other");
  }
  return add;
}

}  // namespace

std::string ReadChatText(const ModelContext& context, FieldReader& fields) {
  if (context.model.chat_template == nullptr) {
    IgnoreAll(fields);
    const std::string& problem = context.model.chat_template_problem;
    Fail(fields, problem.empty() ? "this model has no chat template: use /v1/completions"
                                 : fmt::format("this model cannot chat: {}", problem));
    return {};
  }
  RefuseTemplate(fields);
  ordered_json values = ReadVariables(context, fields);
  bool continues = false;
  fields.Read("continue_final_message", continues);
  const bool add_generation_prompt = ReadGenerationPrompt(fields, values, continues);
  const ordered_json* messages = fields.Find("messages");
  if (messages == nullptr || !messages->is_array() || messages->empty()) {
    Fail(fields, "messages must be a list of at least one message");
  }
  if (fields.failed()) return {};
  Result<std::string> rendered =
      RenderChat(*context.model.chat_template, {.messages = *messages,
                                                .add_generation_prompt = add_generation_prompt,
                                                .continue_final_message = continues,
                                                .variables = std::move(values)});
  if (rendered.ok()) return *std::move(rendered);
  ApiError error = ToApiError(rendered.error());
  error.param = "messages";
  fields.Fail(std::move(error));
  return {};
}

}  // namespace quire::server
