#include <algorithm>

#include "kv/disk_tier.h"
#include "kv/kv_space.h"
#include "sched/residency.h"
#include "sched/scheduler_report.h"
#include "sched/step_builder.h"
#include "sched/waiting_queue.h"

namespace quire {
namespace {

// The slots of one table, or of a part of it, that begins so many tokens into the sequence.
void Count(const SequenceGroup& group, const Sequence& sequence, uint32_t begin, uint32_t num_slots,
           SlotAccount& account) {
  const uint32_t num_held = sequence.kv.num_computed + 1;  // with the current token, as in the paper's Figure 3
  const auto behind = [begin](uint32_t position) { return position - std::min(position, begin); };
  const SequenceSlots slots = Classify(
      {.num_held = behind(num_held), .max_total_tokens = behind(group.max_total_tokens), .num_slots = num_slots});
  account[SlotState::kReserved] += slots.reserved;
  account[SlotState::kInternal] += slots.internal;
}

// Blocks that only a transfer holds: their content is stored, or is on its way.
uint64_t CountInTransfer(const SchedulerView& view, SlotAccount& account) {
  uint64_t num_blocks = 0;
  for (const auto& [id, transfer] : view.builder.ledger().transfers()) {
    if (!transfer.held || view.space.pool().references(*transfer.held) > 1) continue;
    ++num_blocks;
    const bool is_store = transfer.kind == Transfer::Kind::kStore;
    account[is_store ? SlotState::kCached : SlotState::kFree] += view.space.block_size();
  }
  return num_blocks;
}

}  // namespace

// The slots behind what is computed: promised to tokens that will come, or to none. A shared block is counted by the
// first who comes to it.
void SlotAccountant::CountRunning(const SchedulerView& view, SlotAccount& account) {
  const uint32_t block_size = view.space.block_size();
  for (const SequenceGroup* group : view.residency.running()) {
    for (const Sequence& sequence : group->sequences) {
      const uint32_t first = (sequence.kv.num_computed + 1) / block_size;
      for (const BlockTable& table : sequence.kv.tables()) {
        num_in_tables_ += table.num_held();
        for (uint32_t index = std::max(first, table.first_block()); index < table.num_blocks(); ++index) {
          uint32_t& counted = counted_in_[static_cast<size_t>(table.at(index))];
          if (counted != account_number_) Count(*group, sequence, index * block_size, block_size, account);
          counted = account_number_;
        }
      }
    }
    for (const SequenceKv& kv : group->reserved) {
      num_in_tables_ += kv.num_held();
      for (const BlockTable& table : kv.tables()) {
        const uint32_t num_useful = std::min(group->max_total_tokens, table.num_slots());
        account[SlotState::kReserved] += num_useful;
        account[SlotState::kInternal] += table.num_slots() - num_useful;
      }
    }
  }
}

// Blocks that only those hold whose static batch goes on without them.
uint64_t SlotAccountant::NumHeld(const SchedulerView& view) {
  const std::vector<SequenceKv>& held = view.residency.held();
  if (held.empty()) return 0;
  held_counts_.assign(view.config.num_blocks, 0);
  uint64_t num_held = 0;
  for (const SequenceKv& kv : held) {
    for (const BlockTable& table : kv.tables()) {
      for (const BlockId block : table.blocks()) {
        if (++held_counts_[static_cast<size_t>(block)] == view.space.pool().references(block)) ++num_held;
      }
    }
  }
  return num_held;
}

SlotAccount SlotAccountant::Account(const SchedulerView& view) {
  const BlockPool& pool = view.space.pool();
  const uint64_t block_size = view.space.block_size();
  counted_in_.resize(view.config.num_blocks);
  ++account_number_;
  num_in_tables_ = 0;
  SlotAccount account;
  CountRunning(view, account);
  for (const SequenceKv& kv : view.residency.pinned()) num_in_tables_ += kv.num_held();
  const uint64_t num_held = NumHeld(view);
  account[SlotState::kInternal] += num_held * block_size;
  const uint64_t num_in_transfer = CountInTransfer(view, account);
  account[SlotState::kCached] += pool.num_cached() * block_size;
  const SequenceGroup* next = view.waiting.First();
  account[SlotState::kExternal] = next == nullptr ? 0 : view.space.NumExternalSlots(view.residency.EntryOf(*next));
  account[SlotState::kFree] += pool.num_free() * block_size - account[SlotState::kExternal];
  const uint64_t num_in_use = pool.num_used() - num_in_transfer;
  account[SlotState::kToken] = num_in_use * block_size - account[SlotState::kReserved] - account[SlotState::kInternal];
  account[SlotState::kShared] = (num_in_tables_ - std::min(num_in_tables_, num_in_use - num_held)) * block_size;
  account[SlotState::kSwapped] = view.residency.swapper().num_used_places() * block_size;
  account[SlotState::kOnDisk] = view.disk.num_blocks() * block_size;
  return account;
}

}  // namespace quire
