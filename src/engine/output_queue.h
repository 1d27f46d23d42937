// The mailbox between the engine and one client: what was generated since the client last looked, as one merged value.
// It is bounded by construction, so the engine never waits for a client. Any thread.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

#include "engine/request_handle.h"

namespace quire {

class OutputQueue {
 public:
  // Engine side. Appends to what is pending. Calls the notify function if nothing was pending.
  void Push(OutputDelta&& delta);

  // Client side.
  std::optional<OutputDelta> TryNext();
  std::optional<OutputDelta> Wait(std::chrono::milliseconds timeout);
  void SetNotify(std::function<void()> notify);
  // The final delta has been pushed (taken or not).
  bool finished() const;

 private:
  std::optional<OutputDelta> TakeLocked();

  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::optional<OutputDelta> pending_;
  std::shared_ptr<const std::function<void()>> notify_;
  bool finished_ = false;
};

// Appends `next` to `delta`, as if the client had read them one after the other.
void MergeDelta(OutputDelta& delta, OutputDelta&& next);

}  // namespace quire
