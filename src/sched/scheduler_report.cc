#include "sched/scheduler_report.h"

#include <algorithm>

#include "kv/disk_tier.h"
#include "kv/kv_space.h"
#include "sched/admitter.h"
#include "sched/residency.h"
#include "sched/speculation.h"
#include "sched/waiting_queue.h"

namespace quire {
namespace {

const char* StateName(SequenceGroup::State state) {
  switch (state) {
    case SequenceGroup::State::kWaiting:
      return "waiting";
    case SequenceGroup::State::kLoading:
      return "loading";
    case SequenceGroup::State::kRunning:
      return "running";
    case SequenceGroup::State::kSwapped:
      return "swapped";
    case SequenceGroup::State::kResuming:
      return "resuming";
  }
  return "unknown";
}

KvReport::Group ReportGroup(const BlockPool& pool, const SequenceGroup& group) {
  KvReport::Group report = {.request = group.request.id,
                            .state = StateName(group.state),
                            .num_prompt_tokens = group.num_prompt_tokens(),
                            .num_swapped_blocks = group.swapped.num_blocks()};
  for (const Sequence& sequence : group.sequences) {
    std::vector<BlockId> blocks;
    for (const BlockTable& table : sequence.kv.tables()) {
      blocks.insert(blocks.end(), table.blocks().begin(), table.blocks().end());
    }
    const auto is_shared = [&](BlockId block) { return pool.references(block) > 1; };
    report.sequences.push_back({.stream = sequence.stream,
                                .num_tokens = sequence.num_tokens(),
                                .num_computed = sequence.kv.num_computed,
                                .blocks = blocks,
                                .num_shared_blocks = static_cast<uint32_t>(std::ranges::count_if(blocks, is_shared))});
  }
  return report;
}

}  // namespace

SchedulerStats StatsOf(const SchedulerView& view, const SlotAccount& slots) {
  const BlockPool& pool = view.space.pool();
  const ResidencyCounters& residency = view.residency.counters();
  const TransferCounts& swaps = view.residency.swapper().counters();
  const DiskTierCounters& disk = view.disk.counters();
  const auto num_swapped = static_cast<uint32_t>(view.residency.swapped().size());
  SchedulerStats stats = {.num_waiting = static_cast<uint32_t>(view.waiting.size()) + num_swapped,
                          .num_swapped = num_swapped,
                          .num_waiting_tokens = view.waiting.num_tokens(),
                          .preemptions = residency.preemptions,
                          .transfers = {{swaps[Transfer::Kind::kSwapOut],
                                         swaps[Transfer::Kind::kSwapIn],
                                         {.completed = disk.num_stored, .failed = disk.num_store_failures},
                                         {.completed = disk.num_loaded, .failed = disk.num_load_failures}}},
                          .num_blocks_copied = residency.num_blocks_copied,
                          .num_blocks_total = pool.num_total(),
                          .num_blocks_used = pool.num_used(),
                          .num_blocks_cached = pool.num_cached(),
                          .num_blocks_free = pool.num_free(),
                          .num_blocks_pinned = view.residency.num_pinned_blocks(),
                          .prefix_query_tokens = view.admitter.counters().query_tokens,
                          .prefix_hit_tokens = view.admitter.counters().hit_tokens,
                          .recent_prefix_hit_rate = view.admitter.RecentHitRate(),
                          .num_disk_blocks = view.disk.num_blocks(),
                          .num_disk_blocks_missed = view.disk.num_missed(),
                          .speculation = view.speculation.counters(),
                          .slots = slots};
  for (const SequenceGroup* group : view.residency.running()) {
    stats.num_running += static_cast<uint32_t>(group->sequences.size());
  }
  return stats;
}

KvReport ReportOf(const SchedulerView& view, const SlotAccount& slots) {
  const BlockPool& pool = view.space.pool();
  KvReport report = {.slots = slots,
                     .block_size = view.config.block_size,
                     .num_blocks = view.config.num_blocks,
                     .num_pinned_blocks = view.residency.num_pinned_blocks()};
  for (const SequenceGroup* group : view.residency.running()) report.groups.push_back(ReportGroup(pool, *group));
  for (const SequenceGroup* group : view.residency.swapped()) report.groups.push_back(ReportGroup(pool, *group));
  view.waiting.ForEach([&](const SequenceGroup& group) { report.groups.push_back(ReportGroup(pool, group)); });
  return report;
}

}  // namespace quire
