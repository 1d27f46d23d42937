// PrefixLoads: requests whose prefix comes from the disk. A request that enters takes its blocks, and loads fill those
// that the disk has; when they are done, or one has failed, the rest is computed. Host logic; no thread safety.
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

  // The group, which has its memory, loads what has these digests, from its block first_block on. `parent`: of the
  // prefix before.
  void Start(SequenceGroup& group, uint32_t first_block, const PrefixDigest& parent,
             std::span<const PrefixDigest> digests);
  // A few at a time, so that a request that goes away leaves few blocks behind with loads that nobody wants any more.
  void Plan(std::span<SequenceGroup* const> running);
  // A load has been reported; `group`: whose it was, unless that has gone its way since (null). True: it was the last,
  // the group runs, and what came without a gap counts as computed.
  bool Report(SequenceGroup* group, const PendingTransfer& transfer, bool completed);

 private:
  void Issue(SequenceGroup& group);
  void Finish(SequenceGroup& group);

  KvSpace& space_;
  DiskTier& disk_;
  StepBuilder& builder_;
};

}  // namespace quire
