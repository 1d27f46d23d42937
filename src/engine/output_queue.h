// The mailbox between the engine and one client: what was generated since the client last looked, as one merged value
// per choice. It is bounded by construction, so the engine never waits for a client. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/request_handle.h"

namespace quire {

class OutputQueue {
 public:
  explicit OutputQueue(uint32_t num_choices = 1) : pending_(num_choices), num_unfinished_(num_choices) {}

  // Engine side. Appends to what is pending of its choice. Calls the notify function if nothing was pending.
  // REQUIRES: the choice has not had its final delta.
  void Push(OutputDelta&& delta);

  // Client side.
  std::optional<OutputDelta> TryNext();
  std::optional<OutputDelta> Wait(std::chrono::milliseconds timeout);
  void SetNotify(std::function<void()> notify);
  // The final delta of every choice has been pushed (taken or not).
  bool finished() const;

 private:
  std::optional<OutputDelta> TakeLocked();

  mutable std::mutex mutex_;
  std::condition_variable ready_changed_;
  std::vector<std::optional<OutputDelta>> pending_;  // [choices]
  std::vector<uint32_t> ready_;                      // those that have something pending, in the order they got it
  std::shared_ptr<const std::function<void()>> notify_;
  uint32_t num_unfinished_;
};

// Appends `next` to `delta`, of the same choice, as if the client had read them one after the other.
void MergeDelta(OutputDelta& delta, OutputDelta&& next);

}  // namespace quire
