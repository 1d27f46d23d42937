#include "kv/prefix_index.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace quire {

PrefixIndex::PrefixIndex(uint32_t num_blocks, uint32_t block_size, uint64_t seed, PrefixDigestFunction next_digest)
    : block_size_(block_size),
      seed_(seed),
      next_digest_(next_digest),
      entries_(num_blocks),
      tokens_(size_t{num_blocks} * block_size),
      buckets_(std::bit_ceil(std::max(num_blocks, 1U)), BlockLink::kNone) {
  for (Entry& entry : entries_) entry.root = roots_.end();
}

PrefixChain PrefixIndex::Root(const PrefixScope& scope) const {
  const auto root = roots_.find(scope);
  return {.digest = RootDigest(seed_, scope.salt, scope.adapter_id),
          .id = root == roots_.end() ? 0 : root->second.id,
          .depth = 0};
}

std::span<const int32_t> PrefixIndex::TokensAt(uint32_t index) const {
  return std::span(tokens_).subspan(size_t{index} * block_size_, block_size_);
}

uint32_t PrefixIndex::FindEntry(const PrefixDigest& digest, uint64_t parent_id, std::span<const int32_t> tokens) const {
  uint32_t index = buckets_[BucketOf(digest)];
  for (; index != BlockLink::kNone; index = entries_[index].next) {
    const Entry& entry = entries_[index];
    if (entry.digest == digest && entry.parent_id == parent_id && std::ranges::equal(TokensAt(index), tokens)) break;
  }
  return index;
}

std::optional<BlockId> PrefixIndex::Find(PrefixChain& chain, std::span<const int32_t> tokens) const {
  QUIRE_CHECK_EQ(tokens.size(), size_t{block_size_});
  if (chain.id == 0) return std::nullopt;
  const PrefixDigest digest = next_digest_(chain.digest, tokens);
  const uint32_t index = FindEntry(digest, chain.id, tokens);
  if (index == BlockLink::kNone) return std::nullopt;
  chain = {.digest = digest, .id = entries_[index].id, .depth = chain.depth + 1};
  return BlockId{index};
}

PrefixChain PrefixIndex::Insert(const PrefixScope& scope, const PrefixChain& parent, std::span<const int32_t> tokens,
                                BlockId block) {
  QUIRE_CHECK_EQ(tokens.size(), size_t{block_size_});
  const uint32_t index = static_cast<uint32_t>(block);
  Entry& entry = entries_.at(index);
  QUIRE_CHECK_EQ(entry.id, 0U);
  uint64_t parent_id = parent.id;
  if (parent.depth == 0) {
    entry.root = roots_.find(scope);
    if (entry.root == roots_.end()) {
      entry.root = roots_.emplace(RootKey{scope.salt, scope.adapter_id}, RootState{.id = next_id_++}).first;
    }
    ++entry.root->second.num_entries;
    parent_id = entry.root->second.id;
  }
  QUIRE_CHECK_NE(parent_id, 0U);

  const PrefixDigest digest = next_digest_(parent.digest, tokens);
  const uint32_t twin = FindEntry(digest, parent_id, tokens);
  entry.digest = digest;
  entry.parent_digest = parent.digest;
  entry.parent_id = parent_id;
  entry.id = twin == BlockLink::kNone ? next_id_++ : entries_[twin].id;
  std::ranges::copy(tokens, tokens_.begin() + static_cast<ptrdiff_t>(size_t{index} * block_size_));
  uint32_t& head = buckets_[BucketOf(digest)];
  entry.prev = BlockLink::kNone;
  entry.next = head;
  if (head != BlockLink::kNone) entries_[head].prev = index;
  head = index;
  ++size_;
  return {.digest = digest, .id = entry.id, .depth = parent.depth + 1};
}

void PrefixIndex::Erase(BlockId block) {
  Entry& entry = entries_.at(static_cast<uint32_t>(block));
  if (entry.id == 0) return;
  (entry.prev == BlockLink::kNone ? buckets_[BucketOf(entry.digest)] : entries_[entry.prev].next) = entry.next;
  if (entry.next != BlockLink::kNone) entries_[entry.next].prev = entry.prev;
  if (entry.root != roots_.end() && --entry.root->second.num_entries == 0) roots_.erase(entry.root);
  entry = Entry{.root = roots_.end()};
  --size_;
}

void PrefixIndex::CheckInvariants() const {
  uint32_t num_first = 0;
  for (const auto& [key, root] : roots_) {
    QUIRE_CHECK_GT(root.num_entries, 0U);
    num_first += root.num_entries;
  }
  uint32_t num_present = 0, num_linked = 0;
  for (uint32_t index = 0; index < entries_.size(); ++index) {
    const Entry& entry = entries_[index];
    if (entry.id == 0) continue;
    ++num_present;
    QUIRE_CHECK(entry.digest == next_digest_(entry.parent_digest, TokensAt(index)));
    QUIRE_CHECK(entry.parent_id != 0 && entry.parent_id < entry.id);
    if (entry.root != roots_.end()) --num_first;
  }
  for (size_t bucket = 0; bucket < buckets_.size(); ++bucket) {
    uint32_t prev = BlockLink::kNone;
    for (uint32_t i = buckets_[bucket]; i != BlockLink::kNone; prev = i, i = entries_[i].next) {
      QUIRE_CHECK_EQ(entries_[i].prev, prev);
      QUIRE_CHECK_EQ(BucketOf(entries_[i].digest), bucket);
      ++num_linked;
    }
  }
  QUIRE_CHECK_EQ(num_first, 0U);
  QUIRE_CHECK_EQ(num_present, size_);
  QUIRE_CHECK_EQ(num_linked, size_);
}

}  // namespace quire
