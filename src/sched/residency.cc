#include "sched/residency.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

Residency::Residency(const Parts& parts)
    : parts_(parts),
      order_{parts.config.policy == QueuePolicy::kPriority},
      swapper_(parts.config.num_swap_blocks, parts.space, parts.builder) {
  running_.reserve(parts.config.max_num_seqs);
}

void Residency::BeginStep() {
  preempted_in_step_ = false;
  if (running_.empty()) held_.clear();
  batch_is_open_ = running_.empty() && swapped_.empty();
}

uint32_t Residency::NumPinnedWith(const SequenceKv& kv) const {
  const auto holds = [](const SequenceKv& pinned, BlockId block) {
    return std::ranges::any_of(pinned.tables(), [&](const BlockTable& table) {
      return std::ranges::find(table.blocks(), block) != table.blocks().end();
    });
  };
  uint32_t num_pinned = num_pinned_blocks_;
  for (const BlockTable& table : kv.tables()) {
    for (const BlockId block : table.blocks()) {
      if (std::ranges::none_of(pinned_, [&](const SequenceKv& pinned) { return holds(pinned, block); })) ++num_pinned;
    }
  }
  return num_pinned;
}

void Residency::Pin(SequenceKv kv) {
  num_pinned_blocks_ = NumPinnedWith(kv);
  pinned_.push_back(std::move(kv));
}

bool Residency::PinPrompt(const SequenceGroup& group, const SequenceGroups& all) {
  SequenceKv prompt = group.front().kv.ForkPrefix(group.num_prompt_tokens() / parts_.config.block_size);
  const uint32_t num_pinned = NumPinnedWith(prompt);
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
  groups.insert(std::upper_bound(groups.begin(), groups.end(), &group, order_), &group);
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
    const uint32_t num_shared = NumSharedWithFront(group, sequence);
    entry.num_branch_blocks += parts_.space.NumToJoin(sequence.num_tokens(), num_shared, false);
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
  parts_.space.Enter(entry, match, front.kv, group.reserved);
  Reserve(front, true);
}

void Residency::Reserve(Sequence& sequence, bool is_first) {
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) {
    PrepareWrite(sequence, i, parts_.space.ReservedEnd(i, sequence.kv.num_computed, sequence.num_tokens(), is_first));
  }
}

void Residency::AdmitToSeat(SequenceGroup& group, Sequence& sequence) {
  parts_.builder.Admit(group, sequence);
  group.ExpectGrowth(sequence, parts_.space.cache().groups(), parts_.config.block_size);
}

// Full blocks of the sequence that the front one has (or will have) with the same content, leaving a token to compute.
uint32_t Residency::NumSharedWithFront(const SequenceGroup& group, const Sequence& sequence) const {
  return parts_.space.NumShareable(group.NumSharedTokens(sequence));
}

void Residency::Join(SequenceGroup& group) {
  const auto absent = [](const Sequence& sequence) { return !sequence.seat; };
  if (std::ranges::none_of(group.sequences, absent)) return;
  Sequence& front = group.front();
  if (!front.seat) {
    if (MakeRoom(group, parts_.space.NumToJoin(front.num_tokens(), 0, true))) JoinOne(group, front, 0);
    return;
  }
  if (front.num_remaining() > 1) return;
  // All of them or none: what they share is the first one's, which may end before another has joined.
  const auto num_shared = [&](const Sequence& sequence) {
    return std::min(NumSharedWithFront(group, sequence), front.kv.num_computed / parts_.config.block_size);
  };
  uint32_t num_blocks = 0;
  for (const Sequence& sequence : group.sequences) {
    if (!sequence.seat) num_blocks += parts_.space.NumToJoin(sequence.num_tokens(), num_shared(sequence), false);
  }
  if (!MakeRoom(group, num_blocks)) return;
  for (Sequence& sequence : group.sequences) {
    if (!sequence.seat) JoinOne(group, sequence, num_shared(sequence));
  }
}

// REQUIRES: room for it.
void Residency::JoinOne(SequenceGroup& group, Sequence& sequence, uint32_t num_shared) {
  KvSpace& space = parts_.space;
  space.Join(sequence.kv, group.front().kv, num_shared, group.reserved);
  AdmitToSeat(group, sequence);
  sequence.kv.chain = space.cache().NoMatch(group.scope()).chain;
  sequence.kv.num_computed = num_shared * parts_.config.block_size;
  Reserve(sequence, &sequence == &group.front());
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
  if (parts_.config.batching == Batching::kStatic && !sequence.kv.empty()) held_.push_back(std::move(sequence.kv));
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
  group.BeginNextPart(parts_.space.cache().MakeSequence());
  Requeue(group);
}

void Residency::EnterAnew(SequenceGroup& group) {
  std::erase(running_, &group);
  ReleaseMemory(group);
  Requeue(group);
}

void Residency::ReleaseMemory(SequenceGroup& group) {
  num_seats_ -= group.num_seats();
  for (Sequence& sequence : group.sequences) {
    parts_.builder.FreeSeat(sequence);
    sequence.kv.Clear();
  }
  group.reserved.clear();
  ++group.epoch;
}

// REQUIRES: it holds no memory any more.
void Residency::Requeue(SequenceGroup& group) {
  group.state = State::kWaiting;
  group.waits_since_step = parts_.builder.number();
  for (Sequence& sequence : group.sequences) sequence.kv.num_computed = 0;
  parts_.waiting.Insert(group);
}

}  // namespace quire
