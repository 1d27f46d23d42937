#include "kv/block_pool.h"

#include "base/check.h"

namespace quire {

BlockPool::BlockPool(uint32_t num_blocks, EvictionListener* listener, uint32_t max_chunk)
    : blocks_(num_blocks), links_(num_blocks), listener_(listener) {
  if (max_chunk > 0) {
    buddy_.emplace(num_blocks, max_chunk);
  } else {
    for (uint32_t i = 0; i < num_blocks; ++i) free_.PushBack(i);
  }
}

bool BlockPool::Allocate(uint32_t count, std::vector<BlockId>& out) {
  QUIRE_CHECK(!contiguous() || count == 0, "{} single blocks of a contiguous pool", count);
  if (count > num_available()) return false;
  for (uint32_t i = 0; i < count; ++i) out.push_back(Take());
  return true;
}

bool BlockPool::AllocateChunk(uint32_t size, std::vector<BlockId>& out) {
  QUIRE_CHECK(contiguous(), "a chunk of a pool of single blocks");
  const std::optional<uint32_t> first = buddy_->Allocate(size);
  if (!first) return false;
  for (uint32_t i = *first; i < *first + size; ++i) {
    blocks_[i] = {.references = 1};
    out.push_back(BlockId{i});
  }
  return true;
}

uint32_t BlockPool::num_chunks(uint32_t size) const {
  QUIRE_CHECK(contiguous());
  return buddy_->NumAllocatable(size);
}

uint32_t BlockPool::num_free_below(uint32_t size) const {
  QUIRE_CHECK(contiguous());
  return buddy_->NumFreeInChunksBelow(size);
}

BlockId BlockPool::Take() {
  const bool evicts = free_.empty();
  const BlockId block{evicts ? cached_.PopFront() : free_.PopFront()};
  if (evicts && !stored(block)) ++num_evicted_unstored_;
  At(block) = {.references = 1};
  if (evicts && listener_ != nullptr) listener_->OnEvict(block);
  return block;
}

void BlockPool::AddReference(BlockId block) {
  Block& state = At(block);
  if (state.references == 0) {
    QUIRE_CHECK(state.reusable, "block {} is free: it has no content to share", static_cast<uint32_t>(block));
    cached_.Remove(static_cast<uint32_t>(block));
  }
  ++state.references;
}

bool BlockPool::Drop(Block& state, BlockId block) {
  QUIRE_CHECK(state.references > 0, "double free of block {}", static_cast<uint32_t>(block));
  return --state.references == 0;
}

void BlockPool::Release(BlockId block) {
  Block& state = At(block);
  if (!Drop(state, block)) return;
  const auto index = static_cast<uint32_t>(block);
  if (buddy_) {
    buddy_->Free(index);
  } else {
    (state.reusable ? cached_ : free_).PushBack(index);
  }
}

void BlockPool::ReleaseUnused(BlockId block) {
  QUIRE_CHECK(!contiguous());
  Block& state = At(block);
  if (!Drop(state, block)) return;
  (state.reusable ? cached_ : free_).PushFront(static_cast<uint32_t>(block));
}

void BlockPool::SetReusable(BlockId block, bool reusable) {
  QUIRE_CHECK(!contiguous(), "a contiguous pool caches nothing");
  Block& state = At(block);
  if (state.references == 0) {
    QUIRE_CHECK(state.reusable, "block {} is free", static_cast<uint32_t>(block));
    if (reusable) return;
    cached_.Remove(static_cast<uint32_t>(block));
    free_.PushBack(static_cast<uint32_t>(block));
  }
  state.reusable = reusable;
}

void BlockPool::CheckInvariants() const {
  uint32_t num_used = 0, num_reusable_idle = 0;
  for (const Block& block : blocks_) {
    if (block.references > 0) ++num_used;
    if (block.references == 0 && block.reusable) ++num_reusable_idle;
  }
  QUIRE_CHECK_EQ(num_used + num_cached() + num_free(), num_total());
  QUIRE_CHECK_EQ(num_reusable_idle, num_cached());
  const auto check_list = [&](const BlockList& list, bool reusable) {
    uint32_t length = 0;
    for (uint32_t i = list.front(); i != BlockLink::kNone; i = list.next(i), ++length) {
      QUIRE_CHECK_LT(length, list.size());
      QUIRE_CHECK_EQ(blocks_[i].references, 0U);
      QUIRE_CHECK_EQ(blocks_[i].reusable, reusable);
    }
    QUIRE_CHECK_EQ(length, list.size());
  };
  check_list(free_, false);
  check_list(cached_, true);
  if (!buddy_) return;
  QUIRE_CHECK(free_.empty() && cached_.empty());
  buddy_->CheckInvariants();
  for (uint32_t i = 0; i < num_total(); ++i) QUIRE_CHECK_EQ(buddy_->IsFree(i), blocks_[i].references == 0);
}

}  // namespace quire
