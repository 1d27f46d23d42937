#include "kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace quire {

PrefixIndex::PrefixIndex(const Options& options)
    : options_(options),
      entries_(options.num_blocks),
      buckets_(std::bit_ceil(std::max(options.num_blocks, 1U)), kNone) {
  nodes_.reserve(options.num_blocks);
  free_nodes_.reserve(options.num_blocks);
  tokens_.reserve(size_t{options.num_blocks} * options.block_size);
  heads_.reserve(size_t{options.num_blocks} * options.num_groups);
}

PrefixChain PrefixIndex::Root(const PrefixScope& scope) const {
  const auto root = roots_.find(scope);
  return {.digest = RootDigest(options_.seed, scope.salt, scope.adapter_id),
          .id = root == roots_.end() ? 0 : root->second.id};
}

std::span<const int32_t> PrefixIndex::TokensAt(uint32_t node) const {
  return std::span(tokens_).subspan(size_t{node} * options_.block_size, options_.block_size);
}

uint32_t PrefixIndex::FindNode(const PrefixDigest& digest, uint64_t parent_id, std::span<const int32_t> tokens) const {
  uint32_t index = buckets_[BucketOf(digest)];
  for (; index != kNone; index = nodes_[index].next) {
    const Node& node = nodes_[index];
    if (node.digest == digest && node.parent_id == parent_id && std::ranges::equal(TokensAt(index), tokens)) break;
  }
  return index;
}

bool PrefixIndex::Find(PrefixChain& chain, const PrefixDigest& digest, std::span<const int32_t> tokens) const {
  QUIRE_CHECK_EQ(tokens.size(), size_t{options_.block_size});
  if (chain.id == 0) return false;
  const uint32_t node = FindNode(digest, chain.id, tokens);
  if (node == kNone) return false;
  chain = {.digest = digest, .id = nodes_[node].id, .node = node, .depth = chain.depth + 1};
  return true;
}

std::optional<BlockId> PrefixIndex::BlockOf(const PrefixChain& chain, uint32_t group) const {
  const uint32_t head = heads_[size_t{chain.node} * options_.num_groups + group];
  return head == kNone ? std::nullopt : std::optional(BlockId{head});
}

uint32_t PrefixIndex::NewNode() {
  if (!free_nodes_.empty()) {
    const uint32_t node = free_nodes_.back();
    free_nodes_.pop_back();
    return node;
  }
  const auto node = static_cast<uint32_t>(nodes_.size());
  nodes_.emplace_back();
  tokens_.resize(tokens_.size() + options_.block_size);
  heads_.resize(heads_.size() + options_.num_groups, kNone);
  return node;
}

bool PrefixIndex::Extend(PrefixChain& chain, const PrefixScope& scope, std::span<const int32_t> tokens) {
  if (chain.depth == 0) chain = Root(scope);  // which may have come, or gone and come again, since
  const PrefixDigest digest = DigestAfter(chain.digest, tokens);
  if (Find(chain, digest, tokens)) return true;
  if (num_nodes() >= uint64_t{kNodesPerBlock} * options_.num_blocks) return false;
  if (chain.depth > 0 && !IsIndexed(chain)) return false;
  const uint32_t index = NewNode();
  Node& node = nodes_[index];
  node = {.digest = digest, .parent_digest = chain.digest, .root = roots_.end()};
  if (chain.depth == 0) {
    node.root = roots_.find(scope);
    if (node.root == roots_.end()) {
      node.root = roots_.emplace(RootKey{scope.salt, scope.adapter_id}, RootState{.id = next_id_++}).first;
    }
    ++node.root->second.num_children;
    node.parent_id = node.root->second.id;
  } else {
    node.parent = chain.node;
    node.parent_id = chain.id;
    ++nodes_[chain.node].num_children;
  }
  node.id = next_id_++;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(size_t{index} * options_.block_size));
  uint32_t& head = buckets_[BucketOf(digest)];
  node.next = head;
  if (head != kNone) nodes_[head].prev = index;
  head = index;
  chain = {.digest = digest, .id = node.id, .node = index, .depth = chain.depth + 1};
  return true;
}

