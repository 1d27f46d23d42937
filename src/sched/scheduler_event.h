// SchedulerEvent: what happened to a request. EventLog: the events of a step, with what they point into.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "sched/ids.h"
#include "sched/request.h"
#include "sched/scheduler_config.h"
#include "sched/sequence.h"
#include "sched/step_plan.h"

namespace quire {

// The request may have been aborted since. The spans point into the result that was applied, or into the log. A request
// of several streams has kTokens and kFinished events for each: streams 0 to best_of - 1 as they are sampled; of a beam
// search streams 0 to n - 1, the best hypothesis first, all tokens of each at once when the search ends.
struct SchedulerEvent {
  enum class Kind : uint8_t {
    kAdmitted,        // it runs: num_cached_tokens of it were in the prefix cache; or it runs again
    kPreempted,       // it waits again; what it has said stands. preemption and `error` (why) are set
    kPromptLogprobs,  // tokens: scores of the prompt's tokens from `position` on
    kTokens,          // tokens: generated for `stream`, from `position` on
    kFinished,        // `stream`: reason, stop_token; follows its last kTokens. With `last`, the scheduler has
                      // forgotten the request
    kFailed,          // the whole request: error, at `position`; the scheduler has forgotten it
  };
  Kind kind = Kind::kAdmitted;
  RequestId request = {};
  uint32_t stream = 0;
  uint32_t num_cached_tokens = 0;
  uint32_t position = 0;  // in prompt + output
  std::span<const TokenOutput> tokens;
  bool ends_by_token = false;             // kTokens: the last of them is an end token, and kFinished follows
  std::span<const Candidate> candidates;  // what TokenOutput::first_candidate counts in
  FinishReason reason = FinishReason::kNone;
  bool last = false;
  int32_t stop_token = -1;  // the member of stop_token_ids that ended it, or -1
  float score = 0;          // kFinished of a beam search: the hypothesis', with its length penalty
  PreemptionMode preemption = PreemptionMode::kRecompute;  // kRecompute or kSwap
  std::string_view error;                                  // static
};

class EventLog {
 public:
  SchedulerEvent& Emit(SchedulerEvent::Kind kind, const SequenceGroup& group) {
    return events_.emplace_back(SchedulerEvent{.kind = kind, .request = group.request.id});
  }
  // Null: there is none. Valid until the next Emit.
  SchedulerEvent* last() { return events_.empty() ? nullptr : &events_.back(); }
  // Events point into the group, which is otherwise forgotten.
  void Keep(std::unique_ptr<SequenceGroup> group) { kept_.push_back(std::move(group)); }

  // Valid until ForgetDelivered.
  std::span<const SchedulerEvent> Deliver() {
    delivered_ = true;
    return events_;
  }
  void ForgetDelivered() {
    if (!delivered_) return;
    delivered_ = false;
    events_.clear();
    kept_.clear();
  }

 private:
  std::vector<SchedulerEvent> events_;
  std::vector<std::unique_ptr<SequenceGroup>> kept_;
  bool delivered_ = false;
};

}  // namespace quire
