// FirstError: of several threads that do parts of one thing, the first error. Take may be called by any thread.
#pragma once

#include <mutex>
#include <utility>

#include "quire/result.h"

namespace quire {

class FirstError {
 public:
  void Take(Status status) {
    if (status.ok()) return;
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
  }
  // REQUIRES: all threads are done.
  const Status& Get() const { return status_; }

 private:
  std::mutex mutex_;
  Status status_;
};

}  // namespace quire
