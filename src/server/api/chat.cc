#include "server/api/chat.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "server/api/chat_writer.h"
#include "server/api/exchanges.h"
#include "server/api/generation.h"
#include "server/api/json_fields.h"
#include "server/api/model_context.h"
#include "server/api/sampling_fields.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

constexpr std::string_view kIdPrefix = "chatcmpl";

void ReadLogprobs(FieldReader& fields, SamplingParams& params) {
  bool logprobs = false;
  std::optional<int32_t> top_logprobs;
  fields.Read("logprobs", logprobs);
  fields.Read("top_logprobs", top_logprobs);
  if (top_logprobs) fields.CheckRange("top_logprobs", *top_logprobs, 0, kMaxLogprobs);
  if (top_logprobs.value_or(0) > 0 && !logprobs) {
    fields.Fail("top_logprobs", "top_logprobs is only allowed when logprobs is true");
  }
  if (logprobs) params.logprobs = top_logprobs.value_or(0);
}

// The template may show the tools; calls are not read out of the answer, so none may be awaited.
void RefuseToolCalls(FieldReader& fields) {
  const ordered_json* tools = fields.Find("tools");
  const ordered_json* choice = fields.Find("tool_choice");
  const bool has_tools = tools != nullptr && !tools->empty();
  if (choice == nullptr ? !has_tools : IsText(*choice, "none") || (IsText(*choice, "auto") && !has_tools)) return;
  fields.Fail({.message = "calling tools is not supported by this server yet: send tool_choice \"none\" to have the "
                          "model see the tools and answer in words, or leave tools and tool_choice out",
               .param = has_tools ? "tools" : "tool_choice",
               .code = "unsupported_parameter"});
}

void RefuseWhatIsNotText(FieldReader& fields) {
  fields.Unsupported("audio", "audio");
  fields.Unsupported("echo", "echo in chat");
  fields.Unsupported("web_search_options", "web search");
  const ordered_json* modalities = fields.Find("modalities");
  const bool text_only = modalities == nullptr || (modalities->size() == 1 && IsText(modalities->front(), "text"));
  if (!text_only) fields.Unsupported("modalities", "any modality but text");
}

}  // namespace

ParsedChat ParseChat(const ModelContext& context, std::string_view body, ServerCounters& counters) {
  ordered_json object;
  if (std::optional<ApiError> error = ParseJsonObject(body, object)) return *std::move(error);
  FieldReader fields(object);
  GenerationRequest request = NewRequest(context, kIdPrefix);
  ReadIdentity(context, kIdPrefix, fields, request);
  ReadMaxTokens(fields, "max_completion_tokens", request);
  ReadSamplingParams(fields, request.params);
  ReadAnswerFields(fields, request);
  ReadLogprobs(fields, request.params);
  RefuseUnsupported(fields);
  RefuseToolCalls(fields);
  RefuseWhatIsNotText(fields);
  fields.Ignore({"prediction", "verbosity"});
  const TokenizeOptions options = ReadTokenizeOptions(context, false, fields);  // the template writes special tokens
  request.prompts.push_back(ReadChatPrompt(context, options, fields));
  CheckNumChoices(fields, request);
  if (std::optional<ApiError> error = Finish(context, fields, request.params, counters)) return *std::move(error);
  return request;
}

std::unique_ptr<HttpExchange> AnswerChat(const Call& call) {
  ParsedChat parsed = ParseChat(call.context, call.request.body, call.counters);
  if (const ApiError* error = std::get_if<ApiError>(&parsed)) return std::make_unique<KnownAnswer>(ToReply(*error));
  auto& request = std::get<GenerationRequest>(parsed);
  ReadHeaders(call.request, kIdPrefix, request);
  Generation generation = MakeGeneration(request, "messages", call.context.model.max_model_len);
  generation.writer = std::make_unique<ChatWriter>(std::move(request), call.context.token_strings);
  return StartGeneration(call, std::move(generation));
}

}  // namespace quire::server
