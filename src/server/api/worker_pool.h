// Threads for what takes longer than an I/O thread may: parsing, templating, tokenizing, writing long answers.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace quire::server {

class WorkerPool {
 public:
  explicit WorkerPool(int num_threads);
  ~WorkerPool() { Stop(); }

  // In order of posting. A task must not throw. After Stop it is dropped.
  void Post(std::function<void()> task);
  // Drops what waits, joins what runs.
  void Stop();

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace quire::server
