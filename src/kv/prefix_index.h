// PrefixIndex: which block holds the keys and values of which prefix. A full block is named by a digest: of its
// tokens and of everything before them, with the cache salt and the adapter at the root. A digest only finds
// candidates; a hit is proven by comparing the block's tokens and the identity of its parent chain. Several blocks may
// hold the same prefix (two requests that computed it at the same time); each is an entry, and any of them serves. Host
// logic; no thread safety. Lookups and updates allocate nothing (a new salt does).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_pool.h"
#include "kv/prefix_digest.h"

namespace quire {

// Who may share with whom: hits happen within equal scopes only.
struct PrefixScope {
  std::string_view salt;
  uint64_t adapter_id = 0;
};

// A chain of `depth` full blocks. The digest names it; the id, unique to its content while it is indexed, proves it.
struct PrefixChain {
  PrefixDigest digest;
  uint64_t id = 0;  // 0: not indexed
  uint32_t depth = 0;
  friend bool operator==(const PrefixChain&, const PrefixChain&) = default;
};

class PrefixIndex final : public EvictionListener {
 public:
  // Equal seeds give equal digests, in every process.
  PrefixIndex(uint32_t num_blocks, uint32_t block_size, uint64_t seed, PrefixDigestFunction next_digest = NextDigest);

  // The name of what is `parent` and one block of tokens more.
  PrefixDigest DigestAfter(const PrefixDigest& parent, std::span<const int32_t> tokens) const {
    return next_digest_(parent, tokens);
  }
  // The chain of no blocks.
  PrefixChain Root(const PrefixScope& scope) const;
  // A block that holds `tokens` after `chain`; a hit moves `chain` behind it. REQUIRES: tokens.size() == block_size.
  std::optional<BlockId> Find(PrefixChain& chain, std::span<const int32_t> tokens) const;
  // Indexes `block` as `tokens` after `parent`, and returns the longer chain. `scope` is that of the parent's root.
  // REQUIRES: the block is not indexed; a parent of depth > 0 is.
  PrefixChain Insert(const PrefixScope& scope, const PrefixChain& parent, std::span<const int32_t> tokens,
                     BlockId block);
  // Forgets what the block held; a block that is not indexed is left alone.
  void Erase(BlockId block);
  void OnEvict(BlockId block) override { Erase(block); }

  bool Contains(BlockId block) const { return At(block).id != 0; }
  // Of an indexed block: what it holds, and the chain that ends with it.
  PrefixDigest DigestOf(BlockId block) const { return At(block).digest; }
  PrefixDigest ParentDigestOf(BlockId block) const { return At(block).parent_digest; }
  std::span<const int32_t> TokensOf(BlockId block) const { return TokensAt(static_cast<uint32_t>(block)); }
  PrefixChain ChainTo(BlockId block, uint32_t depth) const {
    return {.digest = At(block).digest, .id = At(block).id, .depth = depth};
  }

  uint32_t size() const { return size_; }
  void CheckInvariants() const;

 private:
  struct RootState {
    uint64_t id = 0;
    uint32_t num_entries = 0;  // blocks of depth 1 that stand on it
  };
  using RootKey = std::pair<std::string, uint64_t>;
  struct RootLess {
    using is_transparent = void;
    static std::pair<std::string_view, uint64_t> View(const RootKey& key) { return {key.first, key.second}; }
    static std::pair<std::string_view, uint64_t> View(const PrefixScope& key) { return {key.salt, key.adapter_id}; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return View(a) < View(b);
    }
  };
  using RootMap = std::map<RootKey, RootState, RootLess>;

  struct Entry {
    PrefixDigest digest;
    PrefixDigest parent_digest;
    uint64_t id = 0;  // 0: the block is not indexed
    uint64_t parent_id = 0;
    uint32_t prev = BlockLink::kNone;  // in the bucket
    uint32_t next = BlockLink::kNone;
    RootMap::iterator root;  // of an entry of depth 1; end() otherwise
  };

  const Entry& At(BlockId block) const { return entries_.at(static_cast<uint32_t>(block)); }
  size_t BucketOf(const PrefixDigest& digest) const { return digest.low & (buckets_.size() - 1); }
  std::span<const int32_t> TokensAt(uint32_t index) const;
  uint32_t FindEntry(const PrefixDigest& digest, uint64_t parent_id, std::span<const int32_t> tokens) const;

  const uint32_t block_size_;
  const uint64_t seed_;
  const PrefixDigestFunction next_digest_;
  std::vector<Entry> entries_;     // [blocks]
  std::vector<int32_t> tokens_;    // [blocks, block_size]
  std::vector<uint32_t> buckets_;  // heads of the chains of entries, by digest
  RootMap roots_;
  uint64_t next_id_ = 1;
  uint32_t size_ = 0;
};

}  // namespace quire
