#include "server/api/completion_writer.h"

#include <algorithm>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "server/api/answer_events.h"
#include "server/api/json_writer.h"
#include "server/api/token_strings.h"

namespace quire::server {

CompletionWriter::CompletionWriter(GenerationRequest request, bool echo, const TokenStrings& strings)
    : OpenAiWriter(std::move(request), strings, {.whole = "text_completion", .chunk = "text_completion"}),
      echo_(echo),
      text_offsets_(this->request().num_choices()) {}

void CompletionWriter::WriteChoice(const ChoiceNews& news, bool chunk, JsonWriter& json) {
  const bool echoes = echo_ && news.starts();
  json.Key("text").String(echoes ? request().PromptOf(news.choice).text + news.text() : news.text()).Key("logprobs");
  request().params.logprobs ? WriteLogprobs(news, json) : void(json.Null());
  WriteEnd(news, json);
  if (request().params.prompt_logprobs && !chunk) WritePromptLogprobs(news, json);
  if (!request().return_token_ids) return;
  WriteTokenIds(news, json);
  if (news.starts()) WritePromptIds(news.choice, json);
}

// Where the tokens of an echoed prompt begin in its text, which may lack what they spell: BOS, or the first space.
std::vector<size_t> CompletionWriter::OffsetsOf(const Prompt& prompt) const {
  std::vector<size_t> offsets;
  std::string_view rest = prompt.text;
  size_t offset = 0;
  for (const int32_t id : prompt.ids) {
    offsets.push_back(offset);
    const std::string bytes = strings().Bytes(id, strings().Text(id));
    std::string_view spelled = bytes;
    if (offset == 0 && spelled.starts_with(' ') && !rest.starts_with(' ')) spelled.remove_prefix(1);
    if (strings().IsSpecial(id) && !rest.starts_with(spelled)) continue;
    offset += CountCharacters(spelled);
    rest.remove_prefix(std::min(spelled.size(), rest.size()));
  }
  return offsets;
}

size_t CompletionWriter::CountShownCharacters(int32_t token) const {
  if (request().params.skip_special_tokens && strings().IsSpecial(token)) return 0;
  return CountCharacters(strings().Bytes(token, strings().Text(token)));
}

void CompletionWriter::WriteLogprobs(const ChoiceNews& news, JsonWriter& json) {
  size_t& text_offset = text_offsets_[news.choice];
  PromptLogprobs tokens;
  std::vector<int32_t> ids;
  std::vector<size_t> offsets;
  if (const auto* started = news.Find<ChoiceStarted>(); echo_ && started != nullptr) {
    const Prompt& prompt = request().PromptOf(news.choice);
    text_offset = CountCharacters(prompt.text);
    if (started->prompt_logprobs != nullptr && !started->prompt_logprobs->empty()) {
      tokens = *started->prompt_logprobs;
      ids = prompt.ids;
      offsets = OffsetsOf(prompt);
    }
  }
  for (const AnswerEvent& event : news.events) {
    const auto* added = std::get_if<TextAdded>(&event);
    if (added == nullptr) continue;
    for (const TokenLogprob& token : added->logprobs) {
      tokens.emplace_back(token);
      ids.push_back(token.token);
      offsets.push_back(text_offset);
      text_offset += CountShownCharacters(token.token);
    }
  }
  json.BeginObject().Key("tokens").BeginArray();
  for (const int32_t id : ids) json.String(Name(id));
  json.EndArray().Key("token_logprobs").BeginArray();
  for (const auto& token : tokens) token ? json.Float(FiniteLogprob(token->logprob)) : json.Null();
  json.EndArray().Key("top_logprobs").BeginArray();
  for (const auto& token : tokens) token ? WriteTopLogprobs(*token, json) : void(json.Null());
  json.EndArray().Key("text_offset").BeginArray();
  for (const size_t offset : offsets) json.Int(static_cast<int64_t>(offset));
  json.EndArray().EndObject();
}

// Different tokens may read the same, fragments of a character above all: of these the most likely one is kept.
void CompletionWriter::WriteTopLogprobs(const TokenLogprob& token, JsonWriter& json) const {
  std::set<std::string> written;
  const auto write = [&](int32_t id, float logprob) {
    const auto [name, is_new] = written.insert(Name(id));
    if (is_new) json.Key(*name).Float(FiniteLogprob(logprob));
  };
  json.BeginObject();
  for (const Candidate& candidate : token.top) write(candidate.token, candidate.logprob);  // the best first
  if (!Contains(token.top, token.token)) write(token.token, token.logprob);
  json.EndObject();
}

}  // namespace quire::server
