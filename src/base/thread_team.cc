#include "base/thread_team.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// About 50 us of spinning: longer than the gaps between the operations of a step, far shorter than idle time.
constexpr int kSpins = 4000;

inline void Relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

}  // namespace

struct ThreadTeam::Impl {
  explicit Impl(int num_threads) : num_threads(num_threads) {}

  const int num_threads;
  const FunctionRef<void(int)>* work = nullptr;  // published by the increment of `generation`
  std::atomic<uint64_t> generation{0};
  std::atomic<int> unfinished{0};
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int> sleepers{0};
  std::vector<std::thread> threads;

  uint64_t AwaitNext(uint64_t seen) {
    for (int i = 0; i < kSpins; ++i) {
      const uint64_t now = generation.load(std::memory_order_acquire);
      if (now != seen) return now;
      Relax();
    }
    std::unique_lock lock(mutex);
    sleepers.fetch_add(1, std::memory_order_seq_cst);
    wake.wait(lock, [&] { return generation.load(std::memory_order_seq_cst) != seen; });
    sleepers.fetch_sub(1, std::memory_order_seq_cst);
    return generation.load(std::memory_order_acquire);
  }

  void Publish() {
    generation.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.load(std::memory_order_seq_cst) == 0) return;
    { std::lock_guard lock(mutex); }
    wake.notify_all();
  }

  void Loop(int index) {
    uint64_t seen = 0;
    while (true) {
      seen = AwaitNext(seen);
      if (stopping.load(std::memory_order_acquire)) return;
      (*work)(index);
      unfinished.fetch_sub(1, std::memory_order_release);
    }
  }
};

Result<ThreadTeam> ThreadTeam::Start(int num_threads) {
  QUIRE_CHECK_GE(num_threads, 1);
  ThreadTeam team(std::make_unique<Impl>(num_threads));
  Impl* impl = team.impl_.get();
  impl->threads.reserve(static_cast<size_t>(num_threads) - 1);
  try {
    for (int index = 1; index < num_threads; ++index) impl->threads.emplace_back([impl, index] { impl->Loop(index); });
  } catch (const std::system_error& error) {
    // Those that have been started end with the team.
    return ResourceExhausted("of {} threads only {} can be started: {}", num_threads, impl->threads.size() + 1,
                             error.what());
  }
  return team;
}

ThreadTeam::ThreadTeam(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ThreadTeam::ThreadTeam(ThreadTeam&&) noexcept = default;

ThreadTeam::~ThreadTeam() {
  if (impl_ == nullptr) return;
  impl_->stopping.store(true, std::memory_order_release);
  impl_->Publish();
  for (std::thread& thread : impl_->threads) thread.join();
}

int ThreadTeam::num_threads() const { return impl_->num_threads; }

void ThreadTeam::Run(FunctionRef<void(int)> fn) {
  if (impl_->num_threads == 1) {
    fn(0);
    return;
  }
  impl_->work = &fn;
  impl_->unfinished.store(impl_->num_threads - 1, std::memory_order_relaxed);
  impl_->Publish();
  fn(0);
  for (int spins = 0; impl_->unfinished.load(std::memory_order_acquire) != 0; ++spins) {
    // More threads than cores: let the others run.
    if (spins < kSpins) {
      Relax();
    } else {
      std::this_thread::yield();
    }
  }
}

void ThreadTeam::ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn) {
  const int64_t threads = num_threads();
  Run([&](int index) {
    const int64_t begin = count * index / threads;
    const int64_t end = count * (index + 1) / threads;
    if (begin < end) fn(begin, end);
  });
}

}  // namespace quire
