#include "server/api/generation_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <random>
#include <utility>

#include "engine/engine.h"
#include "server/api/foreign_fields.h"
#include "server/api/json_fields.h"
#include "server/api/model_context.h"
#include "server/api/unix_time.h"

namespace quire::server {
namespace {

constexpr size_t kMaxRequestId = 256;

std::string NewName() {
  thread_local std::mt19937_64 engine(std::random_device{}());
  return fmt::format("{:016x}{:016x}", engine(), engine());
}

void ReadRequestId(std::string_view id_prefix, FieldReader& fields, GenerationRequest& request) {
  std::string name;
  const std::string_view field = NameInUse(fields, {"request_id", "rid"});
  fields.Read(field, name);
  if (fields.failed() || name.empty() || SetRequestId(id_prefix, name, request)) return;
  fields.Fail(field, fmt::format("{} must have at most {} characters of printable ASCII", field, kMaxRequestId));
}

}  // namespace

GenerationRequest NewRequest(const ModelContext& context, std::string_view id_prefix) {
  GenerationRequest request;
  SetRequestId(id_prefix, NewName(), request);
  request.created = SecondsSinceEpoch();
  request.params = context.model.defaults;
  return request;
}

bool SetRequestId(std::string_view id_prefix, std::string_view name, GenerationRequest& request) {
  const bool printable = std::ranges::all_of(name, [](char c) { return c > ' ' && c < 0x7F; });
  if (!printable || name.empty() || name.size() > kMaxRequestId) return false;
  request.id = fmt::format("{}-{}", id_prefix, name);
  return true;
}

void ReadModel(const ModelContext& context, FieldReader& fields, std::string& model) {
  fields.Read("model", model);
  if (fields.failed()) return;
  if (!context.Serves(model)) {
    fields.Fail({.status = 404,
                 .message = fmt::format("The model `{}` does not exist. This server has: {}", Shorten(model),
                                        fmt::join(context.names, ", ")),
                 .param = "model",
                 .code = "model_not_found"});
  }
  if (model.empty()) model = context.names.front();
}

void ReadIdentity(const ModelContext& context, std::string_view id_prefix, FieldReader& fields,
                  GenerationRequest& request) {
  ReadModel(context, fields, request.model);
  ReadRequestId(id_prefix, fields, request);
}

void ReadMaxTokens(FieldReader& fields, std::string_view more, GenerationRequest& request) {
  std::optional<int32_t> max_tokens;
  const std::string_view name = NameInUse(fields, {"max_tokens", "n_predict", "max_new_tokens"});
  fields.Read(name, max_tokens);
  if (name == "n_predict" && max_tokens.value_or(0) < 0) return request.params.max_tokens.reset();  // no limit
  if (!more.empty()) fields.Read(more, max_tokens);
  if (!max_tokens) return;
  request.params.max_tokens = max_tokens;
  request.max_tokens_given = true;
}

void CheckNumChoices(FieldReader& fields, const GenerationRequest& request) {
  if (fields.failed()) return;
  fields.CheckRange("n", request.params.n, 1, kMaxStreams);
  if (fields.failed() || request.num_choices() <= kMaxChoices) return;
  fields.Fail("n", fmt::format("{} prompts with n {} make {} choices: at most {} are served at once",
                               request.prompts.size(), request.params.n, request.num_choices(), kMaxChoices));
}

std::optional<ApiError> Finish(const ModelContext& context, const FieldReader& fields, const SamplingParams& params,
                               ServerCounters& counters) {
  counters.unknown_fields.Note(fields.Unknown());
  if (fields.failed()) return fields.error();
  const Status valid = ValidateSamplingParams(params, context.model.engine->options().vocab_size);
  return valid.ok() ? std::nullopt : std::optional(ToApiError(valid.error()));
}

}  // namespace quire::server
