#include "server/api/tokenize_routes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "server/api/api_error.h"
#include "server/api/generation_request.h"
#include "server/api/json_fields.h"
#include "server/api/json_writer.h"
#include "server/api/model_context.h"
#include "server/api/prompt_fields.h"
#include "text/tokenizer.h"

namespace quire::server {
namespace {

using nlohmann::ordered_json;

std::vector<int32_t> ReadTokens(const ModelContext& context, FieldReader& fields) {
  const bool chat = fields.Has("messages");
  if (chat == fields.Has("prompt")) fields.Fail("prompt", "give either prompt or messages");
  TokenizeOptions options{.add_special_tokens = !chat};  // a chat template writes them
  fields.Read("add_special_tokens", options.add_special_tokens);
  std::string text;
  if (chat) {
    text = ReadChatText(context, fields);
  } else {
    fields.Read("prompt", text);
  }
  if (fields.failed()) return {};
  return Tokenize(context, text, options, chat ? "messages" : "prompt", fields);
}

HttpReply TokensReply(const ModelContext& context, const std::vector<int32_t>& ids, bool with_strings) {
  HttpReply reply;
  JsonWriter json(reply.body);
  json.BeginObject().Key("count").Int(static_cast<int64_t>(ids.size()));
  json.Key("max_model_len").Int(context.model.max_model_len).Key("tokens").BeginArray();
  for (const int32_t id : ids) json.Int(id);
  json.EndArray().Key("token_strs");
  if (!with_strings) {
    json.Null();
  } else {
    json.BeginArray();
    for (const int32_t id : ids) json.String(context.model.tokenizer->TokenText(id));
    json.EndArray();
  }
  json.EndObject();
  return reply;
}

// What `answer` makes of the body's fields, unless one of them is wrong.
HttpReply AnswerFields(const Call& call, FunctionRef<HttpReply(FieldReader&)> answer) {
  ordered_json object;
  if (const std::optional<ApiError> error = ParseJsonObject(call.request.body, object)) return ToReply(*error);
  FieldReader fields(object);
  std::string model;
  ReadModel(call.context, fields, model);
  HttpReply reply = answer(fields);
  call.counters.unknown_fields.Note(fields.Unknown());
  return fields.failed() ? ToReply(*fields.error()) : std::move(reply);
}

void CheckTokens(std::span<const int32_t> ids, int32_t vocab_size, FieldReader& fields) {
  for (const int32_t id : ids) {
    if (id >= 0 && id < vocab_size) continue;
    return fields.Fail("tokens", fmt::format("tokens holds {}: token ids are from 0 to {}", id, vocab_size - 1));
  }
}

}  // namespace

HttpReply ReplyTokenize(const Call& call) {
  return AnswerFields(call, [&](FieldReader& fields) {
    bool return_token_strs = false;
    fields.Read("return_token_strs", return_token_strs);
    return TokensReply(call.context, ReadTokens(call.context, fields), return_token_strs);
  });
}

HttpReply ReplyDetokenize(const Call& call) {
  return AnswerFields(call, [&](FieldReader& fields) {
    const Tokenizer& tokenizer = *call.context.model.tokenizer;
    std::vector<int32_t> ids;
    if (!fields.Has("tokens")) fields.Fail("tokens", "tokens is missing");
    fields.Read("tokens", ids);
    CheckTokens(ids, tokenizer.vocab_size(), fields);
    HttpReply reply;
    if (fields.failed()) return reply;
    JsonWriter(reply.body).BeginObject().Key("prompt").String(tokenizer.Decode(ids, false)).EndObject();
    return reply;
  });
}

}  // namespace quire::server
