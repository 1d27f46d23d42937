// DiskTier: the part of the prefix cache that is on disk: what may be loaded, what is stored next, what goes for it. It
// decides and keeps account of what is under way; who moves the bytes reports back. A block that is stored or loaded is
// held until then. Whatever fails means computing. Host logic; no clock, no thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/block_id.h"
#include "kv/disk_index.h"
#include "kv/kv_manager.h"
#include "kv/prefix_digest.h"

namespace quire {

struct DiskTierOptions {
  uint32_t max_blocks = 0;      // 0: there is no disk
  uint32_t max_transfers = 32;  // at a time: so many loads, and so many stores
};

struct DiskTierCounters {
  uint64_t num_stored = 0;
  uint64_t num_loaded = 0;
  uint64_t num_store_failures = 0;
  uint64_t num_load_failures = 0;  // files that were gone, damaged, foreign, or unreadable just then
};

class DiskTier {
 public:
  // `contents`: what is on disk already, the least recently used first. The cache outlives the tier.
  DiskTier(KvManager& kv, const DiskTierOptions& options, std::span<const PrefixDigest> contents);

  bool enabled() const { return index_.max_blocks() > 0; }
  uint32_t num_blocks() const { return index_.size(); }  // on disk or on their way there
  const DiskTierCounters& counters() const { return counters_; }
  // Cached blocks that were evicted before they could be stored.
  uint64_t num_missed() const { return enabled() ? kv_.pool().num_evicted_unstored() : 0; }

  // What may be loaded, for a match; null where there is no disk.
  const DiskIndex* index() const { return enabled() ? &index_ : nullptr; }
  // The match is used: what is hot in memory is not what the disk gives up.
  void Touch(const KvManager::Match& match);
  bool CanLoad() const { return num_loads_ < options_.max_transfers; }
  // Holds a block until its load has been reported.
  void BeginLoad(BlockId block);
  void EndLoad(BlockId block, const PrefixDigest& digest, bool completed);

  struct Writes {
    std::span<const PrefixDigest> drops;  // to be carried out first: what goes may be stored again at once
    std::span<const BlockId> stores;      // held from now on
  };
  // What a step deletes and stores. Cached blocks that are about to be evicted are stored first, so that evicting them
  // is nothing but forgetting them; a step without rows evicts none. num_kept: available blocks that are not to be
  // held. Valid until the next call.
  Writes PlanWrites(uint64_t step, bool has_rows, uint32_t num_kept);
  // A store has been reported. Two calls: the index hears of a step's stores in their order, the pool gets their blocks
  // back in the opposite one, so that they are as near to eviction as before.
  void EndStore(const PrefixDigest& digest, bool completed, uint64_t step);
  void GiveBack(BlockId block, bool completed);

  // Has the steps that follow store every cached prefix that is not on disk yet, as far as there is room. It is over
  // when all is stored, or a store has failed.
  void StoreAll();
  bool stores_all() const { return stores_all_; }
  bool all_stored() const { return all_stored_; }  // by the last StoreAll
  // Forgets everything; the files go with the steps that follow.
  void Clear() { index_.Clear(drops_); }

  void CheckInvariants() const { index_.CheckInvariants(); }

 private:
  uint32_t NumStoresLeft(uint32_t num_kept) const;
  void ChooseStores(uint32_t num_left);
  void ChooseRemaining(uint32_t num_left);
  bool GoesOn(uint32_t num_near) const;

  const DiskTierOptions options_;
  KvManager& kv_;
  DiskIndex index_;
  std::vector<PrefixDigest> drops_;  // that no step has been told of
  uint32_t num_loads_ = 0;           // under way
  uint32_t num_stores_ = 0;          // under way
  uint64_t stores_resume_at_step_ = 0;
  std::optional<BlockId> next_to_store_;  // where ChooseStores goes on,
  uint32_t num_passed_ = 0;               // so many blocks from the next eviction
  bool stores_all_ = false;
  bool all_stored_ = false;
  std::vector<BlockId> remaining_;  // of StoreAll, from the end
  DiskTierCounters counters_;

  // Of one step, kept for their capacity.
  std::vector<PrefixDigest> planned_drops_;
  std::vector<BlockId> planned_stores_;
};

}  // namespace quire
