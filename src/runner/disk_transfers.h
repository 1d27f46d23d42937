// DiskTransfers: carries transfers between the KV cache and a DiskStore out on threads of its own, so that no step
// waits for a disk. A block under way is touched by nobody else until its transfer is reported (the scheduler's
// promise), so that the cache needs no lock.
//
// Transfers of one digest are carried out in the order of their submission, by one thread, but that loads pass waiting
// stores and drops: a request waits for them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "runner/disk_store.h"
#include "sched/step_plan.h"

namespace quire {

class DiskTransfers {
 public:
  // Backend and cache outlive this. REQUIRES: num_threads >= 1.
  DiskTransfers(std::unique_ptr<DiskStore> store, const Backend& backend, KvCache& cache, int num_threads);
  // Waits for the files that are being written or read; abandons what waits. No thread touches the cache afterwards.
  ~DiskTransfers();
  DiskTransfers(const DiskTransfers&) = delete;
  DiskTransfers& operator=(const DiskTransfers&) = delete;

  // Of kind kStore, kLoad or kDrop; `tokens` (the block's) are copied.
  void Submit(const Transfer& transfer, std::span<const int32_t> tokens);
  // Appends the ids of the transfers that have ended since the last call. With `wait`, waits a few ms until there is
  // one; REQUIRES then that one is outstanding: submitted and not yet collected.
  void Collect(bool wait, std::vector<uint64_t>& completed, std::vector<uint64_t>& failed);

 private:
  struct Job {
    Transfer transfer;
    std::vector<int32_t> tokens;
  };
  struct Lane {
    std::deque<Job> loads, others;
    std::condition_variable has_job;
  };

  void Run(Lane& lane);
  Status CarryOut(const Job& job, std::span<std::byte> block);
  void Log(const Job& job, const Status& status);
  Lane& LaneOf(const PrefixDigest& digest);

  const std::unique_ptr<DiskStore> store_;
  const Backend& backend_;
  KvCache& cache_;

  std::atomic<bool> stores_fail_ = false;  // the last one did: a full disk is told once

  std::mutex mutex_;  // of all that follows, but for the threads
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::condition_variable has_ended_;
  std::vector<uint64_t> completed_, failed_;  // not collected yet
  size_t num_outstanding_ = 0;
  bool stops_ = false;
  std::vector<std::thread> threads_;  // by lane
};

}  // namespace quire
