#include "engine/active_requests.h"

#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace quire {

std::string ActiveRequests::ExternalIdOf(RequestId id) const {
  const auto found = active_.find(id);
  return found == active_.end() ? std::string() : found->second->external_id();
}

void ActiveRequests::Admit(Submission& submission) {
  const RequestId id = submission.request.id;
  active_.emplace(id, std::make_unique<ActiveRequest>(submission, tokenizer_));
  stats_.max_tokens_param.Observe(*submission.request.params.max_tokens);
  stats_.n_param.Observe(submission.request.params.n);
  const Status status = scheduler_.Add(std::move(submission.request));
  if (!status.ok()) Fail(id, {FinishReason::kError, status.error()});
}

void ActiveRequests::Cancel(RequestId id) {
  if (!contains(id)) return;
  scheduler_.Abort(id);
  Fail(id, {FinishReason::kAbort, Cancelled("the request was cancelled")});
}

void ActiveRequests::Take(std::span<const SchedulerEvent> events, TimeUs planned_at, TimeUs now) {
  for (const SchedulerEvent& event : events) Handle(event, planned_at, now);
}

void ActiveRequests::Publish(std::span<const SchedulerEvent> events) {
  for (const SchedulerEvent& event : events) {
    if (event.kind != SchedulerEvent::Kind::kTokens && event.kind != SchedulerEvent::Kind::kFinished) continue;
    if (const auto found = active_.find(event.request); found != active_.end()) found->second->Publish(event.stream);
  }
  for (; !ended_.empty(); ended_.pop_front()) {
    ActiveRequest& request = *ended_.front().request;
    if (const std::optional<Failure>& failure = ended_.front().failure) {
      request.Fail(failure->reason, failure->error);
    } else {
      request.PublishEnd();
    }
    intake_.Leave();
  }
}

void ActiveRequests::Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now) {
  const auto found = active_.find(event.request);
  if (found == active_.end()) return;  // ended by stop strings earlier in this step
  ActiveRequest& request = *found->second;
  switch (event.kind) {
    case SchedulerEvent::Kind::kAdmitted:
      if (!request.started()) intake_.LeaveQueue(request.num_prompt_tokens());
      request.OnAdmitted(event.num_cached_tokens, planned_at, stats_);
      break;
    case SchedulerEvent::Kind::kPreempted:
      LogInfo("request_preempted id={} mode={} reason={}", LogValue(request.external_id()),
              event.preemption == PreemptionMode::kSwap ? "swap" : "recompute", LogValue(event.error));
      break;
    case SchedulerEvent::Kind::kPromptLogprobs:
      request.OnPromptLogprobs(event.tokens, event.candidates);
      break;
    case SchedulerEvent::Kind::kTokens:
      if (!request.HasEnded(event.stream)) TakeTokens(event, now, request);
      break;
    case SchedulerEvent::Kind::kFinished:
      if (!request.HasEnded(event.stream)) EndStream(event, request, event.reason, now);
      QUIRE_CHECK(!event.last || !active_.contains(event.request), "request {}: a stream has not ended",
                  static_cast<uint64_t>(event.request));
      break;
    case SchedulerEvent::Kind::kFailed:
      LogError("request_failed id={} reason={}", LogValue(request.external_id()), LogValue(event.error));
      Fail(event.request, {FinishReason::kError, Internal("{}", event.error)});
      break;
  }
}

void ActiveRequests::TakeTokens(const SchedulerEvent& event, TimeUs now, ActiveRequest& request) {
  if (!request.OnTokens(event, now, stats_)) return;
  scheduler_.FinishStream(event.request, event.stream, FinishReason::kStop);
  EndStream(event, request, FinishReason::kStop, now);
}

void ActiveRequests::EndStream(const SchedulerEvent& event, ActiveRequest& request, FinishReason reason, TimeUs now) {
  const bool last = request.EndStream(
      event.stream, {.reason = reason, .stop_token = event.stop_token, .score = event.score}, now, stats_);
  if (last) Retire(event.request, std::nullopt);
}

// One that has ended and could not be told is told this instead.
void ActiveRequests::FailAll(const Error& reason) {
  for (Ended& ended : ended_) {
    if (!ended.failure) ended.failure = Failure{FinishReason::kError, reason};
  }
  while (!active_.empty()) {
    const RequestId id = active_.begin()->first;
    scheduler_.Abort(id);
    Fail(id, {FinishReason::kError, reason});
  }
}

void ActiveRequests::Fail(RequestId id, Failure failure) {
  ++stats_.finished[failure.reason];
  Retire(id, std::move(failure));
}

// REQUIRES: the scheduler has forgotten the request.
void ActiveRequests::Retire(RequestId id, std::optional<Failure> failure) {
  const auto found = active_.find(id);
  ActiveRequest& request = *found->second;
  LogDebug("request_retired id={} tokens={}", LogValue(request.external_id()), request.num_output_tokens());
  if (!request.started()) intake_.LeaveQueue(request.num_prompt_tokens());
  ended_.push_back({std::move(found->second), std::move(failure)});
  active_.erase(found);
}

}  // namespace quire
