// KvManager: the block pool and the prefix index as one. The index learns of every eviction, and the pool of every
// block that is worth keeping. Under a contiguous policy it is a pool of chunks that caches nothing. Host logic; no
// thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/kv_policy.h"
#include "kv/prefix_index.h"
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

  BlockTable MakeTable() { return BlockTable(pool_, config_.block_size); }

  struct Match {
    std::span<const BlockId> blocks;  // valid until the next call
    PrefixChain chain;
    uint32_t num_unreferenced = 0;  // of the blocks: sharing these takes them from what is available
  };
  // The longest indexed prefix of `tokens` in full blocks, never all of it: the last token is always computed, because
  // its logits are wanted. Changes no reference. Nothing when caching is off. What may follow on disk has the name
  // NextDigest(match.chain.digest, tokens of the next block), and so on.
  Match MatchPrefix(const PrefixScope& scope, std::span<const int32_t> tokens);
  Match NoMatch(const PrefixScope& scope) const { return {.blocks = {}, .chain = index_.Root(scope)}; }

  // Whether a sequence of num_blocks blocks, of which `match` is there already, can start. `alone` waives the
  // watermark.
  KvFit CanStart(uint32_t num_blocks, const Match& match, bool alone) const;

  // Whether num_streams tables could each reserve a chunk for num_slots now. REQUIRES: a contiguous policy.
  bool CanReserveChunks(uint32_t num_streams, uint32_t num_slots) const;
  // Free slots that are of no use to a sequence that waits for a chunk for num_slots: external fragmentation. None
  // under a policy that is not contiguous.
  uint64_t NumExternalSlots(uint32_t num_slots) const;

  // Indexes the full blocks of `table` that `chain` does not reach yet and whose tokens (a prefix of the sequence) are
  // all computed. Returns the chain that reaches them. A block that is indexed already, through another table that
  // shares it, stays as it is; so the blocks of tables that came back from swap space are indexed again by a commit
  // behind NoMatch(scope).chain.
  PrefixChain Commit(const BlockTable& table, const PrefixScope& scope, const PrefixChain& chain,
                     std::span<const int32_t> computed_tokens);
  // Makes no later request reuse what these blocks of a table hold, as far as nobody else stands on them now. What
  // others computed behind them becomes unreachable, and goes when it is evicted.
  void Forget(std::span<const BlockId> blocks);
  // swapped.In, into this pool.
  bool SwapIn(const SwappedTables& swapped, std::span<BlockTable* const> tables, std::vector<SwapMove>& moves) {
    return swapped.In(pool_, tables, moves);
  }
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
  const KvConfig config_;
  PrefixIndex index_;
  BlockPool pool_;
  std::vector<BlockId> matched_;
};

}  // namespace quire
