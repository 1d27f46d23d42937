#include "server/api/answer_events.h"

#include <utility>

namespace quire::server {

Usage UsageOf(const OutputDelta& delta, bool drop_output) {
  return {.prompt_tokens = delta.num_prompt_tokens,
          .cached_tokens = delta.num_cached_tokens,
          .completion_tokens = drop_output ? 0 : delta.num_output_tokens};
}

std::string ChoiceNews::text() const {
  std::string text;
  for (const AnswerEvent& event : events) {
    if (const auto* added = std::get_if<TextAdded>(&event)) text += added->text;
  }
  return text;
}

std::vector<int32_t> ChoiceNews::token_ids() const {
  std::vector<int32_t> ids;
  for (const AnswerEvent& event : events) {
    if (const auto* added = std::get_if<TextAdded>(&event)) {
      ids.insert(ids.end(), added->token_ids.begin(), added->token_ids.end());
    }
  }
  return ids;
}

ChoiceNews AnswerEvents::Take(OutputDelta&& delta) {
  ChoiceNews news{.choice = delta.choice, .events = {}, .usage = UsageOf(delta, drop_output_)};
  if (!started_[news.choice]) {
    started_[news.choice] = true;
    news.events.emplace_back(ChoiceStarted{std::move(delta.prompt_logprobs)});
  }
  if (!drop_output_ && !(delta.text.empty() && delta.token_ids.empty())) {
    news.events.emplace_back(TextAdded{std::move(delta.text), std::move(delta.token_ids), std::move(delta.logprobs)});
  }
  if (delta.finished()) {
    news.events.emplace_back(ChoiceFinished{drop_output_ ? FinishReason::kLength : delta.finish_reason,
                                            std::move(delta.stop_string), delta.stop_token_id, delta.score});
  }
  return news;
}

}  // namespace quire::server