void PrefixIndex::Insert(const PrefixChain& chain, uint32_t group, BlockId block) {
  const auto index = static_cast<uint32_t>(block);
  Entry& entry = entries_.at(index);
  QUIRE_CHECK_EQ(entry.node, kNone);
  QUIRE_CHECK_EQ(nodes_.at(chain.node).id, chain.id);
  uint32_t& head = HeadOf(chain.node, group);
  entry = {.node = chain.node, .group = group, .next = head};
  if (head != kNone) entries_[head].prev = index;
  head = index;
  ++nodes_[chain.node].num_blocks;
  ++size_;
}

void PrefixIndex::Erase(BlockId block) {
  Entry& entry = entries_.at(static_cast<uint32_t>(block));
  if (entry.node == kNone) return;
  const uint32_t node = entry.node;
  (entry.prev == kNone ? HeadOf(node, entry.group) : entries_[entry.prev].next) = entry.next;
  if (entry.next != kNone) entries_[entry.next].prev = entry.prev;
  entry = {};
  --nodes_[node].num_blocks;
  --size_;
  RemoveUnused(node);
}

bool PrefixIndex::Prune(const PrefixChain& chain) {
  if (chain.depth == 0) return false;
  if (IsIndexed(chain)) RemoveUnused(chain.node);
  return !IsIndexed(chain);
}

void PrefixIndex::RemoveUnused(uint32_t index) {
  while (index != kNone && nodes_[index].num_children == 0 && nodes_[index].num_blocks == 0) {
    Node& node = nodes_[index];
    (node.prev == kNone ? buckets_[BucketOf(node.digest)] : nodes_[node.prev].next) = node.next;
    if (node.next != kNone) nodes_[node.next].prev = node.prev;
    if (node.root != roots_.end() && --node.root->second.num_children == 0) roots_.erase(node.root);
    const uint32_t parent = node.parent;
    node = {.root = roots_.end()};
    free_nodes_.push_back(index);
    if (parent != kNone) --nodes_[parent].num_children;
    index = parent;
  }
}

void PrefixIndex::CheckInvariants() const {
  uint32_t num_first = 0;
  for (const auto& [key, root] : roots_) {
    QUIRE_CHECK_GT(root.num_children, 0U);
    num_first += root.num_children;
  }
  std::vector<uint32_t> num_children(nodes_.size()), num_blocks(nodes_.size());
  uint32_t num_present = 0, num_entries = 0;
  for (const Entry& entry : entries_) {
    if (entry.node == kNone) continue;
    ++num_blocks[entry.node];
    ++num_entries;
    QUIRE_CHECK(entry.next == kNone ||
                (entries_[entry.next].node == entry.node && entries_[entry.next].group == entry.group));
  }
  for (uint32_t index = 0; index < nodes_.size(); ++index) {
    const Node& node = nodes_[index];
    if (node.id == 0) continue;
    ++num_present;
    QUIRE_CHECK(node.digest == DigestAfter(node.parent_digest, TokensAt(index)));
    QUIRE_CHECK(node.parent_id != 0 && node.parent_id < node.id);
    QUIRE_CHECK(node.num_children > 0 || node.num_blocks > 0);
    if (node.root != roots_.end()) --num_first;
    if (node.parent == kNone) continue;
    QUIRE_CHECK_EQ(nodes_[node.parent].id, node.parent_id);
    ++num_children[node.parent];
  }
  for (uint32_t index = 0; index < nodes_.size(); ++index) {
    QUIRE_CHECK_EQ(nodes_[index].num_children, num_children[index]);
    QUIRE_CHECK_EQ(nodes_[index].num_blocks, num_blocks[index]);
  }
  QUIRE_CHECK_EQ(num_first, 0U);
  QUIRE_CHECK_EQ(num_present, num_nodes());
  QUIRE_CHECK_EQ(num_entries, size_);
  CheckBuckets();
}

void PrefixIndex::CheckBuckets() const {
  uint32_t num_linked = 0;
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    uint32_t prev = kNone;
    for (uint32_t i = buckets_[bucket]; i != kNone; prev = i, i = nodes_[i].next) {
      QUIRE_CHECK_EQ(nodes_[i].prev, prev);
      QUIRE_CHECK_EQ(BucketOf(nodes_[i].digest), bucket);
      ++num_linked;
    }
  }
  QUIRE_CHECK_EQ(num_linked, num_nodes());
}

}  // namespace quire
