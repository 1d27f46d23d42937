#include "engine/request_handle.h"

#include <utility>

#include "engine/output_queue.h"

namespace quire {

RequestHandle::RequestHandle(RequestId id, std::shared_ptr<OutputQueue> queue, std::function<void(RequestId)> abort)
    : id_(id), queue_(std::move(queue)), abort_(std::move(abort)) {}

RequestHandle::~RequestHandle() { Abort(); }

RequestHandle::RequestHandle(RequestHandle&& other) noexcept
    : id_(other.id_), queue_(std::move(other.queue_)), abort_(std::exchange(other.abort_, nullptr)) {}

RequestHandle& RequestHandle::operator=(RequestHandle&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(queue_, other.queue_);
  std::swap(abort_, other.abort_);
  return *this;
}

std::optional<OutputDelta> RequestHandle::TryNext() { return queue_ ? queue_->TryNext() : std::nullopt; }

std::optional<OutputDelta> RequestHandle::Wait(std::chrono::milliseconds timeout) {
  return queue_ ? queue_->Wait(timeout) : std::nullopt;
}

void RequestHandle::SetNotify(std::function<void()> notify) {
  if (queue_) queue_->SetNotify(std::move(notify));
}

void RequestHandle::Abort() {
  if (!queue_ || !abort_) return;
  const std::function<void(RequestId)> abort = std::exchange(abort_, nullptr);
  if (!queue_->finished()) abort(id_);
}

}  // namespace quire
