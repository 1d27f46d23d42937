// What a scheduler says about itself: counts for metrics, where every slot is, and who holds which block. Free
// functions over its parts.
#pragma once

#include <cstdint>
#include <vector>

#include "base/enum_array.h"
#include "kv/block_id.h"
#include "kv/slot_account.h"
#include "sched/ids.h"
#include "sched/scheduler_config.h"
#include "sched/speculation_counters.h"
#include "sched/transfer_counts.h"

namespace quire {

class Admitter;
class DiskTier;
class KvSpace;
class Residency;
class Speculation;
class StepBuilder;
class WaitingQueue;

// The parts that are looked at. Between steps, or between a plan and its result.
struct SchedulerView {
  const SchedulerConfig& config;
  const KvSpace& space;
  const DiskTier& disk;
  const StepBuilder& builder;
  const WaitingQueue& waiting;
  const Residency& residency;
  const Admitter& admitter;
  const Speculation& speculation;
};

struct SchedulerStats {
  uint32_t num_running = 0;  // sequences
  uint32_t num_waiting = 0;  // requests, with those that were preempted
  uint32_t num_swapped = 0;  // requests of these in swap space
  uint64_t num_waiting_tokens = 0;
  EnumArray<PreemptionMode, uint64_t, kNumPreemptionModes> preemptions;  // kAuto: none
  uint64_t num_preemptions() const {
    return preemptions[PreemptionMode::kRecompute] + preemptions[PreemptionMode::kSwap];
  }
  // Blocks that were moved; those of a load that failed: files that were gone, damaged, foreign, or unreadable just
  // then.
  TransferCounts transfers;
  uint64_t num_swap_failures() const {
    return transfers[Transfer::Kind::kSwapOut].failed + transfers[Transfer::Kind::kSwapIn].failed;
  }
  uint64_t num_blocks_copied = 0;  // on write
  uint32_t num_blocks_total = 0;
  uint32_t num_blocks_used = 0;
  uint32_t num_blocks_cached = 0;
  uint32_t num_blocks_free = 0;
  uint32_t num_blocks_pinned = 0;
  uint64_t prefix_query_tokens = 0;   // counted once per admission
  uint64_t prefix_hit_tokens = 0;     // in memory or on disk
  double recent_prefix_hit_rate = 0;  // of the latest thousand admissions
  uint32_t num_disk_blocks = 0;
  uint64_t num_disk_blocks_missed = 0;  // evicted from memory before they could be stored
  SpeculationCounters speculation;
  SlotAccount slots;
};

// What /debug/kv shows.
struct KvReport {
  struct Sequence {
    uint32_t stream = 0;
    uint32_t num_tokens = 0;
    uint32_t num_computed = 0;
    std::vector<BlockId> blocks;     // of the first KV group, then those of the others
    uint32_t num_shared_blocks = 0;  // of these, somebody else holds too
  };
  struct Group {
    RequestId request = {};
    const char* state = "";  // "waiting", "loading", "running", "swapped", "resuming"
    uint32_t num_prompt_tokens = 0;
    uint32_t num_swapped_blocks = 0;
    std::vector<Sequence> sequences;
  };
  SlotAccount slots;
  uint32_t block_size = 0;
  uint32_t num_blocks = 0;
  uint32_t num_pinned_blocks = 0;
  std::vector<Group> groups;
};

// Finds out where every slot is. Keeps what it counts with, so that an account allocates nothing.
class SlotAccountant {
 public:
  SlotAccount Account(const SchedulerView& view);

 private:
  void CountRunning(const SchedulerView& view, SlotAccount& account);
  uint64_t NumHeld(const SchedulerView& view);

  std::vector<uint32_t> counted_in_;  // [blocks]: the account that counted it last
  uint32_t account_number_ = 0;
  std::vector<uint32_t> held_counts_;  // [blocks]: by how many tables of a static batch
  uint64_t num_in_tables_ = 0;         // of the account under way
};

SchedulerStats StatsOf(const SchedulerView& view, const SlotAccount& slots);
KvReport ReportOf(const SchedulerView& view, const SlotAccount& slots);
// What must hold at all times.
void CheckInvariantsOf(const SchedulerView& view, const SlotAccount& slots);

}  // namespace quire
