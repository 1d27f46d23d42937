// What happens to an answer, whatever protocol tells it: the events of its choices, each in its order, and what the
// answer has cost. Made of what the engine says (engine/request_handle.h). One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/request_handle.h"

namespace quire::server {

struct ChoiceStarted {
  std::shared_ptr<const PromptLogprobs> prompt_logprobs;  // if asked
};

struct TextAdded {
  std::string text;  // whole characters; perhaps none yet of what the tokens spell
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;  // one per token id, if asked
};

struct ChoiceFinished {
  FinishReason reason = FinishReason::kNone;
  // As in OutputDelta.
  std::optional<std::string> stop_string;
  std::optional<int32_t> stop_token_id;
  std::optional<float> score;
};

// Of each choice: one ChoiceStarted, any number of TextAdded, one ChoiceFinished.
using AnswerEvent = std::variant<ChoiceStarted, TextAdded, ChoiceFinished>;

struct Usage {
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of these, from the prefix cache
  uint64_t completion_tokens = 0;
};

// Of one choice, so far. `drop_output`: as in AnswerEvents.
Usage UsageOf(const OutputDelta& delta, bool drop_output);

// What is new of one choice.
struct ChoiceNews {
  size_t choice = 0;
  std::vector<AnswerEvent> events;
  Usage usage;  // of this choice alone, so far

  // Null if no event is of that kind.
  template <typename Event>
  const Event* Find() const {
    for (const AnswerEvent& event : events) {
      if (const Event* found = std::get_if<Event>(&event)) return found;
    }
    return nullptr;
  }
  bool starts() const { return Find<ChoiceStarted>() != nullptr; }
  std::string text() const;
  std::vector<int32_t> token_ids() const;
};

// Turns the engine's deltas into events.
class AnswerEvents {
 public:
  // `drop_output`: nothing that is generated is a part of the answer, which ends for its length.
  AnswerEvents(size_t num_choices, bool drop_output) : started_(num_choices), drop_output_(drop_output) {}

  // REQUIRES: a delta without an error, whose `choice` is the answer's.
  ChoiceNews Take(OutputDelta&& delta);

 private:
  std::vector<bool> started_;  // [choices]
  const bool drop_output_;
};

}  // namespace quire::server
