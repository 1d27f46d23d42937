// Inbox: what clients post to the engine thread: the only lock between them and the scheduler. Any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/output_queue.h"
#include "sched/request.h"

namespace quire {

struct Submission {
  Request request;
  std::optional<int32_t> shown_logprobs;  // what the client asked for: the request itself may ask for more
  std::shared_ptr<OutputQueue> queue;
};

class Inbox {
 public:
  struct Contents {
    std::vector<Submission> submissions;
    std::vector<RequestId> aborts;
    std::vector<std::function<void()>> calls;

    bool empty() const { return submissions.empty() && aborts.empty() && calls.empty(); }
  };

  // False, and nothing is posted, once the inbox is closed.
  bool Add(Submission&& submission) {
    return Post([&] { contents_.submissions.push_back(std::move(submission)); });
  }
  bool Abort(RequestId id) {
    return Post([&] { contents_.aborts.push_back(id); });
  }
  bool Call(std::function<void()>& call) {
    return Post([&] { contents_.calls.push_back(std::move(call)); });
  }
  void Wake() {
    Post([&] { woken_ = true; });
  }
  // Nobody will read what comes from now on.
  void Close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }

  // Until there is something, or Wake.
  void Wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return woken_ || !contents_.empty(); });
    woken_ = false;
  }
  // Swaps the contents out; the vectors given keep their capacity for the next time.
  void Take(Contents& contents) {
    contents.submissions.clear();
    contents.aborts.clear();
    contents.calls.clear();
    std::lock_guard lock(mutex_);
    std::swap(contents, contents_);
  }

 private:
  template <typename Change>
  bool Post(Change change) {
    {
      std::lock_guard lock(mutex_);
      if (closed_) return false;
      change();
    }
    wake_.notify_one();
    return true;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  Contents contents_;
  bool woken_ = false;
  bool closed_ = false;
};

}  // namespace quire
