#include "kv/block_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "kv/kv_policy.h"

namespace quire {

BlockTable::BlockTable(BlockTable&& other) noexcept
    : pool_(other.pool_),
      shift_(other.shift_),
      first_(std::exchange(other.first_, 0)),
      blocks_(std::exchange(other.blocks_, {})) {}

BlockTable& BlockTable::operator=(BlockTable&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  pool_ = other.pool_;
  shift_ = other.shift_;
  first_ = std::exchange(other.first_, 0);
  blocks_ = std::exchange(other.blocks_, {});
  return *this;
}

BlockTable BlockTable::Fork() const { return ForkPrefix(num_blocks()); }

BlockTable BlockTable::ForkPrefix(uint32_t num_blocks) const {
  QUIRE_CHECK_LE(num_blocks, this->num_blocks());
  BlockTable fork(*pool_, block_size());
  fork.BeginAt(std::min(first_, num_blocks));
  fork.Share(blocks().first(num_blocks - fork.first_));
  return fork;
}

void BlockTable::BeginAt(uint32_t first_block) {
  QUIRE_CHECK(blocks_.empty(), "the table has {} blocks", num_held());
  first_ = first_block;
}

void BlockTable::GiveBackBefore(uint32_t block) {
  QUIRE_CHECK(!pool_->contiguous());
  const uint32_t last = blocks_.empty() ? 0 : num_blocks() - 1;
  const uint32_t end = std::min(block, last);
  if (end <= first_) return;
  for (const BlockId gone : blocks().first(end - first_)) pool_->Release(gone);
  blocks_.erase(blocks_.begin(), blocks_.begin() + (end - first_));
  first_ = end;
}

void BlockTable::Share(std::span<const BlockId> blocks) {
  for (const BlockId block : blocks) pool_->AddReference(block);
  blocks_.insert(blocks_.end(), blocks.begin(), blocks.end());
}

uint32_t BlockTable::NumSharedIn(uint32_t begin, uint32_t end) const {
  const uint32_t last = std::min(BlocksFor(end), num_blocks());
  uint32_t num_shared = 0;
  for (uint32_t i = std::max(begin >> shift_, first_); i < last; ++i) {
    if (pool_->references(at(i)) > 1) ++num_shared;
  }
  return num_shared;
}

uint32_t BlockTable::NumToAppend(uint32_t end) const {
  const uint32_t num_needed = BlocksFor(end);
  return num_needed > num_blocks() ? num_needed - num_blocks() : 0;
}

uint32_t BlockTable::NumBlocksToWrite(uint32_t begin, uint32_t end) const {
  return begin == end ? 0 : NumSharedIn(begin, end) + NumToAppend(end);
}

bool BlockTable::PrepareWrite(uint32_t begin, uint32_t end, std::vector<CopyOnWrite>& copies) {
  QUIRE_CHECK_LE(begin, end);
  QUIRE_CHECK_LE(begin, num_slots());
  QUIRE_CHECK_LE(first_, begin >> shift_);
  if (begin == end) return true;
  const uint32_t num_shared = NumSharedIn(begin, end);
  const uint32_t num_owned = num_held();
  // The new blocks come behind the table; those that replace shared ones are moved from there to their places.
  if (!pool_->Allocate(num_shared + NumToAppend(end), blocks_)) return false;
  for (uint32_t i = (begin >> shift_) - first_, left = num_shared; left > 0; ++i) {
    if (pool_->references(blocks_[i]) == 1) continue;
    const BlockId source = std::exchange(blocks_[i], blocks_[num_owned + num_shared - left]);
    copies.push_back({.table_index = first_ + i, .source = source, .destination = blocks_[i]});
    pool_->Release(source);
    --left;
  }
  blocks_.erase(blocks_.begin() + num_owned, blocks_.begin() + num_owned + num_shared);
  return true;
}

bool BlockTable::ReserveChunk(uint32_t num_slots) {
  QUIRE_CHECK(blocks_.empty() && first_ == 0, "the table has {} blocks", num_blocks());
  return pool_->AllocateChunk(ChunkBlocks(num_slots, block_size()), blocks_);
}

void BlockTable::Clear() {
  for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) pool_->Release(*block);
  blocks_.clear();
  first_ = 0;
}

void BlockTable::CheckInvariants() const {
  for (size_t i = 0; i < blocks_.size(); ++i) {
    QUIRE_CHECK_GT(pool_->references(blocks_[i]), 0U);
    QUIRE_CHECK(i == 0 || blocks_[i] != blocks_[i - 1], "block {} twice", static_cast<uint32_t>(blocks_[i]));
  }
}

}  // namespace quire
