#include <algorithm>
#include <vector>

#include "base/check.h"
#include "kv/disk_tier.h"
#include "kv/kv_space.h"
#include "sched/residency.h"
#include "sched/scheduler_report.h"
#include "sched/step_builder.h"
#include "sched/waiting_queue.h"

namespace quire {
namespace {

using State = SequenceGroup::State;

void CheckRunning(const SchedulerView& view, const Sequence& sequence) {
  if (!sequence.seat) {
    QUIRE_CHECK(sequence.kv.empty());
    return;
  }
  QUIRE_CHECK_LT(sequence.kv.num_computed, sequence.num_tokens());
  QUIRE_CHECK_LE(sequence.kv.num_computed, sequence.kv.num_slots());
  QUIRE_CHECK_LE(sequence.kv.chain.depth, sequence.kv.num_computed / view.config.block_size);
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) {
    const BlockTable& table = sequence.kv.table(i);
    const KvGroup& group = view.space.cache().groups()[i];
    QUIRE_CHECK_LE(sequence.num_blocks_sent[i], table.num_blocks());
    QUIRE_CHECK_LE(table.num_blocks(), view.space.MaxBlocks(sequence.num_tokens() + view.config.max_drafts));
    QUIRE_CHECK_LE(table.first_block(), group.FirstSeen(sequence.kv.num_computed) / view.config.block_size);
  }
  QUIRE_CHECK_LT(sequence.num_tokens(), view.config.max_model_len);
  sequence.kv.CheckInvariants();
}

void CheckSeats(const SchedulerView& view) {
  const auto before = [&](const SequenceGroup* a, const SequenceGroup* b) { return view.residency.RunsBefore(*a, *b); };
  QUIRE_CHECK(std::ranges::is_sorted(view.residency.running(), before));
  QUIRE_CHECK(std::ranges::is_sorted(view.residency.swapped(), before));
  uint32_t num_seats = 0;
  std::vector<SeatId> taken;
  for (const SequenceGroup* group : view.residency.running()) {
    num_seats += group->num_seats();
    QUIRE_CHECK(group->state != State::kWaiting && group->state != State::kSwapped);
    for (const Sequence& sequence : group->sequences) {
      CheckRunning(view, sequence);
      if (sequence.seat) taken.push_back(*sequence.seat);
    }
  }
  QUIRE_CHECK_EQ(num_seats, view.residency.num_seats());
  QUIRE_CHECK_LE(num_seats, view.config.max_num_seqs);
  view.builder.CheckInvariants(taken);
}

void CheckAbsent(const SchedulerView& view) {
  uint32_t num_places = 0;
  for (const SequenceGroup* group : view.residency.running()) num_places += group->swapped.num_blocks();
  for (const SequenceGroup* group : view.residency.swapped()) {
    num_places += group->swapped.num_blocks();
    for (const Sequence& s : group->sequences) QUIRE_CHECK(!s.seat && s.kv.empty());
  }
  QUIRE_CHECK_EQ(num_places, view.residency.swapper().num_used_places());
  uint64_t num_tokens = 0;
  view.waiting.ForEach([&](const SequenceGroup& group) {
    num_tokens += group.front().num_tokens();
    QUIRE_CHECK(group.swapped.empty() && group.reserved.empty());
    for (const Sequence& s : group.sequences) QUIRE_CHECK(!s.seat && s.kv.empty() && s.kv.num_computed == 0);
  });
  QUIRE_CHECK_EQ(num_tokens, view.waiting.num_tokens());
}

// Every reference is somebody's: nothing leaks.
void CheckReferences(const SchedulerView& view) {
  std::vector<uint32_t> references(view.config.num_blocks, 0);
  const auto count = [&](const SequenceKv& kv) {
    for (const BlockTable& table : kv.tables()) {
      for (const BlockId block : table.blocks()) ++references[static_cast<size_t>(block)];
    }
  };
  for (const SequenceGroup* group : view.residency.running()) {
    for (const Sequence& sequence : group->sequences) count(sequence.kv);
    for (const SequenceKv& kv : group->reserved) count(kv);
  }
  for (const SequenceKv& kv : view.residency.pinned()) count(kv);
  for (const SequenceKv& kv : view.residency.held()) count(kv);
  uint32_t num_in_transfer = 0;
  for (const auto& [id, transfer] : view.builder.ledger().transfers()) {
    if (!transfer.held) continue;
    ++references[static_cast<size_t>(*transfer.held)];
    ++num_in_transfer;
  }
  QUIRE_CHECK_EQ(num_in_transfer, view.builder.ledger().num_held_blocks());
  for (uint32_t i = 0; i < view.config.num_blocks; ++i) {
    QUIRE_CHECK_EQ(view.space.pool().references(BlockId{i}), references[i]);
  }
}

}  // namespace

void CheckInvariantsOf(const SchedulerView& view, const SlotAccount& slots) {
  view.space.cache().CheckInvariants();
  view.disk.CheckInvariants();
  CheckSeats(view);
  CheckAbsent(view);
  CheckReferences(view);
  QUIRE_CHECK_EQ(slots.total(), uint64_t{view.config.num_blocks} * view.config.block_size);
}

}  // namespace quire
