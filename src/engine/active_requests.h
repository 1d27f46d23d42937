// ActiveRequests: the requests that the engine has taken: what the scheduler says of them becomes what their clients
// read, and the engine's numbers. Engine thread only.
#pragma once

#include <memory>
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
  // Ends all of them.
  void FailAll(const Error& reason);

 private:
  using Map = std::unordered_map<RequestId, std::unique_ptr<ActiveRequest>>;

  void Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now);
  void TakeTokens(const SchedulerEvent& event, TimeUs now, ActiveRequest& request);
  void EndStream(const SchedulerEvent& event, ActiveRequest& request, FinishReason reason, TimeUs now);
  void Retire(RequestId id, ActiveRequest& request);

  Scheduler& scheduler_;
  Intake& intake_;
  const Tokenizer* const tokenizer_;
  Map active_;
  StatsSnapshot stats_;
};

}  // namespace quire
