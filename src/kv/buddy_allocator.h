// BuddyAllocator: contiguous chunks of blocks, of sizes that are powers of two: what systems need that keep a
// sequence's keys and values in one piece. The arena is cut greedily into chunks of the largest size, then of half of
// it, and so on. A chunk is given back block by block, in any order; buddies merge as soon as both are free. Host
// logic; no thread safety. O(log blocks) per operation.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kv/block_list.h"

namespace quire {

class BuddyAllocator {
 public:
  // max_chunk: a power of two.
  BuddyAllocator(uint32_t num_blocks, uint32_t max_chunk);
  BuddyAllocator(const BuddyAllocator&) = delete;
  BuddyAllocator& operator=(const BuddyAllocator&) = delete;

  // The first block of a free chunk of `size` blocks, a power of two at most max_chunk; the smallest sufficient free
  // chunk is halved until it fits. None: no free chunk is large enough.
  std::optional<uint32_t> Allocate(uint32_t size);
  // One block of an allocated chunk. REQUIRES: it is allocated.
  void Free(uint32_t block);

  uint32_t num_free() const { return num_free_; }
  bool IsFree(uint32_t block) const;
  uint32_t max_chunk() const { return 1U << max_order_; }
  // Free blocks that lie in chunks smaller than `size`: free, and of no use to who needs `size` in one piece.
  uint32_t NumFreeInChunksBelow(uint32_t size) const;
  // How many chunks of `size` blocks, a power of two, could be allocated one after another.
  uint32_t NumAllocatable(uint32_t size) const;

  void CheckInvariants() const;

 private:
  static constexpr uint8_t kNoChunk = 0xFF;  // allocated, or inside a free chunk

  void PushChunk(uint32_t first, uint32_t order);
  void RemoveChunk(uint32_t first);

  std::vector<BlockLink> links_;
  std::vector<BlockList> free_chunks_;  // by order
  std::vector<uint8_t> order_of_;       // [blocks]: of the free chunk that starts here
  uint32_t max_order_;
  uint32_t num_free_ = 0;
};

}  // namespace quire
