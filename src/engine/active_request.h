// ActiveRequest: what the engine keeps of a request that runs: how its tokens become text, when it ends by a stop
// string, and when things happened. Engine thread only.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/output_queue.h"
#include "engine/stats.h"
#include "engine/stop_matcher.h"
#include "sched/request.h"
#include "sched/step_plan.h"
#include "text/tokenizer.h"

namespace quire {

class ActiveRequest {
 public:
  ActiveRequest(const Request& request, const Tokenizer* tokenizer, std::shared_ptr<OutputQueue> queue);

  const std::string& external_id() const { return external_id_; }
  uint32_t num_output_tokens() const { return num_output_tokens_; }

  void OnAdmitted(uint32_t num_cached_tokens, TimeUs now, StatsSnapshot& stats);
  void OnPromptLogprobs(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates);
  // Returns true when a stop string ends the request: what came after it is dropped, and Finish must follow.
  bool OnTokens(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates, TimeUs now,
                StatsSnapshot& stats);
  // Pushes what is pending, if anything.
  void Publish();
  // The last push.
  void Finish(FinishReason reason, int32_t stop_token, TimeUs now, StatsSnapshot& stats);
  void Fail(FinishReason reason, Error error, StatsSnapshot& stats);

 private:
  bool AppendText(int32_t token);
  TokenLogprob ToLogprob(const TokenOutput& token, std::span<const Candidate> candidates, int32_t num_top) const;
  void FillCounts();
  void CountFinished(FinishReason reason, StatsSnapshot& stats) const;

  std::shared_ptr<OutputQueue> queue_;
  std::string external_id_;
  std::optional<Detokenizer> detokenizer_;  // absent: no text is asked for
  StopMatcher stops_;
  std::optional<int32_t> num_logprobs_;
  std::optional<int32_t> num_prompt_logprobs_;
  uint32_t min_tokens_ = 0;
  uint32_t num_prompt_tokens_ = 0;
  uint32_t num_cached_tokens_ = 0;
  uint32_t num_output_tokens_ = 0;

  OutputDelta pending_;
  bool has_pending_ = false;
  bool prompt_scored_ = false;
  std::string piece_;  // reused

  TimeUs arrival_ = 0;
  TimeUs first_scheduled_ = -1;
  TimeUs first_token_ = -1;
  TimeUs last_token_ = -1;
};

}  // namespace quire
