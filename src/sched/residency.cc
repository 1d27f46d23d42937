#include "sched/residency.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

Residency::Residency(const Parts& parts)
    : parts_(parts),
      before_{parts.config.policy == QueuePolicy::kPriority},
      swapper_(parts.config.num_swap_blocks, parts.space, parts.builder) {
  running_.reserve(parts.config.max_num_seqs);
}

void Residency::BeginStep() {
  preempted_in_step_ = false;
  if (running_.empty()) held_.clear();
  batch_is_open_ = running_.empty() && swapped_.empty();
}

uint32_t Residency::NumPinnedWith(std::span<const BlockId> blocks) const {
  const auto is_pinned = [&](BlockId block) {
    return std::ranges::any_of(pinned_, [&](const BlockTable& table) {
      return std::ranges::find(table.blocks(), block) != table.blocks().end();
    });
  };
  return num_pinned_blocks_ + static_cast<uint32_t>(blocks.size() - std::ranges::count_if(blocks, is_pinned));
}

void Residency::Pin(BlockTable table) {
  num_pinned_blocks_ = NumPinnedWith(table.blocks());
  pinned_.push_back(std::move(table));
}

bool Residency::PinPrompt(const SequenceGroup& group, const SequenceGroups& all) {
  BlockTable prompt = group.front().table.ForkPrefix(group.num_prompt_tokens() / parts_.config.block_size);
  const uint32_t num_pinned = NumPinnedWith(prompt.blocks());
  for (const auto& [id, other] : all) {
    if (other.get() == &group) continue;
    if (NumSideBySide(parts_.config, other->request, num_pinned) < other->max_width) return false;
  }
  Pin(std::move(prompt));
  return true;
}

bool Residency::HasSeats(const SequenceGroup& group) const {
  return num_seats_ + group.num_seats() <= parts_.config.max_num_seqs;
}

void Residency::Insert(std::vector<SequenceGroup*>& groups, SequenceGroup& group) {
  groups.insert(std::upper_bound(groups.begin(), groups.end(), &group, before_), &group);
}

KvEntry Residency::EntryOf(const SequenceGroup& group) const {
  KvEntry entry = {.demand = {.num_prompt_tokens = group.num_prompt_tokens(),
                              .num_known_tokens = group.front().num_tokens(),
                              .max_total_tokens = group.max_total_tokens,
                              .max_model_len = parts_.config.max_model_len},
                   .num_streams = group.num_seats(),
                   .alone = running_.empty()};
  for (const Sequence& sequence : group.sequences) {
    if (&sequence == &group.front()) continue;
    entry.num_branch_blocks += parts_.space.NumToJoin(sequence.num_tokens(), NumSharedWithFront(group, sequence));
  }
  return entry;
}

void Residency::Enter(SequenceGroup& group, const KvManager::Match& match) {
  const KvEntry entry = EntryOf(group);
  Sequence& front = group.front();
  group.state = State::kRunning;
  ++group.epoch;
  num_seats_ += group.num_seats();
  Insert(running_, group);
  AdmitToSeat(group, front);
  parts_.space.Enter(entry, match, front.table, group.reserved_tables);
  front.chain = match.chain;
  front.num_computed = static_cast<uint32_t>(match.blocks.size()) * parts_.config.block_size;
  PrepareWrite(front, front.num_tokens());
}

void Residency::AdmitToSeat(SequenceGroup& group, Sequence& sequence) {
  parts_.builder.Admit(group, sequence);
  group.ExpectGrowth(sequence, parts_.config.block_size);
}

// Full blocks of the sequence that the front one has (or will have) with the same content, leaving a token to compute.
uint32_t Residency::NumSharedWithFront(const SequenceGroup& group, const Sequence& sequence) const {
  const std::vector<int32_t>& front = group.front().tokens;
  const auto differs = std::ranges::mismatch(front, sequence.tokens);
  const auto num_common = static_cast<uint32_t>(differs.in1 - front.begin());
  return parts_.space.NumShareable(std::min(num_common, sequence.num_tokens() - 1));
}

void Residency::Join(SequenceGroup& group) {
  const auto absent = [](const Sequence& sequence) { return !sequence.seat; };
  if (std::ranges::none_of(group.sequences, absent)) return;
  const Sequence& front = group.front();
  if (front.seat && front.num_remaining() > 1) return;
  for (Sequence& sequence : group.sequences) {
    if (!sequence.seat && !JoinOne(group, sequence)) return;
  }
}

// False: the others have to wait.
bool Residency::JoinOne(SequenceGroup& group, Sequence& sequence) {
  KvSpace& space = parts_.space;
  const Sequence& front = group.front();
  const bool is_front = &sequence == &front;
  const uint32_t num_shared =
      is_front ? 0 : std::min(NumSharedWithFront(group, sequence), front.num_computed / parts_.config.block_size);
  if (!MakeRoom(group, space.NumToJoin(sequence.num_tokens(), num_shared))) return false;
  space.Join(sequence.table, front.table, num_shared, group.reserved_tables);
  AdmitToSeat(group, sequence);
  sequence.chain = space.cache().NoMatch(group.scope()).chain;
  sequence.num_computed = num_shared * parts_.config.block_size;
  PrepareWrite(sequence, sequence.num_tokens());
  return !is_front;
}

