// WakeQueue: the sessions of one I/O thread that have news. However many streams a step of the engine feeds, the thread
// is woken once. Any thread; it outlives the thread that it wakes.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

namespace boost::asio {
class io_context;
}

namespace quire::server {

class Wakeable {
 public:
  // On the I/O thread.
  virtual void Wake() = 0;

 protected:
  virtual ~Wakeable() = default;
};

class WakeQueue : public std::enable_shared_from_this<WakeQueue> {
 public:
  explicit WakeQueue(boost::asio::io_context& context) : context_(context) {}

  void Add(std::weak_ptr<Wakeable> session);
  // No wake-up after this: the context is about to go.
  void Close();

 private:
  void Deliver();

  boost::asio::io_context& context_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Wakeable>> ready_;
  bool posted_ = false;
  bool closed_ = false;
};

}  // namespace quire::server
