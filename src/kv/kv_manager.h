// KvManager: the block pool and the prefix index as one. The index learns of every eviction, and the pool of every
// block that is worth keeping. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_pool.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace quire {

struct KvConfig {
  uint32_t num_blocks = 0;
  uint32_t block_size = 16;  // a power of two, 1 to 256
  bool enable_prefix_caching = true;
  uint32_t num_watermark_blocks = 0;  // kept available when others run, so that they can grow
  uint64_t hash_seed = 0;
};

// Whether a number of blocks can be promised.
enum class KvFit { kNow, kLater, kNever };

class KvManager {
 public:
  explicit KvManager(const KvConfig& config);

  const BlockPool& pool() const { return pool_; }
  const PrefixIndex& index() const { return index_; }
  uint32_t block_size() const { return config_.block_size; }

  BlockTable MakeTable() { return BlockTable(pool_, config_.block_size); }

  struct Match {
    std::span<const BlockId> blocks;  // valid until the next call
    PrefixChain chain;
    uint32_t num_unreferenced = 0;  // of the blocks: sharing these takes them from what is available
  };
  // The longest indexed prefix of `tokens` in full blocks, never all of it: the last token is always computed, because
  // its logits are wanted. Changes no reference. Nothing when caching is off.
  Match MatchPrefix(const PrefixScope& scope, std::span<const int32_t> tokens);
  Match NoMatch(const PrefixScope& scope) const { return {.blocks = {}, .chain = index_.Root(scope)}; }

  // Whether a sequence of num_blocks blocks, of which `match` is there already, can start. `alone` waives the
  // watermark.
  KvFit CanStart(uint32_t num_blocks, const Match& match, bool alone) const;

  // Indexes the full blocks of `table` that `chain` does not reach yet and whose tokens (a prefix of the sequence) are
  // all computed. Returns the chain that reaches them.
  PrefixChain Commit(const BlockTable& table, const PrefixScope& scope, const PrefixChain& chain,
                     std::span<const int32_t> computed_tokens);
  // Makes no later request reuse what these blocks of a table hold, as far as nobody else stands on them now. What
  // others computed behind them becomes unreachable, and goes when it is evicted.
  void Forget(std::span<const BlockId> blocks);
  // Forgets every prefix; false, and nothing has changed, while any block is in use.
  bool ResetPrefixCache();

  void CheckInvariants() const;

 private:
  const KvConfig config_;
  PrefixIndex index_;
  BlockPool pool_;
  std::vector<BlockId> matched_;
};

}  // namespace quire
