// Choices: what the engine has said about each choice of an answer, over the requests of all its prompts. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engine/request_handle.h"
#include "server/api/answer_events.h"

namespace quire::server {

class Choices {
 public:
  // `handles`, one a prompt, have as many choices each; the answer's are numbered prompt by prompt. `drop_output`: as
  // in AnswerEvents.
  Choices(std::vector<RequestHandle> handles, uint64_t num_prompt_tokens, size_t num_per_prompt, bool drop_output);

  size_t num_choices() const { return counts_.size(); }
  bool finished() const { return num_finished_ == counts_.size(); }
  // How the first choice has ended.
  FinishReason finish_reason() const { return counts_.front().finish_reason; }
  // So far. Each prompt counts once.
  Usage usage() const;

  // The next news, if there are any; its `choice` is the answer's.
  std::optional<OutputDelta> Take();
  void AbortAll() { handles_.clear(); }

 private:
  struct Counts {
    FinishReason finish_reason = FinishReason::kNone;
    Usage usage;
  };

  void Count(const OutputDelta& delta);

  const uint64_t num_prompt_tokens_;
  const size_t num_per_prompt_;
  const bool drop_output_;
  std::vector<RequestHandle> handles_;  // [prompts]
  size_t next_ = 0;
  std::vector<Counts> counts_;  // [choices]
  size_t num_finished_ = 0;
};

}  // namespace quire::server
