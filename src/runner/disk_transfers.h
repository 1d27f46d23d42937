// DiskTransfers: carries transfers between the KV cache and a DiskStore out on threads of its own, so that no step
// waits for a disk. A block under way is touched by nobody else until its transfer is reported (the scheduler's
// promise), so that the cache needs no lock.
//
// Transfers of one digest are carried out in the order of their submission, by one thread, but that loads pass waiting
// stores and drops: a request waits for them.
//
// What was dropped must not come back: drops are carried out even when this goes away, and one that failed is tried
// again then, unless its file has been written anew.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <unordered_set>
#include <vector>

#include "backend/backend.h"
#include "runner/disk_store.h"
#include "sched/step_plan.h"

namespace quire {

class DiskTransfers {
 public:
  // Backend and cache outlive this. REQUIRES: num_threads >= 1.
  DiskTransfers(std::unique_ptr<DiskStore> store, const Backend& backend, KvCache& cache, int num_threads);
  // Waits for the files that are being written or read, and for all drops; abandons the loads and stores that wait. No
  // thread touches the cache afterwards.
  ~DiskTransfers();
  DiskTransfers(const DiskTransfers&) = delete;
  DiskTransfers& operator=(const DiskTransfers&) = delete;

  // Of kind kStore, kLoad or kDrop; `tokens` (the block's) are copied.
  void Submit(const Transfer& transfer, std::span<const int32_t> tokens);
  // Appends the ids of the transfers that have ended since the last call; one that met an exception has failed. With
  // `wait`, waits a few ms until there is one; REQUIRES then that one is outstanding: submitted and not yet collected.
  void Collect(bool wait, std::vector<uint64_t>& completed, std::vector<uint64_t>& failed);

 private:
  struct Job {
    Transfer transfer;
    std::vector<int32_t> tokens;
  };
  struct Lane {
    std::deque<Job> loads, others;
    std::condition_variable has_job;
    // Of its thread alone.
    std::vector<std::byte> block;
    std::unordered_set<PrefixDigest> undropped;  // their drops have failed
  };

  void Run(Lane& lane);
  bool Succeeds(Lane& lane, const Job& job);
  Status CarryOut(Lane& lane, const Job& job);
  void Log(const Job& job, const Status& status);
  Lane& LaneOf(const PrefixDigest& digest);

  const std::unique_ptr<DiskStore> store_;
  const Backend& backend_;
  KvCache& cache_;

  std::atomic<bool> stores_fail_ = false;  // the last one did: a full disk is told once

  std::mutex mutex_;  // of all that follows, but for the threads and what is theirs
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::condition_variable has_ended_;
  std::vector<uint64_t> completed_, failed_;  // not collected yet
  size_t num_outstanding_ = 0;
  bool stops_ = false;
  std::vector<std::thread> threads_;  // by lane
};

}  // namespace quire
