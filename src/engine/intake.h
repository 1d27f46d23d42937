// Intake: the engine's gate: what may come in, how much of it may wait, and why nothing may any more. Any thread; the
// engine's own thread says what of it has started or gone.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "engine/engine_options.h"
#include "engine/inbox.h"
#include "engine/request_handle.h"
#include "quire/result.h"
#include "sched/request.h"

namespace quire {

class Intake {
 public:
  // Both outlive it.
  Intake(const EngineOptions& options, const Clock& clock) : options_(options), clock_(clock) {}

  // The request as the scheduler wants it, proved to fit, with an id. Refuses what is wrong, and everything once the
  // gate is shut.
  Result<Request> Prove(Request request);
  // Refuses what the queue has no room for. REQUIRES: it is proved.
  Result<RequestHandle> Enqueue(Request request);
  void Abort(RequestId id) { inbox_->Abort(id); }

  // kUnavailable with the reason once the engine has failed, is stopped, or drains.
  Status CheckOpen() const;
  std::optional<Error> failure() const;
  // Returns whether there was none before.
  bool SetFailure(const Error& reason);
  void StartDraining() { draining_ = true; }

  size_t num_open() const { return num_open_; }  // submitted and not yet ended
  uint64_t num_queued_tokens() const { return num_queued_tokens_; }

  Inbox& inbox() { return *inbox_; }

  // For the engine's thread.
  // A request that waited has started, or goes before it has.
  void LeaveQueue(size_t num_prompt_tokens);
  // A request has ended.
  void Leave() { num_open_.fetch_sub(1); }
  // As of the latest step: whether those who wait lack room, and what nobody else can have.
  void SetRoom(bool lacks_room, uint32_t num_pinned_blocks);

 private:
  Status TakePlace(size_t num_prompt_tokens);
  void GiveUpPlace(size_t num_prompt_tokens);

  const EngineOptions& options_;
  const Clock& clock_;
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();  // handles outlive the engine: they hold it
  std::atomic<uint64_t> next_id_{1};
  std::atomic<size_t> num_open_{0};
  std::atomic<size_t> num_queued_{0};           // of these, not started
  std::atomic<uint64_t> num_queued_tokens_{0};  // of their prompts
  std::atomic<bool> lacks_room_{false};
  std::atomic<uint32_t> num_pinned_blocks_{0};
  std::atomic<bool> draining_{false};
  mutable std::mutex failure_mutex_;
  std::optional<Error> failure_;
};

}  // namespace quire
