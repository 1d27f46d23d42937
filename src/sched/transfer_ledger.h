// TransferLedger: the transfers that a plan has issued and no result has reported yet: to and from the disk, and to and
// from swap space. A block that a transfer holds is in the ledger until then. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "kv/block_id.h"
#include "kv/prefix_digest.h"
#include "sched/ids.h"
#include "sched/step_plan.h"

namespace quire {

struct PendingTransfer {
  Transfer::Kind kind = Transfer::Kind::kStore;
  std::optional<BlockId> held;
  PrefixDigest digest;
  RequestId request = {};
  uint32_t epoch = 0;         // of the group's stay in memory
  uint32_t loaded_index = 0;  // of SequenceGroup::loaded

  bool is_swap() const { return kind == Transfer::Kind::kSwapOut || kind == Transfer::Kind::kSwapIn; }
};

class TransferLedger {
 public:
  bool empty() const { return transfers_.empty(); }
  uint32_t num_on_disk() const { return num_on_disk_; }  // to or from it
  uint32_t num_held_blocks() const { return num_held_blocks_; }

  // Returns its number.
  uint64_t Add(const PendingTransfer& transfer);
  // REQUIRES: it is under way.
  const PendingTransfer& At(uint64_t id) const { return transfers_.at(id); }
  PendingTransfer Remove(uint64_t id);

  const std::unordered_map<uint64_t, PendingTransfer>& transfers() const { return transfers_; }

 private:
  std::unordered_map<uint64_t, PendingTransfer> transfers_;
  uint32_t num_on_disk_ = 0;
  uint32_t num_held_blocks_ = 0;
  uint64_t next_id_ = 1;
};

}  // namespace quire
