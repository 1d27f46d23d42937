// Who gives way, and how: the youngest, by recompute or by swap, whichever is cheaper; and coming back from swap space.
#include <algorithm>

#include "base/check.h"
#include "sched/residency.h"

namespace quire {

bool Residency::CanSwap(const SequenceGroup& victim) const {
  const auto has_content = [](const Sequence& s) { return s.kv.num_computed > 0; };
  const auto has_seat = [](const Sequence& s) { return s.seat.has_value(); };
  return swapper_.enabled() && victim.state == State::kRunning && std::ranges::any_of(victim.sequences, has_content) &&
         std::ranges::all_of(victim.sequences, has_seat);
}

PreemptionMode Residency::ChoosePreemption(const SequenceGroup& victim) const {
  const SchedulerConfig& config = parts_.config;
  if (!CanSwap(victim)) return PreemptionMode::kRecompute;
  if (config.preemption_mode != PreemptionMode::kAuto) return config.preemption_mode;
  uint32_t num_blocks = 0, num_tokens = 0;
  for (const Sequence& sequence : victim.sequences) {
    const uint32_t num_shared = &sequence == &victim.front() ? 0 : NumSharedWithFront(victim, sequence);
    for (const BlockTable& table : sequence.kv.tables()) {
      num_blocks += table.num_blocks() - std::max(table.first_block(), std::min(table.num_blocks(), num_shared));
    }
    num_tokens += sequence.kv.num_computed - std::min(sequence.kv.num_computed, num_shared * config.block_size);
  }
  const double swap_us = swapper_.RoundTripUs(num_blocks);
  const double recompute_us = parts_.chunk_budget.PromptUs(parts_.builder.step().load, num_tokens);
  if (swap_us <= 0) return PreemptionMode::kSwap;  // which tells what it costs
  // Before computing has a price: as the paper's authors did.
  if (recompute_us <= 0) return victim.sequences.size() > 1 ? PreemptionMode::kSwap : PreemptionMode::kRecompute;
  return swap_us < recompute_us ? PreemptionMode::kSwap : PreemptionMode::kRecompute;
}

// Within Plan: the runner learns of it with this very plan, in which the victim has no rows.
void Residency::Preempt(SequenceGroup& group) {
  QUIRE_CHECK(running_.back() == &group);
  running_.pop_back();
  parts_.builder.Drop(group);
  const PreemptionMode mode = ChoosePreemption(group);
  if (mode == PreemptionMode::kRecompute && parts_.config.preemption_mode == PreemptionMode::kAuto) swapper_.Fade();
  constexpr std::string_view kReason = "no free KV block";
  if (mode == PreemptionMode::kRecompute || !SwapOut(group, kReason)) GiveUpAll(group, kReason);
  parts_.builder.SendRemovals();
  preempted_in_step_ = true;
}

// False: swap space is full, and nothing has changed.
bool Residency::SwapOut(SequenceGroup& group, std::string_view reason) {
  if (!swapper_.Out(group)) return false;
  num_seats_ -= group.num_seats();
  for (Sequence& sequence : group.sequences) {
    parts_.builder.FreeSeat(sequence);
    sequence.kv.chain = {};
  }
  group.state = State::kSwapped;
  Insert(swapped_, group);
  ++counters_.preemptions[PreemptionMode::kSwap];
  SchedulerEvent& event = parts_.events.Emit(SchedulerEvent::Kind::kPreempted, group);
  event.preemption = PreemptionMode::kSwap;
  event.error = reason;
  return true;
}

bool Residency::ResumeFirst() {
  if (swapped_.empty()) return false;
  SequenceGroup& group = *swapped_.front();
  if (!HasSeats(group)) return false;
  // Beside what it had: what it goes on with, so that it does not have to go again at once.
  KvManager& cache = parts_.space.cache();
  const bool alone = running_.empty();
  uint32_t growth = 0;
  for (const Sequence& sequence : group.sequences) {
    if (!alone) growth += parts_.space.NumToGoOn(sequence.num_remaining());
  }
  const KvManager::Match none = cache.NoMatch(group.scope());
  if (cache.CanStart(group.swapped.num_blocks() + growth, none, alone) != KvFit::kNow) return false;
  if (!swapper_.In(group)) return false;
  swapped_.erase(swapped_.begin());
  num_seats_ += group.num_seats();
  for (Sequence& sequence : group.sequences) {
    AdmitToSeat(group, sequence);
    sequence.kv.chain = none.chain;
  }
  group.state = State::kResuming;
  Insert(running_, group);
  return true;
}

void Residency::ReportSwap(SequenceGroup* group, Transfer::Kind kind, bool completed) {
  const bool out = kind == Transfer::Kind::kSwapOut;
  const Swapper::Progress progress = swapper_.Report(group, kind, completed);
  if (progress == Swapper::Progress::kFailed) return LoseSwapped(*group, out);
  if (progress == Swapper::Progress::kUnderWay || out) return;
  group->state = State::kRunning;
  group->swapped.Clear();
  parts_.events.Emit(SchedulerEvent::Kind::kAdmitted, *group);
}

// What it had is lost: it is computed again.
void Residency::LoseSwapped(SequenceGroup& group, bool out) {
  group.swapped.Clear();
  if (out) {
    std::erase(swapped_, &group);
    ++group.epoch;
  } else {
    std::erase(running_, &group);
    ReleaseMemory(group);
    ++counters_.preemptions[PreemptionMode::kRecompute];  // otherwise it is the preemption that was counted as a swap
  }
  Requeue(group);
  parts_.events.Emit(SchedulerEvent::Kind::kPreempted, group).error = "swapping failed";
}

void Residency::PreemptAll() {
  for (; !running_.empty(); running_.pop_back()) GiveUpAll(*running_.back(), "all requests were preempted");
}

// To be computed again. REQUIRES: it is taken from running_, before or after.
void Residency::GiveUpAll(SequenceGroup& group, std::string_view reason) {
  ReleaseMemory(group);
  Requeue(group);
  ++counters_.preemptions[PreemptionMode::kRecompute];
  parts_.events.Emit(SchedulerEvent::Kind::kPreempted, group).error = reason;
}

// Room is judged as if nothing of its prompt were cached: who gives way for that gives way a little early.
std::optional<Shortage> Residency::ShortageOf(const SequenceGroup& next) const {
  const SchedulerConfig& config = parts_.config;
  Shortage shortage = {.num_clients = parts_.waiting.num_active_clients()};
  if (!HasSeats(next)) {
    shortage.of = Shortage::Of::kSeats;
    shortage.num_total = config.max_num_seqs;
    shortage.num_wanted = next.num_seats();
  } else if (!CanEnter(next, parts_.space.cache().NoMatch(next.scope()))) {
    shortage.of = Shortage::Of::kBlocks;
    shortage.num_total = config.num_blocks;
    shortage.num_wanted =
        static_cast<uint32_t>(parts_.space.NumToEnter(EntryOf(next), parts_.space.cache().NoMatch(next.scope())));
  } else {
    return std::nullopt;
  }
  return shortage;
}

void Residency::ShareFairly(const SequenceGroup& next) {
  while (const std::optional<Shortage> shortage = ShortageOf(next)) {
    SequenceGroup* victim = WhoGivesWayTo(next, *shortage, running_);
    if (victim == nullptr) return;
    std::erase(running_, victim);
    parts_.builder.Drop(*victim);
    GiveUpAll(*victim, "another client's turn");
    parts_.builder.SendRemovals();
  }
}

}  // namespace quire
