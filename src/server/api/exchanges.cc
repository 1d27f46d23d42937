#include "server/api/exchanges.h"

#include <exception>

#include "base/log.h"
#include "server/api/api_error.h"
#include "server/api/worker_pool.h"

namespace quire::server {
namespace {

// One of the doors where exceptions end: what a library threw fails this request.
std::unique_ptr<HttpExchange> RunContained(const DeferredExchange::Task& task) {
  try {
    return task();
  } catch (const std::exception& exception) {
    LogError("request_exception what={}", LogValue(exception.what()));
    return std::make_unique<KnownAnswer>(ToReply({.status = 500, .message = "internal error"}));
  }
}

}  // namespace

DeferredExchange::DeferredExchange(WorkerPool& pool, Task task, std::function<void()> notify)
    : slot_(std::make_shared<Slot>()) {
  pool.Post([weak = std::weak_ptr(slot_), task = std::move(task), notify = std::move(notify)] {
    if (weak.expired()) return;
    std::unique_ptr<HttpExchange> made = RunContained(task);
    if (const std::shared_ptr<Slot> slot = weak.lock()) {
      std::lock_guard lock(slot->mutex);
      slot->made = std::move(made);
    }
    notify();
  });
}

const HttpReply* DeferredExchange::Head() {
  if (made_ == nullptr) {
    std::lock_guard lock(slot_->mutex);
    made_ = std::move(slot_->made);
  }
  return made_ == nullptr ? nullptr : made_->Head();
}

}  // namespace quire::server
