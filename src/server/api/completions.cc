#include "server/api/completions.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "server/api/completion_writer.h"
#include "server/api/exchanges.h"
#include "server/api/generation.h"
#include "server/api/json_fields.h"
#include "server/api/model_context.h"
#include "server/api/sampling_fields.h"

namespace quire::server {
namespace {

constexpr std::string_view kIdPrefix = "cmpl";
constexpr int32_t kDefaultMaxTokens = 16;

// An integer, where chat has a flag; with echo the prompt is scored, too.
void ReadLogprobs(FieldReader& fields, CompletionRequest& request) {
  fields.Read("logprobs", request.params.logprobs);
  if (request.echo && request.params.logprobs && !request.params.prompt_logprobs) {
    request.params.prompt_logprobs = request.params.logprobs;
  }
}

void ReadEchoAndLength(FieldReader& fields, CompletionRequest& request) {
  request.params.max_tokens = kDefaultMaxTokens;
  fields.Read("echo", request.echo);
  ReadMaxTokens(fields, "", request);
  if (!request.echo || request.params.max_tokens != 0) return;
  request.drop_output = true;
  request.params.max_tokens = 1;
}

}  // namespace

ParsedCompletion ParseCompletion(const ModelContext& context, std::string_view body, ServerCounters& counters) {
  nlohmann::ordered_json object;
  if (std::optional<ApiError> error = ParseJsonObject(body, object)) return *std::move(error);
  FieldReader fields(object);
  CompletionRequest request{NewRequest(context, kIdPrefix)};
  ReadIdentity(context, kIdPrefix, fields, request);
  ReadEchoAndLength(fields, request);
  ReadSamplingParams(fields, request.params);
  ReadAnswerFields(fields, request);  // before echo asks for the prompt's log-probabilities, which may be streamed
  ReadLogprobs(fields, request);
  RefuseUnsupported(fields);
  fields.Unsupported("tools", "calling tools");
  fields.Unsupported("suffix", "inserting before a suffix");
  fields.Unsupported("prompt_embeds", "prompts as embeddings");
  request.prompts = ReadPrompts(context, ReadTokenizeOptions(context, true, fields), fields);
  CheckNumChoices(fields, request);
  if (std::optional<ApiError> error = Finish(context, fields, request.params, counters)) return *std::move(error);
  return request;
}

std::unique_ptr<HttpExchange> AnswerCompletion(const Call& call) {
  ParsedCompletion parsed = ParseCompletion(call.context, call.request.body, call.counters);
  if (const ApiError* error = std::get_if<ApiError>(&parsed)) return std::make_unique<KnownAnswer>(ToReply(*error));
  auto& request = std::get<CompletionRequest>(parsed);
  ReadHeaders(call.request, kIdPrefix, request);
  Generation generation = MakeGeneration(request, "prompt", call.context.model.max_model_len);
  const bool echo = request.echo;
  generation.writer = std::make_unique<CompletionWriter>(std::move(request), echo, call.context.token_strings);
  return StartGeneration(call, std::move(generation));
}

}  // namespace quire::server
