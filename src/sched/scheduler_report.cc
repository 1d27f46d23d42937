// Where every slot is, and what must hold at all times.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

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

}  // namespace

SchedulerStats Scheduler::Stats() const {
  const BlockPool& pool = kv_.pool();
  SchedulerStats stats = counters_;
  for (const SequenceGroup* group : running_) stats.num_running += static_cast<uint32_t>(group->sequences.size());
  stats.num_waiting = static_cast<uint32_t>(waiting_.size() + swapped_.size());
  stats.num_swapped = static_cast<uint32_t>(swapped_.size());
  stats.num_waiting_tokens = num_waiting_tokens_;
  stats.num_blocks_total = pool.num_total();
  stats.num_blocks_used = pool.num_used();
  stats.num_blocks_cached = pool.num_cached();
  stats.num_blocks_free = pool.num_free();
  stats.recent_prefix_hit_rate = hit_rate_.Rate();
  stats.num_disk_blocks = disk_.size();
  stats.num_disk_blocks_missed = uses_disk() ? kv_.pool().num_evicted_unstored() : 0;
  stats.slots = Account();
  return stats;
}

// The slots behind what is computed: promised to tokens that will come, or to none. A shared block is counted by the
// first who comes to it.
void Scheduler::CountTail(const SequenceGroup& group, const Sequence& sequence, SlotAccount& account) const {
  const uint32_t num_held = sequence.num_computed + 1;  // with the current token, as in the paper's Figure 3
  const auto count = [&](uint32_t begin, uint32_t num_slots) {
    const auto behind = [begin](uint32_t position) { return position - std::min(position, begin); };
    const SequenceSlots slots = Classify(
        {.num_held = behind(num_held), .max_total_tokens = behind(group.max_total_tokens), .num_slots = num_slots});
    account.reserved += slots.reserved;
    account.internal += slots.internal;
  };
  const uint32_t num_slots = sequence.table.num_slots(), block_size = config_.block_size;
  if (kv_policy_.contiguous()) return count(0, num_slots);
  for (uint32_t begin = num_held / block_size * block_size; begin < num_slots; begin += block_size) {
    uint32_t& counted = counted_in_[static_cast<size_t>(sequence.table.blocks()[begin / block_size])];
    if (counted != account_number_) count(begin, block_size);
    counted = account_number_;
  }
}

// Free slots in pieces too small for the request that is next.
uint64_t Scheduler::NumExternal() const {
  const SequenceGroup* first = waiting_.First();
  if (!kv_policy_.contiguous() || first == nullptr) return 0;
  const uint32_t num_slots = NumSlotsAtAdmission(*first);
  return kv_.CanReserveChunks(first->num_seats(), num_slots) ? 0 : kv_.NumExternalSlots(num_slots);
}

// Blocks that only those hold whose static batch goes on without them.
uint64_t Scheduler::NumHeld() const {
  if (held_.empty()) return 0;
  held_counts_.assign(config_.num_blocks, 0);
  uint64_t num_held = 0;
  for (const BlockTable& table : held_) {
    for (const BlockId block : table.blocks()) {
      if (++held_counts_[static_cast<size_t>(block)] == kv_.pool().references(block)) ++num_held;
    }
  }
  return num_held;
}

SlotAccount Scheduler::Account() const {
  const BlockPool& pool = kv_.pool();
  const uint64_t block_size = config_.block_size;
  ++account_number_;
  SlotAccount account;
  uint64_t num_in_tables = 0, num_of_others = 0;
  for (const SequenceGroup* group : running_) {
    for (const Sequence& sequence : group->sequences) {
      num_in_tables += sequence.table.num_blocks();
      CountTail(*group, sequence, account);
    }
    for (const BlockTable& table : group->spare_tables) {
      num_in_tables += table.num_blocks();
      const uint32_t num_useful = std::min(group->max_total_tokens, table.num_slots());
      account.reserved += num_useful;
      account.internal += table.num_slots() - num_useful;
    }
  }
  for (const BlockTable& table : pinned_) num_in_tables += table.num_blocks();
  const uint64_t num_held = NumHeld();
  account.internal += num_held * block_size;
  for (const auto& [id, transfer] : transfers_) {
    if (!transfer.held || pool.references(*transfer.held) > 1) continue;
    ++num_of_others;
    (transfer.kind == Transfer::Kind::kStore ? account.cached : account.free) += block_size;
  }
  account.cached += pool.num_cached() * block_size;
  account.external = NumExternal();
  account.free += pool.num_free() * block_size - account.external;
  const uint64_t num_in_use = pool.num_used() - num_of_others;
  account.token = num_in_use * block_size - account.reserved - account.internal;
  account.shared = (num_in_tables - std::min(num_in_tables, num_in_use - num_held)) * block_size;
  account.swapped = swap_.num_used() * block_size;
  account.on_disk = disk_.size() * block_size;
  return account;
}

