// PrefixIndex: which blocks hold the keys and values of which prefix. Prefixes in full blocks are a tree of nodes: each
// is a block of tokens behind its parent, and has, in every KV group, the blocks that hold it. A digest, of a node's
// tokens and of everything before them, with the cache salt and the adapter at the root, only finds candidates; a hit
// is proven by comparing the tokens and the identity of the parent. Several blocks of a group may hold the same prefix
// (two requests that computed it at the same time); any of them serves. A node is there as long as a block of it is, or
// a node behind it: so what is kept of a window alone can be proven, too. Host logic; no thread safety. Lookups
// allocate nothing.
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
  static constexpr uint32_t kNoNode = 0xFFFFFFFF;
  PrefixDigest digest;
  uint64_t id = 0;          // 0: not indexed
  uint32_t node = kNoNode;  // of its last block, if there is one
  uint32_t depth = 0;
  friend bool operator==(const PrefixChain&, const PrefixChain&) = default;
};

class PrefixIndex final : public EvictionListener {
 public:
  struct Options {
    uint32_t num_blocks = 0;
    uint32_t num_groups = 1;
    uint32_t block_size = 16;
    uint64_t seed = 0;  // equal seeds give equal digests, in every process
    PrefixDigestFunction next_digest = NextDigest;
  };
  explicit PrefixIndex(const Options& options);

  // The name of what is `parent` and one block of tokens more.
  PrefixDigest DigestAfter(const PrefixDigest& parent, std::span<const int32_t> tokens) const {
    return options_.next_digest(parent, tokens);
  }
  // The chain of no blocks.
  PrefixChain Root(const PrefixScope& scope) const;
  // Moves `chain` behind `tokens`, which have `digest` there; false, and nothing has changed: there is no such node.
  // REQUIRES: tokens.size() == block_size.
  bool Find(PrefixChain& chain, const PrefixDigest& digest, std::span<const int32_t> tokens) const;
  // A block of the group that holds the chain's last tokens, if there is one. REQUIRES: chain.depth > 0.
  std::optional<BlockId> BlockOf(const PrefixChain& chain, uint32_t group) const;

  // Moves `chain` behind `tokens`, with a node of its own if there is none yet. `scope` is that of the chain's root.
  // False, and nothing has changed: the chain is not indexed any more; or there are kNodesPerBlock nodes for every
  // block, and no more: of windows, what is kept may stand on much that is not.
  static constexpr uint32_t kNodesPerBlock = 16;
  bool Extend(PrefixChain& chain, const PrefixScope& scope, std::span<const int32_t> tokens);
  // The block holds the chain's last tokens. REQUIRES: it is not indexed; chain.depth > 0.
  void Insert(const PrefixChain& chain, uint32_t group, BlockId block);
  // Forgets the node that the chain ends with, and those before it, as far as nothing stands on them. True: it was.
  bool Prune(const PrefixChain& chain);
  // Forgets what the block held; a block that is not indexed is left alone.
  void Erase(BlockId block);
  void OnEvict(BlockId block) override { Erase(block); }

  bool Contains(BlockId block) const { return At(block).node != PrefixChain::kNoNode; }
  // Of an indexed block: what it holds, what is before that in its group, and the tokens.
  PrefixDigest DigestOf(BlockId block) const { return InGroup(NodeOf(block).digest, At(block).group); }
  PrefixDigest ParentDigestOf(BlockId block) const { return InGroup(NodeOf(block).parent_digest, At(block).group); }
  std::span<const int32_t> TokensOf(BlockId block) const { return TokensAt(At(block).node); }
  // Whether it holds the chain's last tokens.
  bool IsOf(BlockId block, const PrefixChain& chain) const { return At(block).node == chain.node; }

  uint32_t size() const { return size_; }  // indexed blocks
  uint32_t num_nodes() const { return static_cast<uint32_t>(nodes_.size() - free_nodes_.size()); }
  void CheckInvariants() const;

 private:
  static constexpr uint32_t kNone = 0xFFFFFFFF;
  struct RootState {
    uint64_t id = 0;
    uint32_t num_children = 0;
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

  struct Node {
    PrefixDigest digest;
    PrefixDigest parent_digest;
    uint64_t id = 0;  // 0: free
    uint64_t parent_id = 0;
    uint32_t parent = kNone;  // kNone: the root
    uint32_t prev = kNone;    // in the bucket
    uint32_t next = kNone;
    uint32_t num_children = 0;
    uint32_t num_blocks = 0;
    RootMap::iterator root;  // of a child of the root
  };
  struct Entry {
    uint32_t node = kNone;  // kNone: the block is not indexed
    uint32_t group = 0;
    uint32_t prev = kNone;  // among the node's blocks of the group
    uint32_t next = kNone;
  };

  const Entry& At(BlockId block) const { return entries_.at(static_cast<uint32_t>(block)); }
  const Node& NodeOf(BlockId block) const { return nodes_.at(At(block).node); }
  bool IsIndexed(const PrefixChain& chain) const {
    return chain.node < nodes_.size() && nodes_[chain.node].id == chain.id;
  }
  size_t BucketOf(const PrefixDigest& digest) const { return digest.low & (buckets_.size() - 1); }
  std::span<const int32_t> TokensAt(uint32_t node) const;
  uint32_t& HeadOf(uint32_t node, uint32_t group) { return heads_[size_t{node} * options_.num_groups + group]; }
  uint32_t FindNode(const PrefixDigest& digest, uint64_t parent_id, std::span<const int32_t> tokens) const;
  uint32_t NewNode();
  void RemoveUnused(uint32_t node);
  void CheckBuckets() const;

  const Options options_;
  std::vector<Node> nodes_;
  std::vector<int32_t> tokens_;  // [nodes, block_size]
  std::vector<uint32_t> heads_;  // [nodes, groups]: the first of the node's blocks
  std::vector<uint32_t> free_nodes_;
  std::vector<Entry> entries_;     // [blocks]
  std::vector<uint32_t> buckets_;  // heads of the chains of nodes, by digest
  RootMap roots_;
  uint64_t next_id_ = 1;
  uint32_t size_ = 0;
};

}  // namespace quire
