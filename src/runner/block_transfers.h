// BlockTransfers: what a runner does with a plan's transfers. Swapping happens at once, within the step; disk transfers
// are only issued, and reported by whichever step finds them ended. What has no store behind it fails.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/clock.h"
#include "runner/disk_store.h"
#include "runner/disk_transfers.h"
#include "runner/swap_store.h"
#include "sched/step_plan.h"

namespace quire {

// Where blocks go outside the KV cache. Either may be absent.
struct BlockStores {
  std::unique_ptr<SwapStore> swap;
  std::unique_ptr<DiskStore> disk;
  int num_disk_threads = 1;
};

class BlockTransfers {
 public:
  // Backend, cache and clock outlive this. REQUIRES: a place of swap space holds a block.
  BlockTransfers(Backend& backend, KvCache& cache, BlockStores stores, const Clock& clock = Clock::Real());

  // Both return the time that they have taken from the step. What the result says, of which the next swap's cost is
  // guessed, is the time of moving blocks alone: swap space that grows does so once, not with every swap.
  //
  // Before anything of the step writes to a block: swaps out, and issues what goes to the disk.
  TimeUs MoveOut(const StepPlan& plan, StepResult& result);
  // After the step's block copies: swaps in, and issues what comes from the disk.
  TimeUs MoveIn(const StepPlan& plan, StepResult& result);
  // Reports the disk transfers that have ended. With `wait`, unless the result reports a transfer already, waits a few
  // ms until one has; REQUIRES that one is outstanding.
  void Collect(bool wait, StepResult& result);

 private:
  void Issue(const StepPlan& plan, const Transfer& transfer, StepResult& result);

  Backend& backend_;
  KvCache& cache_;
  const Clock& clock_;
  const std::unique_ptr<SwapStore> swap_;
  std::unique_ptr<DiskTransfers> disk_;
  // Block and memory of its place, of the step at work.
  std::vector<std::pair<uint32_t, std::byte*>> swap_outs_;
  std::vector<std::pair<uint32_t, const std::byte*>> swap_ins_;
};

}  // namespace quire
