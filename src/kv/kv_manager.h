// KvManager: the block pool and the prefix index as one. The index learns of every eviction, and the pool of every
// block that is worth keeping. Under a contiguous policy it is a pool of chunks that caches nothing. Host logic; no
// thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/disk_index.h"
#include "kv/kv_group.h"
#include "kv/kv_policy.h"
#include "kv/prefix_index.h"
#include "kv/sequence_kv.h"
#include "kv/swap_space.h"

namespace quire {

struct KvConfig {
  uint32_t num_blocks = 0;
  uint32_t block_size = 16;  // a power of two, 1 to 256
  bool enable_prefix_caching = true;
  uint32_t num_watermark_blocks = 0;  // kept available when others run, so that they can grow
  uint64_t hash_seed = 0;
  PrefixDigestFunction next_digest = NextDigest;  // another one only in tests
  KvPolicyKind policy = KvPolicyKind::kPaged;     // a contiguous one caches no prefixes
  uint32_t max_model_len = 0;                     // of a contiguous policy: no sequence gets more slots
  std::vector<KvGroup> groups = {KvGroup{}};
  // Of groups with a window: slots for so many rows of a prompt beside the window, and of drafts.
  uint32_t max_prompt_rows = 512;
  uint32_t max_draft_rows = 0;
};

// Whether such a cache keeps prefixes: where memory is shared, and it is wanted.
bool KeepsPrefixes(const KvConfig& config);

// Whether a number of blocks can be promised.
enum class KvFit { kNow, kLater, kNever };

class KvManager {
 public:
  explicit KvManager(const KvConfig& config);

  const BlockPool& pool() const { return pool_; }
  // For those who hold blocks beside the tables: swap space and transfers.
  BlockPool& mutable_pool() { return pool_; }
  const PrefixIndex& index() const { return index_; }
  uint32_t block_size() const { return config_.block_size; }
  bool keeps_prefixes() const { return config_.enable_prefix_caching; }

  const std::vector<KvGroup>& groups() const { return config_.groups; }

  // Empty tables.
  SequenceKv MakeSequence();

  // A block that has to come from the disk: the group's block of this index.
  struct Load {
    uint32_t group = 0;
    uint32_t index = 0;
    PrefixDigest digest;  // of what it is to hold, in this group,
    PrefixDigest parent;  // and of what is before that
  };
  // What there is of a prefix. Valid until the next call.
  struct Match {
    struct Part {
      uint32_t first = 0;                              // block that is needed,
      std::span<const std::optional<BlockId>> blocks;  // and those from there on: none has to be loaded
    };
    uint32_t num_blocks = 0;  // in full blocks of tokens
    PrefixChain chain;        // that ends with them, if all are in memory; otherwise of no blocks
    uint32_t num_in_memory = 0;
    uint32_t num_unreferenced = 0;  // of these: sharing these takes them from what is available
    std::vector<Part> parts;        // by group, unless num_blocks is 0
    std::span<const Load> loads;
  };
  // The longest prefix of `tokens` in full blocks that has in every group what goes on needs: every block, or those of
  // the last window; in memory, or, where that makes it longer, on disk. Never all of it: the last token is always
  // computed, because its logits are wanted. Changes no reference. Nothing when caching is off.
  Match MatchPrefix(const PrefixScope& scope, std::span<const int32_t> tokens, const DiskIndex* disk = nullptr);
  Match NoMatch(const PrefixScope& scope) const { return {.chain = index_.Root(scope)}; }

  // Whether sequences that hold num_blocks blocks, of which `match` is there already, can start. `alone` waives the
  // watermark.
  KvFit CanStart(uint64_t num_blocks, const Match& match, bool alone) const;
  // Gives an empty sequence what matches: shared blocks, and blocks of its own for what is to be loaded. False: the
  // pool has too few. Its chain and its computed tokens are then those of the match.
  bool Take(const Match& match, SequenceKv& kv);

  // Whether num_streams tables could each reserve a chunk for num_slots now. REQUIRES: a contiguous policy.
  bool CanReserveChunks(uint32_t num_streams, uint32_t num_slots) const;
  // Free slots that are of no use to a sequence that waits for a chunk for num_slots: external fragmentation. None
  // under a policy that is not contiguous.
  uint64_t NumExternalSlots(uint32_t num_slots) const;

  // Indexes the full blocks of the sequence that its chain does not reach yet and whose tokens (a prefix of it) are all
  // computed, and moves the chain. A block that is indexed already, through another table that shares it, stays as it
  // is; so the blocks of tables that came back from swap space are indexed again behind NoMatch(scope).chain.
  void Commit(SequenceKv& kv, const PrefixScope& scope, std::span<const int32_t> computed_tokens);
  // Makes no later request reuse what the sequence holds, as far as nobody else stands on it now. What others computed
  // behind it, and cannot be used without it, becomes unreachable until somebody computes this again.
  void Forget(const SequenceKv& kv);
  // Forgets every prefix that nobody holds, and that any block is stored on disk; false, and nothing has changed, while
  // other than num_pinned blocks are in use.
  bool ResetPrefixCache(uint32_t num_pinned = 0);

  // Holds a cached block for as long as its content is being written to disk. REQUIRES: it is cached.
  void BeginStore(BlockId block);
  // Gives it back; it is as near to eviction as before unless somebody else holds it.
  void EndStore(BlockId block, bool stored);
  // What the block holds has been loaded from disk.
  void SetStored(BlockId block) { pool_.SetStored(block, true); }

  void CheckInvariants() const;

 private:
  struct Walk;
  Walk WalkPrefix(const PrefixScope& scope, std::span<const int32_t> tokens, const DiskIndex* disk);
  void AddPart(uint32_t group, Match& match);

  const KvConfig config_;
  PrefixIndex index_;
  BlockPool pool_;

  // Of the last match, kept for their capacity.
  std::vector<PrefixDigest> digests_;                         // by block
  std::vector<std::optional<BlockId>> present_;               // [blocks, groups]
  std::vector<std::vector<std::optional<BlockId>>> matched_;  // by group
  std::vector<Load> loads_;
};

}  // namespace quire
