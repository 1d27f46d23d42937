#include "server/answer_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <string_view>

#include "server/generation_request.h"
#include "server/json_writer.h"
#include "server/token_strings.h"

namespace quire::server {
namespace {

constexpr float kLowestLogprob = -9999.0F;  // what JSON gets for minus infinity

float Finite(float logprob) { return std::max(logprob, kLowestLogprob); }

void WriteIds(std::span<const int32_t> ids, JsonWriter& json) {
  json.BeginArray();
  for (const int32_t id : ids) json.Int(id);
  json.EndArray();
}

bool Contains(std::span<const Candidate> candidates, int32_t token) {
  return std::ranges::any_of(candidates, [&](const Candidate& candidate) { return candidate.token == token; });
}

}  // namespace

Usage UsageOf(const GenerationRequest& request, std::span<const OutputDelta> choices) {
  Usage usage;
  for (size_t choice = 0; choice < choices.size(); ++choice) {
    if (!request.drop_output) usage.completion_tokens += choices[choice].num_output_tokens;
    if (choice % request.num_choices_per_prompt() != 0) continue;
    usage.prompt_tokens += request.PromptOf(choice).ids.size();
    usage.cached_tokens += choices[choice].num_cached_tokens;
  }
  return usage;
}

AnswerFormat::AnswerFormat(const GenerationRequest& request, const TokenStrings& strings)
    : request_(request), strings_(strings), states_(request.num_choices()) {}

std::string AnswerFormat::Name(int32_t token) const {
  return request_.tokens_as_token_ids ? fmt::format("token_id:{}", token) : strings_.Text(token);
}

void AnswerFormat::BeginAnswer(bool chunk, JsonWriter& json) const {
  json.BeginObject().Key("id").String(request_.id);
  const char* chat_object = chunk ? "chat.completion.chunk" : "chat.completion";
  json.Key("object").String(request_.chat ? chat_object : "text_completion");
  json.Key("created").Int(request_.created).Key("model").String(request_.model);
}

std::string AnswerFormat::Whole(std::span<const OutputDelta> choices) {
  std::string out;
  JsonWriter json(out);
  BeginAnswer(false, json);
  json.Key("choices").BeginArray();
  for (size_t choice = 0; choice < choices.size(); ++choice) {
    const OutputDelta& delta = choices[choice];
    json.BeginObject().Key("index").Int(static_cast<int64_t>(choice));
    if (request_.chat) {
      json.Key("message").BeginObject().Key("role").String("assistant").Key("content").String(delta.text);
      json.Key("refusal").Null().EndObject();
      WriteChatChoice(choice, delta, json);
    } else {
      WriteCompletionChoice(choice, delta, json);
    }
    json.EndObject();
  }
  json.EndArray().Key("usage");
  WriteUsage(UsageOf(request_, choices), json);
  if (request_.chat) {
    if (request_.params.prompt_logprobs) WritePromptLogprobs(choices.front(), json);
    if (request_.return_token_ids) WritePromptIds(0, json);
  }
  json.EndObject();
  return out;
}

void AnswerFormat::AppendChunk(size_t choice, const OutputDelta& delta, std::string& out) {
  const bool first = !states_[choice].begun;
  out += "data: ";
  JsonWriter json(out);
  BeginAnswer(true, json);
  json.Key("choices").BeginArray();
  WriteChunkChoice(choice, delta, json);
  json.EndArray();
  if (request_.chat && first && request_.return_token_ids) WritePromptIds(0, json);
  if (request_.include_usage) {
    json.Key("usage");
    if (request_.continuous_usage) {
      WriteUsage({.prompt_tokens = delta.num_prompt_tokens,
                  .cached_tokens = delta.num_cached_tokens,
                  .completion_tokens = delta.num_output_tokens},
                 json);
    } else {
      json.Null();
    }
  }
  json.EndObject();
  out += "\n\n";
  states_[choice].begun = true;
}

void AnswerFormat::WriteChunkChoice(size_t choice, const OutputDelta& delta, JsonWriter& json) {
  json.BeginObject().Key("index").Int(static_cast<int64_t>(choice));
  if (request_.chat) {
    json.Key("delta").BeginObject();
    if (!states_[choice].begun) json.Key("role").String("assistant");
    if (!states_[choice].begun || !delta.text.empty()) json.Key("content").String(delta.text);
    json.EndObject();
    WriteChatChoice(choice, delta, json);
  } else {
    WriteCompletionChoice(choice, delta, json);
  }
  json.EndObject();
}

void AnswerFormat::WriteCompletionChoice(size_t choice, const OutputDelta& delta, JsonWriter& json) {
  const bool first = !states_[choice].begun;
  const bool echoes = request_.echo && first;
  std::string text = echoes ? request_.PromptOf(choice).text : std::string();
  if (!request_.drop_output) text += delta.text;
  json.Key("text").String(text).Key("logprobs");
  request_.params.logprobs ? WriteCompletionLogprobs(choice, delta, json) : void(json.Null());
  WriteEnd(delta, json);
  if (request_.params.prompt_logprobs && !request_.stream) WritePromptLogprobs(delta, json);
  if (!request_.return_token_ids) return;
  WriteTokenIds(delta, json);
  if (first) WritePromptIds(choice, json);
}

void AnswerFormat::WriteChatChoice(size_t, const OutputDelta& delta, JsonWriter& json) {
  json.Key("logprobs");
  request_.params.logprobs ? WriteChatLogprobs(delta, json) : void(json.Null());
  WriteEnd(delta, json);
  if (request_.return_token_ids) WriteTokenIds(delta, json);
}

void AnswerFormat::WriteEnd(const OutputDelta& delta, JsonWriter& json) const {
  if (delta.score) json.Key("score").Float(Finite(*delta.score));
  json.Key("finish_reason");
  if (!delta.finished()) {
    json.Null().Key("stop_reason").Null();
    return;
  }
  json.String(request_.drop_output ? "length" : FinishReasonName(delta.finish_reason)).Key("stop_reason");
  if (delta.stop_string) {
    json.String(*delta.stop_string);
  } else if (delta.stop_token_id) {
    json.Int(*delta.stop_token_id);
  } else {
    json.Null();
  }
}

void AnswerFormat::WriteTokenIds(const OutputDelta& delta, JsonWriter& json) const {
  json.Key("token_ids");
  WriteIds(request_.drop_output ? std::span<const int32_t>() : std::span(delta.token_ids), json);
}

void AnswerFormat::WritePromptIds(size_t choice, JsonWriter& json) const {
  json.Key("prompt_token_ids");
  WriteIds(request_.PromptOf(choice).ids, json);
}

// Where the tokens of an echoed prompt begin in its text, which may lack what they spell: BOS, or the first space.
std::vector<size_t> AnswerFormat::OffsetsOf(const Prompt& prompt) const {
  std::vector<size_t> offsets;
  std::string_view rest = prompt.text;
  size_t offset = 0;
  for (const int32_t id : prompt.ids) {
    offsets.push_back(offset);
    const std::string bytes = strings_.Bytes(id, strings_.Text(id));
    std::string_view spelled = bytes;
    if (offset == 0 && spelled.starts_with(' ') && !rest.starts_with(' ')) spelled.remove_prefix(1);
    if (strings_.IsSpecial(id) && !rest.starts_with(spelled)) continue;
    offset += CountCharacters(spelled);
    rest.remove_prefix(std::min(spelled.size(), rest.size()));
  }
  return offsets;
}

size_t AnswerFormat::CountShownCharacters(int32_t token) const {
  if (request_.params.skip_special_tokens && strings_.IsSpecial(token)) return 0;
  return CountCharacters(strings_.Bytes(token, strings_.Text(token)));
}

void AnswerFormat::WriteCompletionLogprobs(size_t choice, const OutputDelta& delta, JsonWriter& json) {
  ChoiceState& state = states_[choice];
  PromptLogprobs tokens;
  std::vector<int32_t> ids;
  std::vector<size_t> offsets;
  if (request_.echo && !state.begun) {
    const Prompt& prompt = request_.PromptOf(choice);
    state.text_offset = CountCharacters(prompt.text);
    if (delta.prompt_logprobs != nullptr && !delta.prompt_logprobs->empty()) {
      tokens = *delta.prompt_logprobs;
      ids = prompt.ids;
      offsets = OffsetsOf(prompt);
    }
  }
  if (!request_.drop_output) {
    for (const TokenLogprob& token : delta.logprobs) {
      tokens.emplace_back(token);
      ids.push_back(token.token);
      offsets.push_back(state.text_offset);
      state.text_offset += CountShownCharacters(token.token);
    }
  }
  json.BeginObject().Key("tokens").BeginArray();
  for (const int32_t id : ids) json.String(Name(id));
  json.EndArray().Key("token_logprobs").BeginArray();
  for (const auto& token : tokens) token ? json.Float(Finite(token->logprob)) : json.Null();
  json.EndArray().Key("top_logprobs").BeginArray();
  for (const auto& token : tokens) {
    if (!token) {
      json.Null();
      continue;
    }
    WriteTopLogprobs(*token, json);
  }
  json.EndArray().Key("text_offset").BeginArray();
  for (const size_t offset : offsets) json.Int(static_cast<int64_t>(offset));
  json.EndArray().EndObject();
}

// Different tokens may read the same, fragments of a character above all: of these the most likely one is kept.
void AnswerFormat::WriteTopLogprobs(const TokenLogprob& token, JsonWriter& json) const {
  std::set<std::string> written;
  const auto write = [&](int32_t id, float logprob) {
    const auto [name, is_new] = written.insert(Name(id));
    if (is_new) json.Key(*name).Float(Finite(logprob));
  };
  json.BeginObject();
  for (const Candidate& candidate : token.top) write(candidate.token, candidate.logprob);  // the best first
  if (!Contains(token.top, token.token)) write(token.token, token.logprob);
  json.EndObject();
}

void AnswerFormat::WriteChatToken(int32_t token, float logprob, JsonWriter& json) const {
  const std::string text = strings_.Text(token);
  json.Key("token").String(request_.tokens_as_token_ids ? Name(token) : text);
  json.Key("logprob").Float(Finite(logprob)).Key("bytes").BeginArray();
  for (const char c : strings_.Bytes(token, text)) json.Int(static_cast<unsigned char>(c));
  json.EndArray();
}

void AnswerFormat::WriteChatLogprobs(const OutputDelta& delta, JsonWriter& json) const {
  json.BeginObject().Key("content").BeginArray();
  for (const TokenLogprob& token : delta.logprobs) {
    json.BeginObject();
    WriteChatToken(token.token, token.logprob, json);
    json.Key("top_logprobs").BeginArray();
    for (const Candidate& candidate : token.top) {
      json.BeginObject();
      WriteChatToken(candidate.token, candidate.logprob, json);
      json.EndObject();
    }
    json.EndArray().EndObject();
  }
  json.EndArray().Key("refusal").Null().EndObject();
}

// vLLM's field: per prompt token an object from token id to {logprob, rank, decoded_token}; null for the first.
void AnswerFormat::WritePromptLogprobs(const OutputDelta& delta, JsonWriter& json) const {
  const auto write = [&](int32_t token, float logprob, int64_t rank) {
    json.Key(fmt::format("{}", token)).BeginObject().Key("logprob").Float(Finite(logprob));
    json.Key("rank").Int(rank).Key("decoded_token").String(strings_.Text(token)).EndObject();
  };
  json.Key("prompt_logprobs").BeginArray();
  if (delta.prompt_logprobs == nullptr) return void(json.EndArray());
  for (const std::optional<TokenLogprob>& token : *delta.prompt_logprobs) {
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

void AnswerFormat::AppendUsageChunk(const Usage& usage, std::string& out) {
  out += "data: ";
  JsonWriter json(out);
  BeginAnswer(true, json);
  json.Key("choices").BeginArray().EndArray().Key("usage");
  WriteUsage(usage, json);
  json.EndObject();
  out += "\n\n";
}

void AnswerFormat::WriteUsage(const Usage& usage, JsonWriter& json) const {
  json.BeginObject().Key("prompt_tokens").Int(static_cast<int64_t>(usage.prompt_tokens));
  json.Key("completion_tokens").Int(static_cast<int64_t>(usage.completion_tokens));
  json.Key("total_tokens").Int(static_cast<int64_t>(usage.prompt_tokens + usage.completion_tokens));
  json.Key("prompt_tokens_details").BeginObject().Key("cached_tokens").Int(static_cast<int64_t>(usage.cached_tokens));
  json.EndObject().EndObject();
}

}  // namespace quire::server
