// Who has memory: admission, growth, preemption by recompute and by swap, coming back, leaving.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/scheduler.h"
#include "sched/stop_rules.h"

namespace quire {

uint32_t Scheduler::NumSlotsAtAdmission(const SequenceGroup& group) const {
  return kv_policy_.SlotsAtAdmission({.num_prompt_tokens = group.num_prompt_tokens(),
                                      .num_known_tokens = group.front().num_tokens(),
                                      .max_total_tokens = group.max_total_tokens,
                                      .max_model_len = config_.max_model_len});
}

bool Scheduler::FitsNow(const SequenceGroup& group, const KvManager::Match& match) const {
  const uint32_t num_slots = NumSlotsAtAdmission(group);
  if (kv_policy_.contiguous()) return kv_.CanReserveChunks(group.num_seats(), num_slots);
  uint32_t num_blocks = BlocksForTokens(num_slots, config_.block_size);
  for (const Sequence& sequence : group.sequences) {
    if (&sequence == &group.front()) continue;
    num_blocks += BlocksForTokens(sequence.num_tokens(), config_.block_size) - NumSharedWithFront(group, sequence);
  }
  return kv_.CanStart(num_blocks, match, running_.empty()) == KvFit::kNow;
}

void Scheduler::Insert(std::vector<SequenceGroup*>& groups, SequenceGroup& group) {
  groups.insert(std::upper_bound(groups.begin(), groups.end(), &group, before_), &group);
}

// REQUIRES: FitsNow, and it is not among those who wait any more.
void Scheduler::Enter(SequenceGroup& group, const KvManager::Match& match) {
  Sequence& front = group.front();
  group.state = State::kRunning;
  ++group.epoch;
  num_seats_ += group.num_seats();
  Insert(running_, group);
  SitDown(group, front);
  if (kv_policy_.contiguous()) return ReserveChunks(group);
  front.table.Share(match.blocks);
  front.chain = match.chain;
  front.num_computed = static_cast<uint32_t>(match.blocks.size()) * config_.block_size;
  PrepareWrite(front, front.num_tokens());
}

void Scheduler::ReserveChunks(SequenceGroup& group) {
  const uint32_t num_slots = NumSlotsAtAdmission(group);
  bool reserved = group.front().table.ReserveChunk(num_slots);
  while (group.spare_tables.size() + 1 < group.num_seats()) {
    group.spare_tables.push_back(kv_.MakeTable());
    reserved = group.spare_tables.back().ReserveChunk(num_slots) && reserved;
  }
  QUIRE_CHECK(reserved, "{} chunks of {} token slots were free", group.num_seats(), num_slots);
}

SlotId Scheduler::TakeSlot() {
  QUIRE_CHECK(!free_slots_.empty(), "{} sequences of {} run", num_seats_, config_.max_num_seqs);
  const SlotId slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

// During Plan: the runner hears of it with this plan.
void Scheduler::SitDown(SequenceGroup& group, Sequence& sequence) {
  sequence.slot = TakeSlot();
  sequence.num_blocks_sent = 0;
  slots_[static_cast<size_t>(*sequence.slot)] = &group;
  ExpectGrowth(group, sequence);
  plan_.admissions.push_back({.slot = *sequence.slot,
                              .request = group.request.id,
                              .stream = sequence.stream,
                              .params = group.request.params,
                              .stop_token_ids = MaskedStopTokens(group.request),
                              .history = sequence.tokens,
                              .num_prompt_tokens = group.num_prompt_tokens()});
}

// So that decoding allocates nothing on the heap, up to a bound on what an unusually long answer may set aside.
void Scheduler::ExpectGrowth(const SequenceGroup& group, Sequence& sequence) {
  constexpr uint32_t kMaxExpected = 4096;
  const uint32_t num_total = std::min(group.max_total_tokens, sequence.num_tokens() + kMaxExpected);
  sequence.tokens.reserve(num_total);
  sequence.table.ExpectBlocks(BlocksForTokens(num_total, config_.block_size));
}

// Full blocks of the sequence that the front one has (or will have) with the same content, leaving a token to compute.
uint32_t Scheduler::NumSharedWithFront(const SequenceGroup& group, const Sequence& sequence) const {
  const std::vector<int32_t>& front = group.front().tokens;
  const auto differs = std::ranges::mismatch(front, sequence.tokens);
  const auto num_common = static_cast<uint32_t>(differs.in1 - front.begin());
  return std::min(num_common, sequence.num_tokens() - 1) / config_.block_size;
}

// A group of several streams that computes again after a preemption: the front sequence comes first, then the others
// share with it what they have in common.
void Scheduler::JoinSequences(SequenceGroup& group) {
  const auto absent = [](const Sequence& sequence) { return !sequence.slot; };
  if (std::ranges::none_of(group.sequences, absent)) return;
  Sequence& front = group.front();
  if (front.slot && front.num_remaining() > 1) return;
  for (Sequence& sequence : group.sequences) {
    if (sequence.slot) continue;
    const bool is_front = &sequence == &front;
    const bool shares = !is_front && !kv_policy_.contiguous();
    const uint32_t num_shared =
        shares ? std::min(NumSharedWithFront(group, sequence), front.num_computed / config_.block_size) : 0;
    if (kv_policy_.contiguous()) {
      sequence.table = std::move(group.spare_tables.back());
      group.spare_tables.pop_back();
    } else {
      const uint32_t num_blocks = BlocksForTokens(sequence.num_tokens(), config_.block_size) - num_shared;
      if (MakeRoom(group, num_blocks) != Memory::kReserved) return;
    }
    SitDown(group, sequence);
    sequence.table.Share(front.table.blocks().first(num_shared));
    sequence.chain = kv_.NoMatch(group.scope()).chain;
    sequence.num_computed = num_shared * config_.block_size;
    PrepareWrite(sequence, sequence.num_tokens());
    if (is_front) return;
  }
}

// Exactly what PrepareWrite of its sequences that decode takes: of those who write to a block that nobody else shares,
// the last one writes in place.
uint32_t Scheduler::NumBlocksToDecode(const SequenceGroup& group) const {
  if (group.sequences.size() == 1) {
    const Sequence& only = group.front();
    return only.table.NumBlocksToWrite(only.num_computed, only.num_tokens());
  }
  uint32_t num_blocks = 0;
  write_counts_.clear();
  for (const Sequence& sequence : group.sequences) {
    if (!sequence.slot || sequence.num_remaining() != 1) continue;
    if (sequence.num_computed == sequence.table.num_slots()) {
      ++num_blocks;
      continue;
    }
    const BlockId block = sequence.table.blocks()[sequence.num_computed / config_.block_size];
    if (kv_.pool().references(block) == 1) continue;
    auto seen = std::ranges::find(write_counts_, block, &std::pair<BlockId, uint32_t>::first);
    if (seen == write_counts_.end()) {
      seen = write_counts_.insert(write_counts_.end(), {block, kv_.pool().references(block)});
    }
    if (seen->second == 1) continue;
    --seen->second;
    ++num_blocks;
  }
  return num_blocks;
}

Scheduler::Memory Scheduler::MakeRoom(SequenceGroup& group, uint32_t num_blocks) {
  while (kv_.pool().num_available() < num_blocks) {
    if (!held_.empty()) {
      held_.clear();
      continue;
    }
    SequenceGroup& victim = *running_.back();
    if (running_.size() == 1) {
      // Alone, it has room for all that it may become: unless transfers hold some of it, for now.
      QUIRE_CHECK(num_blocks_in_transfer_ > 0, "request {} runs alone and needs {} more blocks of {}",
                  static_cast<uint64_t>(group.request.id), num_blocks, config_.num_blocks);
      return Memory::kMustWait;
    }
    Preempt(victim);
    if (&victim == &group) return Memory::kPreempted;
  }
  return Memory::kReserved;
}

// REQUIRES: room for it.
void Scheduler::PrepareWrite(Sequence& sequence, uint32_t end) {
  copies_.clear();
  SendBlocks(sequence, sequence.num_computed);  // what is copied has to be in the runner's table
  const bool prepared = sequence.table.PrepareWrite(sequence.num_computed, end, copies_);
  QUIRE_CHECK(prepared, "blocks for tokens {} to {} were available", sequence.num_computed, end);
  for (const CopyOnWrite& copy : copies_) {
    QUIRE_CHECK_LT(copy.table_index, sequence.num_blocks_sent);
    plan_.copies.push_back({*sequence.slot, copy.table_index, copy.source, copy.destination});
    ++counters_.num_blocks_copied;
  }
}

PreemptionMode Scheduler::ChoosePreemption(const SequenceGroup& victim) const {
  const bool has_content = std::ranges::any_of(victim.sequences, [](const Sequence& s) { return s.num_computed > 0; });
  const bool is_whole = std::ranges::all_of(victim.sequences, [](const Sequence& s) { return s.slot.has_value(); });
  if (config_.num_swap_blocks == 0 || !has_content || !is_whole || victim.state != State::kRunning ||
      plan_.step < swapping_resumes_at_step_) {
    return PreemptionMode::kRecompute;
  }
  if (config_.preemption_mode != PreemptionMode::kAuto) return config_.preemption_mode;
  uint32_t num_blocks = 0, num_tokens = 0;
  for (const Sequence& sequence : victim.sequences) {
    const uint32_t num_shared = &sequence == &victim.front() ? 0 : NumSharedWithFront(victim, sequence);
    num_blocks += sequence.table.num_blocks() - num_shared;
    num_tokens += sequence.num_computed - std::min(sequence.num_computed, num_shared * config_.block_size);
  }
  const double swap_us = swap_cost_.RoundTripUs(num_blocks);
  const double recompute_us = chunk_budget_.PromptUs(rows_.planned, num_tokens);
  if (swap_us <= 0) return PreemptionMode::kSwap;  // which tells what it costs
  // Before computing has a price: as the paper's authors did.
  if (recompute_us <= 0) return victim.sequences.size() > 1 ? PreemptionMode::kSwap : PreemptionMode::kRecompute;
  return swap_us < recompute_us ? PreemptionMode::kSwap : PreemptionMode::kRecompute;
}

// Within Plan: the runner learns of it with this very plan, in which the victim has no rows.
void Scheduler::Preempt(SequenceGroup& group) {
  QUIRE_CHECK(running_.back() == &group);
  running_.pop_back();
  DropFromPlan(group);
  PreemptionMode mode = ChoosePreemption(group);
  if (mode == PreemptionMode::kRecompute && config_.preemption_mode == PreemptionMode::kAuto) swap_cost_.Fade();
  if (mode == PreemptionMode::kSwap && !SwapOut(group)) mode = PreemptionMode::kRecompute;
  if (mode == PreemptionMode::kRecompute) {
    Leave(group);
    Wait(group);
  }
  for (const SlotId slot : left_slots_) {
    plan_.removals.push_back(slot);
    free_slots_.push_back(slot);
  }
  left_slots_.clear();
  preempted_in_plan_ = true;
  ++(mode == PreemptionMode::kSwap ? counters_.num_preemptions_swap : counters_.num_preemptions_recompute);
  SchedulerEvent& event = Emit(SchedulerEvent::Kind::kPreempted, group);
  event.preemption = mode;
  event.error = "no free KV block";
}

// REQUIRES: it holds no memory any more.
void Scheduler::Wait(SequenceGroup& group) {
  group.state = State::kWaiting;
  group.waits_since_step = plan_.step;
  for (Sequence& sequence : group.sequences) sequence.num_computed = 0;
  waiting_.Insert(group);
  num_waiting_tokens_ += group.front().num_tokens();
}

// What this plan was to do for its slots before they are given up. Slots that it was to enter stay empty.
void Scheduler::DropFromPlan(SequenceGroup& group) {
  const auto is_own = [&](const auto& entry) {
    return std::ranges::any_of(group.sequences, [&](const Sequence& s) { return s.slot == entry.slot; });
  };
  std::erase_if(plan_.token_appends, is_own);
  std::erase_if(plan_.appended_blocks, is_own);
  std::erase_if(plan_.copies, is_own);
  for (Sequence& sequence : group.sequences) {
    if (!sequence.slot) continue;
    const size_t num_erased =
        std::erase_if(plan_.admissions, [&](const Admission& a) { return a.slot == *sequence.slot; });
    if (num_erased == 0) continue;
    slots_[static_cast<size_t>(*sequence.slot)] = nullptr;
    free_slots_.push_back(*std::exchange(sequence.slot, std::nullopt));
  }
}

// All or nothing. False: swap space is full, and nothing has changed.
bool Scheduler::SwapOut(SequenceGroup& group) {
  std::vector<BlockTable*> tables;
  for (Sequence& sequence : group.sequences) tables.push_back(&sequence.table);
  moves_.clear();
  if (!group.swapped.Out(swap_, tables, moves_)) return false;
  group.num_transfers = static_cast<uint32_t>(moves_.size());
  group.transfer_failed = false;
  for (const SwapMove& move : moves_) {
    Transfer& transfer =
        AddTransfer({.kind = Transfer::Kind::kSwapOut, .request = group.request.id, .epoch = group.epoch});
    transfer.block = move.block;
    transfer.place = static_cast<uint32_t>(move.place);
  }
  num_seats_ -= group.num_seats();
  for (Sequence& sequence : group.sequences) {
    LeaveSlot(sequence);
    sequence.chain = {};
  }
  group.state = State::kSwapped;
  Insert(swapped_, group);
  return true;
}

// False: no room for it yet.
bool Scheduler::ResumeSwapped(SequenceGroup& group) {
  if (num_seats_ + group.num_seats() > config_.max_num_seqs) return false;
  // One block more for each sequence, so that it does not have to go again at once.
  const bool alone = running_.empty();
  const uint32_t growth = alone ? 0 : static_cast<uint32_t>(group.sequences.size());
  if (kv_.CanStart(group.swapped.num_blocks() + growth, kv_.NoMatch(group.scope()), alone) != KvFit::kNow) return false;
  std::vector<BlockTable*> tables;
  for (Sequence& sequence : group.sequences) tables.push_back(&sequence.table);
  moves_.clear();
  if (!group.swapped.In(kv_.mutable_pool(), tables, moves_)) return false;
  swapped_.erase(swapped_.begin());
  ++group.epoch;
  num_seats_ += group.num_seats();
  for (Sequence& sequence : group.sequences) {
    SitDown(group, sequence);
    sequence.chain = kv_.NoMatch(group.scope()).chain;
  }
  group.state = State::kResuming;
  group.num_transfers = static_cast<uint32_t>(moves_.size());
  group.transfer_failed = false;
  for (const SwapMove& move : moves_) {
    Transfer& transfer =
        AddTransfer({.kind = Transfer::Kind::kSwapIn, .request = group.request.id, .epoch = group.epoch});
    transfer.block = move.block;
    transfer.place = static_cast<uint32_t>(move.place);
  }
  Insert(running_, group);
  return true;
}

void Scheduler::PreemptAll() {
  QUIRE_CHECK(!in_flight_);
  ForgetDelivered();
  for (; !running_.empty(); running_.pop_back()) {
    SequenceGroup& group = *running_.back();
    Leave(group);
    Wait(group);
    ++counters_.num_preemptions_recompute;
    Emit(SchedulerEvent::Kind::kPreempted, group).error = "all requests were preempted";
  }
}

void Scheduler::LeaveSlot(Sequence& sequence) {
  if (!sequence.slot) return;
  const SlotId slot = *std::exchange(sequence.slot, std::nullopt);
  slots_[static_cast<size_t>(slot)] = nullptr;
  left_slots_.push_back(slot);
  std::erase_if(token_appends_, [&](const TokenAppend& append) { return append.slot == slot; });
  for (PendingFork& pending : forks_) {
    if (pending.fork.child == slot) pending.copies.clear();
  }
}

void Scheduler::Leave(SequenceGroup& group) {
  num_seats_ -= group.num_seats();
  for (Sequence& sequence : group.sequences) {
    LeaveSlot(sequence);
    sequence.table.Clear();
    sequence.chain = {};
  }
  group.spare_tables.clear();
  ++group.epoch;
}

// One of several streams ends. REQUIRES: it is not the last.
void Scheduler::EndStream(SequenceGroup& group, Sequence& sequence) {
  if (group.state == State::kSwapped) {
    std::erase(swapped_, &group);
    group.swapped.Clear();
    ++group.epoch;
    Wait(group);
  } else if (group.state == State::kLoading || group.state == State::kResuming) {
    std::erase(running_, &group);
    group.swapped.Clear();
    Leave(group);
    Wait(group);
  }
  const bool waits = group.state == State::kWaiting;
  if (waits) {
    num_waiting_tokens_ -= group.front().num_tokens();
  } else {
    --num_seats_;
    LeaveSlot(sequence);
    HoldForBatch(sequence);
  }
  group.sequences.erase(group.sequences.begin() + (&sequence - group.sequences.data()));
  if (waits) num_waiting_tokens_ += group.front().num_tokens();
}

// A static batch keeps the memory of who has ended until all have.
void Scheduler::HoldForBatch(Sequence& sequence) {
  if (config_.batching == Batching::kStatic && sequence.table.num_blocks() > 0) {
    held_.push_back(std::move(sequence.table));
  }
}

void Scheduler::Forget(RequestId id) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return;
  Dismiss(*found->second);
  groups_.erase(found);
}

// Takes the group out of wherever it is, but for the map that owns it.
void Scheduler::Dismiss(SequenceGroup& group) {
  switch (group.state) {
    case State::kWaiting:
      waiting_.Remove(group);
      num_waiting_tokens_ -= group.front().num_tokens();
      break;
    case State::kSwapped:
      std::erase(swapped_, &group);
      group.swapped.Clear();
      break;
    case State::kLoading:
    case State::kRunning:
    case State::kResuming:
      std::erase(running_, &group);
      group.swapped.Clear();
      for (Sequence& sequence : group.sequences) HoldForBatch(sequence);
      Leave(group);
      if (running_.empty()) held_.clear();
      break;
  }
  waiting_.RemoveActive(group);
}

// The prompt's full blocks stay referenced, and so in memory, until the end. False, and nothing has changed: some
// request that is here already could not run any more.
bool Scheduler::PinPrompt(const SequenceGroup& group) {
  const uint32_t num_blocks = group.num_prompt_tokens() / config_.block_size;
  uint32_t num_pinned = num_pinned_blocks_;
  for (const BlockId block : group.front().table.blocks().first(num_blocks)) {
    const auto holds = [&](const BlockTable& table) {
      return std::ranges::find(table.blocks(), block) != table.blocks().end();
    };
    if (std::ranges::none_of(pinned_, holds)) ++num_pinned;
  }
  for (const auto& [id, other] : groups_) {
    if (other.get() != &group && !FitsBeside(other->request, num_pinned).ok()) return false;
  }
  pinned_.push_back(group.front().table.ForkPrefix(num_blocks));
  num_pinned_blocks_ = num_pinned;
  return true;
}

}  // namespace quire
