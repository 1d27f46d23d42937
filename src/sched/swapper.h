// Swapper: moves the blocks of preempted groups to swap space and back, and learns what that costs. It issues the
// transfers and takes their reports; who runs is decided elsewhere. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/kv_space.h"
#include "kv/swap_space.h"
#include "sched/sequence.h"
#include "sched/step_builder.h"
#include "sched/transfer_cost.h"
#include "sched/transfer_counts.h"

namespace quire {

class Swapper {
 public:
  // The others outlive it.
  Swapper(uint32_t num_places, KvSpace& space, StepBuilder& builder)
      : space_(space), builder_(builder), places_(num_places) {}

  // Whether there is swap space, and it has not failed lately.
  bool enabled() const { return places_.num_total() > 0 && builder_.number() >= resumes_at_step_; }
  uint32_t num_used_places() const { return places_.num_used(); }
  const TransferCounts& counters() const { return counters_; }
  // Out and in, of so many blocks. 0: not known.
  double RoundTripUs(uint32_t num_blocks) const { return cost_.RoundTripUs(num_blocks); }
  // Swapping was decided against.
  void Fade() { cost_.Fade(); }

  // All or nothing; the tables are empty afterwards. False: swap space is full, and nothing has changed.
  bool Out(SequenceGroup& group);
  // False: the pool has too few blocks, and nothing has changed.
  bool In(SequenceGroup& group);

  // What a step's result says about the transfers. First the whole of it, then each of them.
  void Observe(const StepResult& result);
  enum class Progress : uint8_t { kUnderWay, kDone, kFailed };
  // `group`: whose transfer it was, unless it has gone its way since (null).
  Progress Report(SequenceGroup* group, Transfer::Kind kind, bool completed);

 private:
  void Issue(SequenceGroup& group, Transfer::Kind kind);

  KvSpace& space_;
  StepBuilder& builder_;
  SwapSpace places_;
  TransferCost cost_;
  uint64_t resumes_at_step_ = 0;
  TransferCounts counters_;      // blocks; of swaps alone
  std::vector<SwapMove> moves_;  // of one group, kept for its capacity
};

}  // namespace quire