// Exactly what PrepareWrite of its sequences that decode takes: of those who write to a block that nobody else shares,
// the last one writes in place.
uint32_t Residency::NumBlocksToDecode(const SequenceGroup& group) const {
  if (group.sequences.size() == 1) {
    const Sequence& only = group.front();
    return only.table.NumBlocksToWrite(only.num_computed, only.num_tokens());
  }
  const BlockPool& pool = parts_.space.pool();
  uint32_t num_blocks = 0;
  write_counts_.clear();
  for (const Sequence& sequence : group.sequences) {
    if (!sequence.decodes()) continue;
    if (sequence.num_computed == sequence.table.num_slots()) {
      ++num_blocks;
      continue;
    }
    const BlockId block = sequence.table.blocks()[sequence.num_computed / parts_.config.block_size];
    if (pool.references(block) == 1) continue;
    auto seen = std::ranges::find(write_counts_, block, &std::pair<BlockId, uint32_t>::first);
    if (seen == write_counts_.end()) seen = write_counts_.insert(write_counts_.end(), {block, pool.references(block)});
    if (seen->second == 1) continue;
    --seen->second;
    ++num_blocks;
  }
  return num_blocks;
}

bool Residency::MakeRoomToDecode(SequenceGroup& group) { return MakeRoom(group, NumBlocksToDecode(group)); }

// False: not now, because the group itself had to go, or transfers hold what it needs.
bool Residency::MakeRoom(SequenceGroup& group, uint32_t num_blocks) {
  while (parts_.space.num_available() < num_blocks) {
    if (!held_.empty()) {
      held_.clear();
      continue;
    }
    SequenceGroup& victim = *running_.back();
    if (running_.size() == 1) {
      // Alone, it has room for all that it may become: unless transfers hold some of it, for now.
      QUIRE_CHECK(parts_.builder.ledger().num_held_blocks() > 0, "request {} runs alone and needs {} more blocks of {}",
                  static_cast<uint64_t>(group.request.id), num_blocks, parts_.config.num_blocks);
      return false;
    }
    Preempt(victim);
    if (&victim == &group) return false;
  }
  return true;
}

void Residency::PrepareWrite(Sequence& sequence, uint32_t end) {
  copies_.clear();
  parts_.builder.SendBlocks(sequence, sequence.num_computed);  // what is copied has to be in the runner's table
  const bool prepared = sequence.table.PrepareWrite(sequence.num_computed, end, copies_);
  QUIRE_CHECK(prepared, "blocks for tokens {} to {} were available", sequence.num_computed, end);
  parts_.builder.AddCopies(sequence, copies_);
  counters_.num_blocks_copied += copies_.size();
}

size_t Residency::PrepareDrafts(Sequence& sequence, size_t num_drafts) {
  const uint32_t num_available = parts_.space.num_available();
  const uint32_t num_spare = num_available - std::min(num_available, num_seats_);
  const uint32_t num_known = sequence.num_tokens();
  auto num_fitting = static_cast<uint32_t>(num_drafts);
  const auto takes = [&](uint32_t n) { return sequence.table.NumBlocksToWrite(num_known, num_known + n); };
  while (num_fitting > 0 && takes(num_fitting) > num_spare) --num_fitting;
  if (num_fitting > 0) PrepareWrite(sequence, num_known + num_fitting);
  return num_fitting;
}

// One of several streams ends. Whoever was swapped out, or was on its way, is computed again.
void Residency::EndStream(SequenceGroup& group, Sequence& sequence) {
  if (group.state == State::kSwapped) {
    std::erase(swapped_, &group);
    group.swapped.Clear();
    ++group.epoch;
    Requeue(group);
  } else if (group.state == State::kLoading || group.state == State::kResuming) {
    std::erase(running_, &group);
    group.swapped.Clear();
    ReleaseMemory(group);
    Requeue(group);
  }
  const bool waits = group.state == State::kWaiting;
  if (waits) {
    parts_.waiting.Remove(group);
  } else {
    --num_seats_;
    parts_.builder.FreeSeat(sequence);
    HoldForBatch(sequence);
  }
  group.sequences.erase(group.sequences.begin() + (&sequence - group.sequences.data()));
  if (waits) parts_.waiting.Insert(group);
}

// A static batch keeps the memory of who has ended until all have.
void Residency::HoldForBatch(Sequence& sequence) {
  if (parts_.config.batching == Batching::kStatic && sequence.table.num_blocks() > 0) {
    held_.push_back(std::move(sequence.table));
  }
}

void Residency::Remove(SequenceGroup& group) {
  switch (group.state) {
    case State::kWaiting:
      parts_.waiting.Remove(group);
      return;
    case State::kSwapped:
      std::erase(swapped_, &group);
      group.swapped.Clear();
      return;
    case State::kLoading:
    case State::kRunning:
    case State::kResuming:
      std::erase(running_, &group);
      group.swapped.Clear();
      for (Sequence& sequence : group.sequences) HoldForBatch(sequence);
      ReleaseMemory(group);
      if (running_.empty()) held_.clear();
      return;
  }
}

void Residency::BeginNextPart(SequenceGroup& group) {
  Remove(group);
  group.BeginNextPart(parts_.space.cache().MakeTable());
  Requeue(group);
}

void Residency::ReleaseMemory(SequenceGroup& group) {
  num_seats_ -= group.num_seats();
  for (Sequence& sequence : group.sequences) {
    parts_.builder.FreeSeat(sequence);
    sequence.table.Clear();
    sequence.chain = {};
  }
  group.reserved_tables.clear();
  ++group.epoch;
}

// REQUIRES: it holds no memory any more.
void Residency::Requeue(SequenceGroup& group) {
  group.state = State::kWaiting;
  group.waits_since_step = parts_.builder.number();
  for (Sequence& sequence : group.sequences) sequence.num_computed = 0;
  parts_.waiting.Insert(group);
}

}  // namespace quire
