#include "engine/intake.h"

#include <new>
#include <utility>

#include "base/error.h"
#include "engine/admission.h"

namespace quire {

Result<Request> Intake::Prove(Request request) {
  QUIRE_RETURN_IF_ERROR(CheckOpen());
  QUIRE_RETURN_IF_ERROR(CompleteRequest(options_, num_pinned_blocks_, request));
  const uint64_t id = next_id_.fetch_add(1);
  request.id = static_cast<RequestId>(id);
  if (!request.params.seed) request.params.seed = NewSeed(options_, id);
  request.arrival = clock_.NowUs();
  return request;
}

Result<RequestHandle> Intake::Enqueue(Request request) {
  const RequestId id = request.id;
  const size_t num_prompt_tokens = request.prompt.size();
  SamplingParams& params = request.params;
  const std::optional<int32_t> shown_logprobs = params.logprobs;
  const bool ranks = !params.use_beam_search && params.num_streams() > params.n;
  if (ranks && !params.logprobs) params.logprobs = 0;
  auto queue = std::make_shared<OutputQueue>(static_cast<uint32_t>(params.n));
  QUIRE_RETURN_IF_ERROR(TakePlace(num_prompt_tokens));
  bool added = false;
  try {
    added = inbox_->Add({std::move(request), shown_logprobs, queue});
  } catch (const std::bad_alloc&) {
    GiveUpPlace(num_prompt_tokens);
    throw;
  }
  if (!added) {
    GiveUpPlace(num_prompt_tokens);
    return failure().value_or(Unavailable("the server has stopped"));
  }
  return RequestHandle(id, std::move(queue), [inbox = inbox_](RequestId aborted) { inbox->Abort(aborted); });
}

// Counts a request in, if the queue has room for it. Those that have not started may all find a seat, unless somebody
// waits for one, or for memory.
Status Intake::TakePlace(size_t num_prompt_tokens) {
  const size_t most_queued = options_.max_queued_requests;
  const size_t most_open = most_queued + options_.scheduler.max_num_seqs;
  const size_t num_before = num_open_.fetch_add(1);
  const size_t num_queued_before = num_queued_.fetch_add(1);
  const uint64_t before = num_queued_tokens_.fetch_add(num_prompt_tokens);
  if (num_before >= most_open || (lacks_room_ && num_queued_before >= most_queued)) {
    GiveUpPlace(num_prompt_tokens);
    return ResourceExhausted("{} requests wait already, and at most {} may: try again later", num_queued_before,
                             most_queued);
  }
  const uint64_t most_tokens = options_.max_queued_tokens;
  if (most_tokens > 0 && before > 0 && before + num_prompt_tokens > most_tokens) {
    GiveUpPlace(num_prompt_tokens);
    return ResourceExhausted("prompts of {} tokens wait already, and at most {} may: try again later", before,
                             most_tokens);
  }
  return {};
}

void Intake::GiveUpPlace(size_t num_prompt_tokens) {
  LeaveQueue(num_prompt_tokens);
  Leave();
}

void Intake::LeaveQueue(size_t num_prompt_tokens) {
  num_queued_.fetch_sub(1);
  num_queued_tokens_.fetch_sub(num_prompt_tokens);
}

void Intake::SetRoom(bool lacks_room, uint32_t num_pinned_blocks) {
  lacks_room_ = lacks_room;
  num_pinned_blocks_ = num_pinned_blocks;
}

Status Intake::CheckOpen() const {
  if (const std::optional<Error> reason = failure()) return *reason;
  if (draining_) return Unavailable("the server is shutting down");
  return {};
}

std::optional<Error> Intake::failure() const {
  const std::lock_guard lock(failure_mutex_);
  return failure_;
}

bool Intake::SetFailure(const Error& reason) {
  const std::lock_guard lock(failure_mutex_);
  if (failure_) return false;
  failure_ = Error{ErrorCode::kUnavailable, reason.message};
  return true;
}

}  // namespace quire
