// PrefixLoads: requests whose prefix comes from the disk. A request that enters takes its blocks, and loads fill those
// that the disk has; when they are done, or one has failed, the rest is computed, if need be by a request that enters
// anew. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/disk_tier.h"
#include "kv/kv_space.h"
#include "sched/sequence.h"
#include "sched/step_builder.h"

namespace quire {

class PrefixLoads {
 public:
  // All outlive it.
  PrefixLoads(KvSpace& space, DiskTier& disk, StepBuilder& builder) : space_(space), disk_(disk), builder_(builder) {}

  // The group has its memory, and what is to be loaded counts as computed.
  static void Start(SequenceGroup& group, std::span<const KvManager::Load> loads);
  // A few at a time, so that a request that goes away leaves few blocks behind with loads that nobody wants any more.
  void Plan(std::span<SequenceGroup* const> running);
  enum class Progress : uint8_t { kUnderWay, kDone, kFailed };
  // A load has been reported; `group`: whose it was, unless that has gone its way since (null). Done: it was the last,
  // and the group runs, from a gap on if there is one. Failed: there is a gap, and its tables are not those of a
  // sequence that goes on from there: it has to enter again, and finds in memory what did come.
  Progress Report(SequenceGroup* group, const PendingTransfer& transfer, bool completed);

 private:
  void Issue(SequenceGroup& group);
  bool CanGoOnBehind(const Sequence& sequence, uint32_t num_blocks) const;
  void Index(SequenceGroup& group, uint32_t num_blocks);

  KvSpace& space_;
  DiskTier& disk_;
  StepBuilder& builder_;
};

}  // namespace quire
