// ActiveRequest: what the engine keeps of a request that it has taken: what its streams say, which of that its client
// gets as which choice, and when things happened. Engine thread only.
//
// Stream s is choice s, and is published as it comes; but where best_of streams compete for n places, all are gathered
// until the last one ends, and the best by mean log-probability become choices 0 to n - 1, the best first.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/inbox.h"
#include "engine/output_queue.h"
#include "engine/stats.h"
#include "engine/stream_output.h"
#include "sched/request.h"
#include "sched/scheduler.h"
#include "text/tokenizer.h"

namespace quire {

class ActiveRequest {
 public:
  struct StreamEnd {
    FinishReason reason = FinishReason::kNone;
    int32_t stop_token = -1;
    float score = 0;  // of a beam search
  };

  ActiveRequest(const Submission& submission, const Tokenizer* tokenizer);

  const std::string& external_id() const { return external_id_; }
  uint32_t num_prompt_tokens() const { return num_prompt_tokens_; }
  // Over all streams.
  uint32_t num_output_tokens() const;
  bool started() const { return first_scheduled_ >= 0; }
  bool HasEnded(uint32_t stream) const { return streams_[stream].ended(); }

  void OnAdmitted(uint32_t num_cached_tokens, TimeUs now, StatsSnapshot& stats);
  void OnPromptLogprobs(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates);
  // A kTokens event. Returns true when a stop string ends the stream: what came after it is dropped, and EndStream must
  // follow.
  // REQUIRES: the stream has not ended.
  bool OnTokens(const SchedulerEvent& event, TimeUs now, StatsSnapshot& stats);
  // Returns true when it was the last stream. REQUIRES: the stream has not ended.
  bool EndStream(uint32_t stream, const StreamEnd& end, TimeUs now, StatsSnapshot& stats);

  // What the client reads. Pushes what the stream has said since, if anything of it may be shown yet.
  void Publish(uint32_t stream);
  // All that is left. REQUIRES: the last stream has ended.
  void PublishEnd();
  // Ends every choice whose end the client has not been told, with the error.
  void Fail(FinishReason reason, const Error& error);

 private:
  void Push(StreamOutput& stream, uint32_t choice);
  std::vector<StreamOutput*> BestFirst();
  void Complete(TimeUs now, StatsSnapshot& stats);

  std::shared_ptr<OutputQueue> queue_;
  std::string external_id_;
  std::vector<StreamOutput> streams_;
  std::vector<bool> told_end_;  // [choices]
  uint32_t num_choices_ = 1;
  uint32_t num_ended_ = 0;
  bool gathers_ = false;  // nothing is pushed before the last stream ends
  bool beams_ = false;
  std::optional<int32_t> num_prompt_logprobs_;
  PromptLogprobs scores_;  // of the prompt so far
  std::shared_ptr<const PromptLogprobs> prompt_logprobs_;
  uint32_t num_prompt_tokens_ = 0;
  uint32_t num_cached_tokens_ = 0;

  TimeUs arrival_ = 0;
  TimeUs first_scheduled_ = -1;
  TimeUs first_token_ = -1;
  TimeUs last_token_ = -1;
};

}  // namespace quire
