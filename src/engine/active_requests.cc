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
  auto created = std::make_unique<ActiveRequest>(submission, tokenizer_);
  stats_.max_tokens_param.Observe(*submission.request.params.max_tokens);
  stats_.n_param.Observe(submission.request.params.n);
  ActiveRequest& request = *active_.emplace(id, std::move(created)).first->second;
  if (const Status status = scheduler_.Add(std::move(submission.request)); !status.ok()) {
    request.Fail(FinishReason::kError, status.error(), stats_);
    Retire(id, request);
  }
}

void ActiveRequests::Cancel(RequestId id) {
  const auto found = active_.find(id);
  if (found == active_.end()) return;
  scheduler_.Abort(id);
  found->second->Fail(FinishReason::kAbort, Cancelled("the request was cancelled"), stats_);
  Retire(id, *found->second);
}

void ActiveRequests::Take(std::span<const SchedulerEvent> events, TimeUs planned_at, TimeUs now) {
  for (const SchedulerEvent& event : events) Handle(event, planned_at, now);
  for (const SchedulerEvent& event : events) {
    if (event.kind != SchedulerEvent::Kind::kTokens) continue;
    if (const auto found = active_.find(event.request); found != active_.end()) found->second->Publish(event.stream);
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
      request.Fail(FinishReason::kError, Internal("{}", event.error), stats_);
      Retire(event.request, request);
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
  if (last) Retire(event.request, request);
}

void ActiveRequests::FailAll(const Error& reason) {
  while (!active_.empty()) {
    const auto& [id, request] = *active_.begin();
    scheduler_.Abort(id);
    request->Fail(FinishReason::kError, reason, stats_);
    Retire(id, *request);
  }
}

// REQUIRES: the request has had its last push and the scheduler has forgotten it.
void ActiveRequests::Retire(RequestId id, ActiveRequest& ended) {
  LogDebug("request_retired id={} tokens={}", LogValue(ended.external_id()), ended.num_output_tokens());
  if (!ended.started()) intake_.LeaveQueue(ended.num_prompt_tokens());
  active_.erase(id);
  intake_.Leave();
}

}  // namespace quire