KvReport::Group Scheduler::ReportGroup(const SequenceGroup& group) const {
  KvReport::Group report = {.request = group.request.id,
                            .state = StateName(group.state),
                            .num_prompt_tokens = group.num_prompt_tokens(),
                            .num_swapped_blocks = group.swapped.num_blocks()};
  for (const Sequence& sequence : group.sequences) {
    const std::span<const BlockId> blocks = sequence.table.blocks();
    const auto is_shared = [&](BlockId block) { return kv_.pool().references(block) > 1; };
    report.sequences.push_back({.stream = sequence.stream,
                                .num_tokens = sequence.num_tokens(),
                                .num_computed = sequence.num_computed,
                                .blocks = {blocks.begin(), blocks.end()},
                                .num_shared_blocks = static_cast<uint32_t>(std::ranges::count_if(blocks, is_shared))});
  }
  return report;
}

KvReport Scheduler::ReportKv() const {
  KvReport report = {.slots = Account(),
                     .block_size = config_.block_size,
                     .num_blocks = config_.num_blocks,
                     .num_pinned_blocks = num_pinned_blocks_};
  for (const SequenceGroup* group : running_) report.groups.push_back(ReportGroup(*group));
  for (const SequenceGroup* group : swapped_) report.groups.push_back(ReportGroup(*group));
  waiting_.ForEach([&](const SequenceGroup& group) { report.groups.push_back(ReportGroup(group)); });
  return report;
}

void Scheduler::CheckInvariants() const {
  kv_.CheckInvariants();
  disk_.CheckInvariants();
  QUIRE_CHECK_EQ(groups_.size(), running_.size() + swapped_.size() + waiting_.size());
  QUIRE_CHECK(std::ranges::is_sorted(running_, before_));
  QUIRE_CHECK(std::ranges::is_sorted(swapped_, before_));
  CheckGroups();
  CheckReferences();
  const SlotAccount account = Account();
  QUIRE_CHECK_EQ(account.total(), uint64_t{config_.num_blocks} * config_.block_size);
}

void Scheduler::CheckGroups() const {
  uint32_t num_seats = 0, num_places = 0, num_occupied = 0;
  for (const SequenceGroup* group : running_) {
    num_seats += group->num_seats();
    num_places += group->swapped.num_blocks();
    QUIRE_CHECK(group->state != State::kWaiting && group->state != State::kSwapped);
    for (const Sequence& sequence : group->sequences) {
      if (!sequence.slot) {
        QUIRE_CHECK_EQ(sequence.table.num_blocks(), 0U);
        continue;
      }
      ++num_occupied;
      QUIRE_CHECK(slots_[static_cast<size_t>(*sequence.slot)] == group);
      QUIRE_CHECK_LT(sequence.num_computed, sequence.num_tokens());
      QUIRE_CHECK_LE(sequence.num_computed, sequence.table.num_slots());
      QUIRE_CHECK_LE(sequence.chain.depth, sequence.num_computed / config_.block_size);
      QUIRE_CHECK_LE(sequence.num_blocks_sent, sequence.table.num_blocks());
      QUIRE_CHECK(kv_policy_.contiguous() ||
                  sequence.table.num_blocks() <= BlocksForTokens(sequence.num_tokens(), config_.block_size));
      QUIRE_CHECK(sequence.num_tokens() < config_.max_model_len);
      sequence.table.CheckInvariants();
    }
  }
  for (const SequenceGroup* group : swapped_) {
    num_places += group->swapped.num_blocks();
    for (const Sequence& s : group->sequences) QUIRE_CHECK(!s.slot && s.table.num_blocks() == 0);
  }
  waiting_.ForEach([](const SequenceGroup& group) {
    QUIRE_CHECK(group.swapped.empty() && group.spare_tables.empty());
    for (const Sequence& s : group.sequences) QUIRE_CHECK(!s.slot && s.table.num_blocks() == 0 && s.num_computed == 0);
  });
  QUIRE_CHECK_EQ(num_seats, num_seats_);
  QUIRE_CHECK_LE(num_seats_, config_.max_num_seqs);
  QUIRE_CHECK_EQ(num_places, swap_.num_used());
  QUIRE_CHECK_EQ(num_occupied + free_slots_.size() + left_slots_.size(), slots_.size());
  for (const auto slots : {std::span(free_slots_), std::span(left_slots_)}) {
    for (const SlotId slot : slots) QUIRE_CHECK(slots_[static_cast<size_t>(slot)] == nullptr);
  }
}

// Every reference is somebody's: nothing leaks.
void Scheduler::CheckReferences() const {
  std::vector<uint32_t> references(config_.num_blocks, 0);
  const auto count = [&](const BlockTable& table) {
    for (const BlockId block : table.blocks()) ++references[static_cast<size_t>(block)];
  };
  for (const SequenceGroup* group : running_) {
    for (const Sequence& sequence : group->sequences) count(sequence.table);
    for (const BlockTable& table : group->spare_tables) count(table);
  }
  for (const BlockTable& table : pinned_) count(table);
  for (const BlockTable& table : held_) count(table);
  uint32_t num_in_transfer = 0;
  for (const auto& [id, transfer] : transfers_) {
    if (!transfer.held) continue;
    ++references[static_cast<size_t>(*transfer.held)];
    ++num_in_transfer;
  }
  QUIRE_CHECK_EQ(num_in_transfer, num_blocks_in_transfer_);
  for (uint32_t i = 0; i < config_.num_blocks; ++i) QUIRE_CHECK_EQ(kv_.pool().references(BlockId{i}), references[i]);
}

}  // namespace quire
