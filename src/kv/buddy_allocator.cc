#include "kv/buddy_allocator.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace quire {
namespace {

uint32_t OrderOf(uint32_t size) {
  QUIRE_CHECK(std::has_single_bit(size), "a chunk of {} blocks", size);
  return static_cast<uint32_t>(std::countr_zero(size));
}

}  // namespace

BuddyAllocator::BuddyAllocator(uint32_t num_blocks, uint32_t max_chunk)
    : links_(num_blocks), order_of_(num_blocks, kNoChunk), max_order_(OrderOf(max_chunk)), num_free_(num_blocks) {
  free_chunks_.reserve(max_order_ + 1);
  for (uint32_t order = 0; order <= max_order_; ++order) free_chunks_.emplace_back(links_);
  // Chunks never grow from left to right, so that each starts at a multiple of its size.
  for (uint32_t first = 0; first < num_blocks;) {
    const uint32_t size = std::min(max_chunk, std::bit_floor(num_blocks - first));
    PushChunk(first, OrderOf(size));
    first += size;
  }
}

void BuddyAllocator::PushChunk(uint32_t first, uint32_t order) {
  order_of_[first] = static_cast<uint8_t>(order);
  free_chunks_[order].PushBack(first);
}

void BuddyAllocator::RemoveChunk(uint32_t first) {
  free_chunks_[order_of_[first]].Remove(first);
  order_of_[first] = kNoChunk;
}

std::optional<uint32_t> BuddyAllocator::Allocate(uint32_t size) {
  uint32_t order = OrderOf(size);
  while (order <= max_order_ && free_chunks_[order].empty()) ++order;
  if (order > max_order_) return std::nullopt;
  const uint32_t first = free_chunks_[order].front();
  RemoveChunk(first);
  for (; (1U << order) > size; --order) PushChunk(first + (1U << (order - 1)), order - 1);
  num_free_ -= size;
  return first;
}

bool BuddyAllocator::IsFree(uint32_t block) const {
  for (uint32_t order = 0; order <= max_order_; ++order) {
    const uint32_t first = block >> order << order;
    if (order_of_[first] == order) return true;
  }
  return false;
}

void BuddyAllocator::Free(uint32_t block) {
  QUIRE_CHECK_LT(block, order_of_.size());
  QUIRE_CHECK(!IsFree(block), "double free of block {}", block);
  uint32_t first = block, order = 0;
  for (; order < max_order_; ++order) {
    const uint32_t buddy = first ^ (1U << order);
    if (buddy >= order_of_.size() || order_of_[buddy] != order) break;
    RemoveChunk(buddy);
    first = std::min(first, buddy);
  }
  PushChunk(first, order);
  ++num_free_;
}

uint32_t BuddyAllocator::NumFreeInChunksBelow(uint32_t size) const {
  uint32_t num_blocks = 0;
  for (uint32_t order = 0; order <= max_order_ && (1U << order) < size; ++order) {
    num_blocks += free_chunks_[order].size() << order;
  }
  return num_blocks;
}

uint32_t BuddyAllocator::NumAllocatable(uint32_t size) const {
  uint32_t num_chunks = 0;
  for (uint32_t smallest = OrderOf(size), order = smallest; order <= max_order_; ++order) {
    num_chunks += free_chunks_[order].size() << (order - smallest);
  }
  return num_chunks;
}

void BuddyAllocator::CheckInvariants() const {
  std::vector<bool> is_free(order_of_.size());
  uint32_t num_free = 0, num_chunks = 0;
  for (uint32_t order = 0; order <= max_order_; ++order) {
    const uint32_t size = 1U << order;
    uint32_t length = 0;
    for (uint32_t first = free_chunks_[order].front(); first != BlockLink::kNone;
         first = free_chunks_[order].next(first), ++length) {
      QUIRE_CHECK_LT(length, free_chunks_[order].size());
      QUIRE_CHECK_EQ(order_of_[first], order);
      QUIRE_CHECK_EQ(first % size, 0U);
      QUIRE_CHECK_LE(first + size, is_free.size());
      for (uint32_t i = first; i < first + size; ++i) {
        QUIRE_CHECK(!is_free[i], "block {} is in two free chunks", i);
        is_free[i] = true;
      }
      const uint32_t buddy = first ^ size;
      QUIRE_CHECK(order == max_order_ || buddy >= is_free.size() || order_of_[buddy] != order,
                  "chunks {} and {} of {} blocks are not merged", first, buddy, size);
    }
    QUIRE_CHECK_EQ(length, free_chunks_[order].size());
    num_free += length << order;
    num_chunks += length;
  }
  QUIRE_CHECK_EQ(num_free, num_free_);
  const auto num_heads = std::ranges::count_if(order_of_, [](uint8_t order) { return order != kNoChunk; });
  QUIRE_CHECK_EQ(static_cast<uint32_t>(num_heads), num_chunks);
}

}  // namespace quire
