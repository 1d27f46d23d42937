// Connections: what comes over one is parsed, handed to the service, and answered, on the I/O thread that it lives on.
// Time limits, hang-ups, pipelining and framing end here. http_server.cc accepts connections and deals them out.
#pragma once

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <thread>
#include <unordered_map>

#include "server/http/byte_budget.h"
#include "server/http/http.h"
#include "server/http/http_limits.h"
#include "server/http/http_server.h"
#include "server/http/wake_queue.h"

namespace quire::server {

class Session;

// What all connections share.
struct HttpShared {
  HttpShared(const HttpLimits& http_limits, HttpService& http_service)
      : limits(http_limits),
        service(http_service),
        body_budget(std::make_shared<ByteBudget>(std::max(limits.max_total_body_bytes, limits.max_body_bytes))) {}
  const HttpLimits limits;
  HttpService& service;
  const std::shared_ptr<ByteBudget> body_budget;
  std::atomic<bool> accepting{true};
  std::atomic<size_t> num_connections{0};
  std::atomic<size_t> num_active{0};
};

// One I/O thread and the connections that live on it.
class IoThread {
 public:
  IoThread() : wake_queue_(std::make_shared<WakeQueue>(context_)), tick_(context_), work_(context_.get_executor()) {}
  ~IoThread() { Join(); }

  boost::asio::io_context& context() { return context_; }
  const std::shared_ptr<WakeQueue>& wake_queue() { return wake_queue_; }

  void Run();
  // Any thread.
  void CloseSessions(bool idle_only);
  // No new work: returns when the connections have ended.
  void Join();

  // On this thread.
  void Adopt(boost::asio::ip::tcp::socket socket, HttpShared& shared);
  void Remove(Session* session) {
    sessions_.erase(session);
    if (sessions_.empty()) tick_.cancel();
  }

 private:
  void Tick();

  boost::asio::io_context context_{1};
  std::shared_ptr<WakeQueue> wake_queue_;
  boost::asio::steady_timer tick_;
  bool ticking_ = false;
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

}  // namespace quire::server
