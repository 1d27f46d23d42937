#include "server/api/chat_writer.h"

#include <string>

#include "server/api/answer_events.h"
#include "server/api/json_writer.h"
#include "server/api/token_strings.h"

namespace quire::server {
namespace {

void WriteMessage(const ChoiceNews& news, JsonWriter& json) {
  json.Key("message").BeginObject().Key("role").String("assistant").Key("content").String(news.text());
  json.Key("refusal").Null().EndObject();
}

// The first delta has a role, and content even if there is none yet.
void WriteDelta(const ChoiceNews& news, JsonWriter& json) {
  const std::string text = news.text();
  json.Key("delta").BeginObject();
  if (news.starts()) json.Key("role").String("assistant");
  if (news.starts() || !text.empty()) json.Key("content").String(text);
  json.EndObject();
}

}  // namespace

void ChatWriter::WriteChoice(const ChoiceNews& news, bool chunk, JsonWriter& json) {
  chunk ? WriteDelta(news, json) : WriteMessage(news, json);
  json.Key("logprobs");
  request().params.logprobs ? WriteLogprobs(news, json) : void(json.Null());
  WriteEnd(news, json);
  if (request().return_token_ids) WriteTokenIds(news, json);
}

void ChatWriter::WriteBesideChoices(const ChoiceNews& news, bool chunk, JsonWriter& json) const {
  if (request().params.prompt_logprobs && !chunk) WritePromptLogprobs(news, json);
  if (request().return_token_ids && news.starts()) WritePromptIds(news.choice, json);
}

void ChatWriter::WriteToken(int32_t token, float logprob, JsonWriter& json) const {
  const std::string text = strings().Text(token);
  json.Key("token").String(request().tokens_as_token_ids ? Name(token) : text);
  json.Key("logprob").Float(FiniteLogprob(logprob)).Key("bytes").BeginArray();
  for (const char c : strings().Bytes(token, text)) json.Int(static_cast<unsigned char>(c));
  json.EndArray();
}

void ChatWriter::WriteLogprobs(const ChoiceNews& news, JsonWriter& json) const {
  const auto write = [&](const TokenLogprob& token) {
    json.BeginObject();
    WriteToken(token.token, token.logprob, json);
    json.Key("top_logprobs").BeginArray();
    for (const Candidate& candidate : token.top) {
      json.BeginObject();
      WriteToken(candidate.token, candidate.logprob, json);
      json.EndObject();
    }
    json.EndArray().EndObject();
  };
  json.BeginObject().Key("content").BeginArray();
  for (const AnswerEvent& event : news.events) {
    const auto* added = std::get_if<TextAdded>(&event);
    if (added == nullptr) continue;
    for (const TokenLogprob& token : added->logprobs) write(token);
  }
  json.EndArray().Key("refusal").Null().EndObject();
}

}  // namespace quire::server
