// BlockTable: a sequence's logical blocks -> physical blocks, filled left to right. It owns one reference to each of
// its blocks and gives them back, tail first, when it goes: so the cache forgets the ends of chains before their
// beginnings. Move-only. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_pool.h"

namespace quire {

// The block at `table_index` was shared: its content goes to `destination` before the step writes.
struct CopyOnWrite {
  uint32_t table_index = 0;
  BlockId source = {};
  BlockId destination = {};
  friend bool operator==(const CopyOnWrite&, const CopyOnWrite&) = default;
};

class BlockTable {
 public:
  // REQUIRES: the pool outlives the table; block_size is a power of two, 1 to 256.
  BlockTable(BlockPool& pool, uint32_t block_size) : pool_(&pool), block_size_(block_size) {}
  ~BlockTable() { Clear(); }
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;

  std::span<const BlockId> blocks() const { return blocks_; }
  uint32_t num_blocks() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t num_slots() const { return num_blocks() * block_size_; }

  // A table of the same blocks, each shared from now on. Allocates no block.
  BlockTable Fork() const;
  // A table of the first num_blocks blocks only. REQUIRES: num_blocks <= this->num_blocks().
  BlockTable ForkPrefix(uint32_t num_blocks) const;
  // Appends blocks that hold this sequence's prefix already, with a reference more each.
  void Share(std::span<const BlockId> blocks);
  // How many blocks PrepareWrite takes from the pool.
  uint32_t NumBlocksToWrite(uint32_t begin, uint32_t end) const;
  // Makes positions [begin, end) this table's own: appends blocks, and replaces shared ones, appending to `copies`.
  // False, and nothing has changed, when the pool has too few blocks. REQUIRES: begin <= num_slots().
  bool PrepareWrite(uint32_t begin, uint32_t end, std::vector<CopyOnWrite>& copies);
  // Gives an empty table the ChunkBlocks(num_slots) consecutive blocks that it will ever have. False, and nothing has
  // changed: no free chunk is large enough. REQUIRES: the pool is contiguous.
  bool ReserveChunk(uint32_t num_slots);
  // Blocks that somebody else holds too.
  uint32_t NumShared() const { return NumSharedIn(0, num_slots()); }
  // Growing to this many blocks will not allocate heap memory.
  void ExpectBlocks(uint32_t num_blocks) { blocks_.reserve(num_blocks); }
  // Gives everything back, tail first.
  void Clear();

  void CheckInvariants() const;

 private:
  uint32_t NumSharedIn(uint32_t begin, uint32_t end) const;
  uint32_t NumToAppend(uint32_t end) const;

  BlockPool* pool_;
  uint32_t block_size_;
  std::vector<BlockId> blocks_;
};

// ceil(num_tokens / block_size).
constexpr uint32_t BlocksForTokens(uint64_t num_tokens, uint32_t block_size) {
  return static_cast<uint32_t>((num_tokens + block_size - 1) / block_size);
}

}  // namespace quire
