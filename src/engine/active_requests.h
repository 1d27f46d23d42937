// ActiveRequests: the requests that the engine has taken: what the scheduler says of them becomes the engine's numbers,
// and then what their clients read: so that whoever has read an answer finds it in the numbers. Engine thread only.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "engine/active_request.h"
#include "engine/inbox.h"
#include "engine/intake.h"
#include "engine/stats.h"
#include "sched/scheduler.h"
#include "text/tokenizer.h"

namespace quire {

class ActiveRequests {
 public:
  // All outlive it. `tokenizer`: null for no text.
  ActiveRequests(Scheduler& scheduler, Intake& intake, const Tokenizer* tokenizer)
      : scheduler_(scheduler), intake_(intake), tokenizer_(tokenizer) {}

  StatsSnapshot& stats() { return stats_; }
  bool contains(RequestId id) const { return active_.contains(id); }
  // What it is called outside; "" for an id that is unknown.
  std::string ExternalIdOf(RequestId id) const;

  void Admit(Submission& submission);
  // An id that is unknown has ended.
  void Cancel(RequestId id);
  // Of a step that was planned and applied at these times.
  void Take(std::span<const SchedulerEvent> events, TimeUs planned_at, TimeUs now);
  // Somebody has ended and has not been told.
  bool has_ended() const { return !ended_.empty(); }
  // Tells the clients what these events say, which have been taken, and who has ended.
  void Publish(std::span<const SchedulerEvent> events);
  // All of them end. They are told by Publish.
  void FailAll(const Error& reason);

 private:
  struct Failure {
    FinishReason reason = FinishReason::kError;
    Error error;
  };
  struct Ended {
    std::unique_ptr<ActiveRequest> request;
    std::optional<Failure> failure;
  };

  void Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now);
  void TakeTokens(const SchedulerEvent& event, TimeUs now, ActiveRequest& request);
  void EndStream(const SchedulerEvent& event, ActiveRequest& request, FinishReason reason, TimeUs now);
  void Fail(RequestId id, Failure failure);
  void Retire(RequestId id, std::optional<Failure> failure);

  Scheduler& scheduler_;
  Intake& intake_;
  const Tokenizer* const tokenizer_;
  std::unordered_map<RequestId, std::unique_ptr<ActiveRequest>> active_;
  std::deque<Ended> ended_;  // and not told
  StatsSnapshot stats_;
};

}  // namespace quire
