// Residency: who holds KV memory and seats: groups that run, load their prefix, wait in swap space, or come back.
// Memory is promised on the way in, grown step by step, and taken back from the youngest when it is short, so that the
// oldest always goes on. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/kv_space.h"
#include "sched/chunk_budget.h"
#include "sched/fair_share.h"
#include "sched/scheduler_config.h"
#include "sched/scheduler_event.h"
#include "sched/sequence.h"
#include "sched/step_builder.h"
#include "sched/swapper.h"
#include "sched/waiting_queue.h"

namespace quire {

struct ResidencyCounters {
  EnumArray<PreemptionMode, uint64_t, kNumPreemptionModes> preemptions;
  uint64_t num_blocks_copied = 0;  // on write
};

class Residency {
 public:
  // What it works on. All outlive it.
  struct Parts {
    const SchedulerConfig& config;
    KvSpace& space;
    StepBuilder& builder;
    WaitingQueue& waiting;
    EventLog& events;
    const ChunkBudget& chunk_budget;
  };
  explicit Residency(const Parts& parts);

  const std::vector<SequenceGroup*>& running() const { return running_; }  // loading and resuming ones too
  const std::vector<SequenceGroup*>& swapped() const { return swapped_; }
  const std::vector<SequenceKv>& held() const { return held_; }
  uint32_t num_seats() const { return num_seats_; }
  bool RunsBefore(const SequenceGroup& a, const SequenceGroup& b) const { return order_(&a, &b); }
  const ResidencyCounters& counters() const { return counters_; }
  const Swapper& swapper() const { return swapper_; }

  // A step is being planned: nobody has been preempted in it.
  void BeginStep();
  bool preempted_in_step() const { return preempted_in_step_; }
  bool batch_is_open() const { return batch_is_open_; }  // a static one is being filled

  // Blocks that stay in memory until the end, whoever runs.
  const std::vector<SequenceKv>& pinned() const { return pinned_; }
  uint32_t num_pinned_blocks() const { return num_pinned_blocks_; }
  uint32_t NumPinnedWith(const SequenceKv& kv) const;  // if its blocks were, too
  void Pin(SequenceKv kv);
  // The prompt's full blocks. False, and nothing has changed: one of `all`, which are here already, could not run any
  // more.
  bool PinPrompt(const SequenceGroup& group, const SequenceGroups& all);

  // Coming.
  bool HasSeats(const SequenceGroup& group) const;
  KvEntry EntryOf(const SequenceGroup& group) const;
  bool CanEnter(const SequenceGroup& group, const KvManager::Match& match) const {
    return parts_.space.CanEnter(EntryOf(group), match);
  }
  // REQUIRES: HasSeats and CanEnter; it is in no queue.
  void Enter(SequenceGroup& group, const KvManager::Match& match);
  // The first of those in swap space, if there is room for it.
  bool ResumeFirst();

  // Staying. Sequences of a group that have no seat yet take theirs, as far as there is memory; the first one comes
  // first, then the others share with it what they have in common.
  void Join(SequenceGroup& group);
  // Makes the slot of its next token each decoding sequence's own, with memory of younger groups, which are preempted,
  // if need be. False: not now, and the group may be gone.
  bool PrepareDecode(SequenceGroup& group);
  // Has the group's prompts go on by a row at least, in the same way, as far as there is room. Their slots have been
  // there since it entered, but for those of windows.
  void MakeRoomForPrompts(SequenceGroup& group);
  // Makes slots for up to num_rows rows of a prompt the sequence's own: as many as leave those who decode the room to
  // grow by a block each. Returns how many it has.
  uint32_t PreparePrompt(Sequence& sequence, uint32_t num_rows);
  // Makes slots for up to num_drafts drafts behind its known tokens the sequence's own: as many as leave those who
  // decode the room to grow by a block each. Returns how many.
  size_t PrepareDrafts(Sequence& sequence, size_t num_drafts);
  void CountCopies(uint64_t num_blocks) { counters_.num_blocks_copied += num_blocks; }
  // What the sequence has computed has left windows behind: their blocks are given back, unless others of the group
  // have yet to share them.
  void GiveBackUnseen(const SequenceGroup& group, Sequence& sequence);

  // `next` waits, and is the next to enter. Where clients share fairly, requests of those who hold more than their
  // share of the seats (or of the blocks, if these are what it lacks) give way, the youngest first, until it fits. At
  // the beginning of a plan.
  void ShareFairly(const SequenceGroup& next);

  // Going.
  void PreemptAll();
  // Of several streams one ends. REQUIRES: it is not the last.
  void EndStream(SequenceGroup& group, Sequence& sequence);
  // Takes the group out of wherever it is.
  void Remove(SequenceGroup& group);
  // What was to be loaded for it did not come: it gives its memory back, and waits to enter again.
  void EnterAnew(SequenceGroup& group);
  // All streams of a part have ended: the next part waits for its turn.
  void BeginNextPart(SequenceGroup& group);

  // What a step's result says about swaps: first the whole of it, then each of them.
  void ObserveSwaps(const StepResult& result) { swapper_.Observe(result); }
  void ReportSwap(SequenceGroup* group, Transfer::Kind kind, bool completed);

 private:
  using State = SequenceGroup::State;

  void Insert(std::vector<SequenceGroup*>& groups, SequenceGroup& group);
  void AdmitToSeat(SequenceGroup& group, Sequence& sequence);
  uint32_t NumSharedWithFront(const SequenceGroup& group, const Sequence& sequence) const;
  void JoinOne(SequenceGroup& group, Sequence& sequence, uint32_t num_shared);
  void Reserve(Sequence& sequence, bool is_first);
  // Makes the slots of tokens [num_computed, end) the sequence's own. REQUIRES: room for it.
  void PrepareWrite(Sequence& sequence, uint32_t end);
  void PrepareWrite(Sequence& sequence, uint32_t group, uint32_t end);
  uint32_t NumFitting(const Sequence& sequence, uint32_t begin, uint32_t num_rows) const;
  uint32_t NumBlocksToDecode(const Sequence& sequence, const BlockTable& table) const;
  uint32_t NumBlocksToDecode(const SequenceGroup& group) const;
  bool MakeRoom(SequenceGroup& group, uint32_t num_blocks);
  bool CanSwap(const SequenceGroup& victim) const;
  PreemptionMode ChoosePreemption(const SequenceGroup& victim) const;
  void Preempt(SequenceGroup& group);
  std::optional<Shortage> ShortageOf(const SequenceGroup& next) const;
  void GiveUpAll(SequenceGroup& group, std::string_view reason);
  bool SwapOut(SequenceGroup& group, std::string_view reason);
  void ReleaseMemory(SequenceGroup& group);
  void Requeue(SequenceGroup& group);
  void HoldForBatch(Sequence& sequence);
  void LoseSwapped(SequenceGroup& group, bool out);

  const Parts parts_;
  const QueueOrder order_;
  Swapper swapper_;
  std::vector<SequenceGroup*> running_;  // by order_
  std::vector<SequenceGroup*> swapped_;  // by order_: the oldest first
  std::vector<SequenceKv> held_;         // of ended sequences whose static batch has not ended
  std::vector<SequenceKv> pinned_;
  uint32_t num_pinned_blocks_ = 0;
  uint32_t num_seats_ = 0;  // of the running groups
  bool preempted_in_step_ = false;
  bool batch_is_open_ = false;
  ResidencyCounters counters_;

  // Reused, so that steps allocate nothing.
  std::vector<CopyOnWrite> copies_;
  mutable std::vector<std::pair<BlockId, uint32_t>> write_counts_;
};

}  // namespace quire
