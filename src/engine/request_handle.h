// RequestHandle: the client's end of a request: a bounded queue of values, never a pointer to live state. A request has
// n choices, which are told apart by OutputDelta::choice and end one by one. When the client is slow, the deltas of a
// choice merge; the engine never waits. Destroying the handle aborts what of the request has not ended.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quire/result.h"
#include "sched/request.h"
#include "sched/step_plan.h"

namespace quire {

// One generated or prompt token with what was asked of it.
struct TokenLogprob {
  int32_t token = 0;
  float logprob = 0;
  uint32_t rank = 0;
  std::vector<Candidate> top;  // best first, as many as asked
};

// One entry per prompt token; the first one is empty.
using PromptLogprobs = std::vector<std::optional<TokenLogprob>>;

// What happened to one choice since its last delta. Deltas of a choice concatenate: text to text, ids to ids.
struct OutputDelta {
  uint32_t choice = 0;  // 0 to n - 1
  std::string text;     // whole characters only
  std::vector<int32_t> token_ids;
  std::vector<TokenLogprob> logprobs;                     // one per token id, if logprobs were asked
  std::shared_ptr<const PromptLogprobs> prompt_logprobs;  // if asked: of the request's only prompt, in every delta
  FinishReason finish_reason = FinishReason::kNone;
  // The stop string or stop token that ended it; empty after EOS, length or abort.
  std::optional<std::string> stop_string;
  std::optional<int32_t> stop_token_id;
  std::optional<float> score;  // of a hypothesis of a beam search that has ended: see SamplingParams::length_penalty
  std::optional<Error> error;  // with finish_reason kError (or kAbort when the engine is shutting down)
  uint32_t num_prompt_tokens = 0;
  uint32_t num_cached_tokens = 0;  // of the prompt, from the prefix cache
  uint32_t num_output_tokens = 0;  // so far

  bool finished() const { return finish_reason != FinishReason::kNone; }
};

class OutputQueue;  // engine/output_queue.h: shared by the handle and the engine

class RequestHandle {
 public:
  RequestHandle() = default;
  RequestHandle(RequestId id, std::shared_ptr<OutputQueue> queue, std::function<void(RequestId)> abort);
  ~RequestHandle();  // aborts, if not finished
  RequestHandle(RequestHandle&&) noexcept;
  RequestHandle& operator=(RequestHandle&&) noexcept;

  RequestId id() const { return id_; }
  // All that is new of one choice, in the order in which choices got something new; empty if nothing is new (or, for
  // Wait, if the time is over).
  std::optional<OutputDelta> TryNext();
  std::optional<OutputDelta> Wait(std::chrono::milliseconds timeout);
  // Called (from the engine thread, amid a step) when TryNext has something after having been empty; set once, called
  // at once if there is something already. Must be quick, must not throw and must not call the engine: post to an
  // executor.
  void SetNotify(std::function<void()> notify);
  void Abort();

 private:
  RequestId id_ = {};
  std::shared_ptr<OutputQueue> queue_;
  std::function<void(RequestId)> abort_;
};

}  // namespace quire
