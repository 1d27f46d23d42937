// StreamOutput: what one stream of a request says: how its tokens become text, when a stop string ends it, and what of
// it the client has not been given yet. Engine thread only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/clock.h"
#include "engine/request_handle.h"
#include "engine/stop_matcher.h"
#include "sched/request.h"
#include "sched/step_plan.h"
#include "text/tokenizer.h"

namespace quire {

// With the alternatives of `token`, as many as were asked for.
TokenLogprob ToTokenLogprob(const TokenOutput& token, std::span<const Candidate> candidates, int32_t num_top);

class StreamOutput {
 public:
  // `tokenizer`: null for no text. `num_logprobs`: what the client sees.
  StreamOutput(const Request& request, const Tokenizer* tokenizer, std::optional<int32_t> num_logprobs);

  uint32_t num_tokens() const { return num_tokens_; }
  bool ended() const { return reason_ != FinishReason::kNone; }
  FinishReason reason() const { return reason_; }
  // REQUIRES: the tokens came with their log-probabilities, and there are some.
  double MeanLogprob() const { return logprob_sum_ / num_tokens_; }

  // True: the token's text completes a stop string, and what follows it is dropped. `ends_answer`: it is an end token,
  // whose text is no part of the answer unless stops are to be included.
  bool Append(const TokenOutput& token, std::span<const Candidate> candidates, bool ends_answer);
  void End(FinishReason reason, int32_t stop_token, std::optional<float> score);
  void Fail(FinishReason reason, const Error& error);

  bool has_pending() const { return has_pending_; }
  // What is new since the last call, without counts.
  OutputDelta Take();

  TimeUs last_token = -1;

 private:
  bool AppendText(int32_t token);

  std::optional<Detokenizer> detokenizer_;
  StopMatcher stops_;
  std::optional<int32_t> num_logprobs_;
  bool shows_end_token_;
  uint32_t min_tokens_ = 0;
  uint32_t num_tokens_ = 0;
  double logprob_sum_ = 0;
  OutputDelta pending_;
  bool has_pending_ = false;
  std::optional<std::string> stop_string_;
  FinishReason reason_ = FinishReason::kNone;
  std::string piece_;  // reused
};

}  // namespace quire
