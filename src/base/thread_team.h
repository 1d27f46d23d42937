// A fixed team of threads that runs one function on all of them at once: the CPU backend's parallelism. Waiting threads
// spin for a moment, then sleep, so that an idle server uses no CPU. Run() is called by one thread at a time and
// allocates nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"
#include "quire/result.h"

namespace quire {

class ThreadTeam {
 public:
  // The calling thread is member 0, so num_threads - 1 are started. kResourceExhausted: the system gives no more.
  // REQUIRES: num_threads >= 1.
  static Result<ThreadTeam> Start(int num_threads);
  ~ThreadTeam();
  ThreadTeam(ThreadTeam&&) noexcept;

  int num_threads() const;

  // Calls fn(thread_index) once on each member and returns when all have returned. fn must not throw.
  void Run(FunctionRef<void(int)> fn);

  // Splits [0, count) into num_threads() contiguous ranges of nearly equal size: fn(begin, end).
  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn);

 private:
  struct Impl;
  explicit ThreadTeam(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
