// The exchanges that the routes are made of: an answer that is known, and one that a worker thread prepares.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "server/http/http.h"

namespace quire::server {

class WorkerPool;

class KnownAnswer final : public HttpExchange {
 public:
  explicit KnownAnswer(HttpReply reply) : reply_(std::move(reply)) {}
  const HttpReply* Head() override { return &reply_; }
  bool Read(std::string&) override { return true; }

 private:
  const HttpReply reply_;
};

// Becomes the exchange that a task makes on a worker thread; a task whose client has gone before it starts is not run.
class DeferredExchange final : public HttpExchange {
 public:
  using Task = std::function<std::unique_ptr<HttpExchange>()>;

  // An exception in `task` becomes a 500.
  DeferredExchange(WorkerPool& pool, Task task, std::function<void()> notify);

  const HttpReply* Head() override;
  bool Read(std::string& out) override { return made_ == nullptr || made_->Read(out); }

 private:
  struct Slot {
    std::mutex mutex;
    std::unique_ptr<HttpExchange> made;
  };

  std::shared_ptr<Slot> slot_;  // shared with the task
  std::unique_ptr<HttpExchange> made_;
};

}  // namespace quire::server
