#include "server/http/wake_queue.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <utility>

namespace quire::server {

void WakeQueue::Add(std::weak_ptr<Wakeable> session) {
  std::lock_guard lock(mutex_);
  if (closed_) return;
  ready_.push_back(std::move(session));
  if (posted_) return;
  posted_ = true;
  boost::asio::post(context_, [self = shared_from_this()] { self->Deliver(); });
}

void WakeQueue::Close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  ready_.clear();
}

void WakeQueue::Deliver() {
  std::vector<std::weak_ptr<Wakeable>> ready;
  {
    std::lock_guard lock(mutex_);
    ready.swap(ready_);
    posted_ = false;
  }
  for (const std::weak_ptr<Wakeable>& weak : ready) {
    if (const std::shared_ptr<Wakeable> session = weak.lock()) session->Wake();
  }
}

}  // namespace quire::server
