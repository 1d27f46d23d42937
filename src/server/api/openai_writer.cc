#include "server/api/openai_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "server/api/answer_events.h"
#include "server/api/api_error.h"
#include "server/api/json_writer.h"
#include "server/api/token_strings.h"

namespace quire::server {
namespace {

constexpr std::string_view kBeginEvent = "data: ";
constexpr std::string_view kEndEvent = "\n\n";
constexpr std::string_view kEndOfStream = "data: [DONE]\n\n";

void WriteIds(std::span<const int32_t> ids, JsonWriter& json) {
  json.BeginArray();
  for (const int32_t id : ids) json.Int(id);
  json.EndArray();
}

void WriteUsage(const Usage& usage, JsonWriter& json) {
  json.BeginObject().Key("prompt_tokens").Int(static_cast<int64_t>(usage.prompt_tokens));
  json.Key("completion_tokens").Int(static_cast<int64_t>(usage.completion_tokens));
  json.Key("total_tokens").Int(static_cast<int64_t>(usage.prompt_tokens + usage.completion_tokens));
  json.Key("prompt_tokens_details").BeginObject().Key("cached_tokens").Int(static_cast<int64_t>(usage.cached_tokens));
  json.EndObject().EndObject();
}

}  // namespace

float FiniteLogprob(float logprob) {
  constexpr float kLowest = -9999.0F;
  return std::max(logprob, kLowest);
}

bool Contains(std::span<const Candidate> candidates, int32_t token) {
  return std::ranges::any_of(candidates, [&](const Candidate& candidate) { return candidate.token == token; });
}

std::string OpenAiWriter::Name(int32_t token) const {
  return request_.tokens_as_token_ids ? fmt::format("token_id:{}", token) : strings_.Text(token);
}

void OpenAiWriter::BeginAnswer(const char* object, JsonWriter& json) const {
  json.BeginObject().Key("id").String(request_.id).Key("object").String(object);
  json.Key("created").Int(request_.created).Key("model").String(request_.model);
}

std::string OpenAiWriter::Whole(std::span<const ChoiceNews> choices, const Usage& usage) {
  std::string out;
  JsonWriter json(out);
  BeginAnswer(names_.whole, json);
  json.Key("choices").BeginArray();
  for (const ChoiceNews& choice : choices) {
    json.BeginObject().Key("index").Int(static_cast<int64_t>(choice.choice));
    WriteChoice(choice, false, json);
    json.EndObject();
  }
  json.EndArray();
  WriteBesideChoices(choices.front(), false, json);
  json.Key("usage");
  WriteUsage(usage, json);
  json.EndObject();
  return out;
}

void OpenAiWriter::AppendNews(const ChoiceNews& news, std::string& out) {
  out += kBeginEvent;
  JsonWriter json(out);
  BeginAnswer(names_.chunk, json);
  json.Key("choices").BeginArray().BeginObject().Key("index").Int(static_cast<int64_t>(news.choice));
  WriteChoice(news, true, json);
  json.EndObject().EndArray();
  WriteBesideChoices(news, true, json);
  if (request_.include_usage) {
    json.Key("usage");
    request_.continuous_usage ? WriteUsage(news.usage, json) : void(json.Null());
  }
  json.EndObject();
  out += kEndEvent;
}

void OpenAiWriter::AppendEnd(const Usage& usage, std::string& out) {
  if (request_.include_usage) {
    out += kBeginEvent;
    JsonWriter json(out);
    BeginAnswer(names_.chunk, json);
    json.Key("choices").BeginArray().EndArray().Key("usage");
    WriteUsage(usage, json);
    json.EndObject();
    out += kEndEvent;
  }
  out += kEndOfStream;
}

void OpenAiWriter::AppendError(const ApiError& error, std::string& out) {
  out += kBeginEvent;
  JsonWriter json(out);
  WriteError(error, json);
  out += kEndEvent;
  out += kEndOfStream;
}

void OpenAiWriter::WriteBesideChoices(const ChoiceNews&, bool, JsonWriter&) const {}

void OpenAiWriter::WriteEnd(const ChoiceNews& news, JsonWriter& json) {
  const auto* finished = news.Find<ChoiceFinished>();
  if (finished == nullptr) {
    json.Key("finish_reason").Null().Key("stop_reason").Null();
    return;
  }
  if (finished->score) json.Key("score").Float(FiniteLogprob(*finished->score));
  json.Key("finish_reason").String(FinishReasonName(finished->reason)).Key("stop_reason");
  if (finished->stop_string) {
    json.String(*finished->stop_string);
  } else if (finished->stop_token_id) {
    json.Int(*finished->stop_token_id);
  } else {
    json.Null();
  }
}

void OpenAiWriter::WriteTokenIds(const ChoiceNews& news, JsonWriter& json) {
  json.Key("token_ids");
  WriteIds(news.token_ids(), json);
}

void OpenAiWriter::WritePromptIds(size_t choice, JsonWriter& json) const {
  json.Key("prompt_token_ids");
  WriteIds(request_.PromptOf(choice).ids, json);
}

// vLLM's field: per prompt token an object from token id to {logprob, rank, decoded_token}; null for the first.
void OpenAiWriter::WritePromptLogprobs(const ChoiceNews& news, JsonWriter& json) const {
  const auto write = [&](int32_t token, float logprob, int64_t rank) {
    json.Key(fmt::format("{}", token)).BeginObject().Key("logprob").Float(FiniteLogprob(logprob));
    json.Key("rank").Int(rank).Key("decoded_token").String(strings_.Text(token)).EndObject();
  };
  json.Key("prompt_logprobs").BeginArray();
  const auto* started = news.Find<ChoiceStarted>();
  if (started == nullptr || started->prompt_logprobs == nullptr) return void(json.EndArray());
  for (const std::optional<TokenLogprob>& token : *started->prompt_logprobs) {
    if (!token) {
      json.Null();
      continue;
    }
    json.BeginObject();
    if (!Contains(token->top, token->token)) write(token->token, token->logprob, token->rank);
    int64_t rank = 0;
    for (const Candidate& candidate : token->top) write(candidate.token, candidate.logprob, ++rank);
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace quire::server
