// BlockTable: a sequence's logical blocks -> physical blocks, filled left to right, in one KV group. Those at its front
// may have been given back, or never been there: what has fallen out of a window. It owns one reference to each of its
// blocks and gives them back, tail first, when it goes: so the cache forgets the ends of chains before their
// beginnings. Move-only. Host logic; no thread safety.
#pragma once

#include <bit>
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
  BlockTable(BlockPool& pool, uint32_t block_size)
      : pool_(&pool), shift_(static_cast<uint32_t>(std::countr_zero(block_size))) {}
  ~BlockTable() { Clear(); }
  BlockTable(BlockTable&& other) noexcept;
  BlockTable& operator=(BlockTable&& other) noexcept;

  std::span<const BlockId> blocks() const { return blocks_; }  // from first_block() on
  uint32_t first_block() const { return first_; }
  uint32_t num_held() const { return static_cast<uint32_t>(blocks_.size()); }
  // Logical ones: with those at its front that are not there.
  uint32_t num_blocks() const { return first_ + num_held(); }
  uint32_t num_slots() const { return num_blocks() << shift_; }
  // REQUIRES: first_block() <= index < num_blocks().
  BlockId at(uint32_t index) const { return blocks_[index - first_]; }

  // A table of the same blocks, each shared from now on. Allocates no block.
  BlockTable Fork() const;
  // A table of the first num_blocks logical blocks only. REQUIRES: num_blocks <= this->num_blocks().
  BlockTable ForkPrefix(uint32_t num_blocks) const;
  // Appends blocks that hold this sequence's prefix already, with a reference more each.
  void Share(std::span<const BlockId> blocks);
  // Appends a block of its own. False, and nothing has changed: the pool has none.
  bool Append() { return pool_->Allocate(1, blocks_); }
  // The blocks before this one are not there. REQUIRES: the table is empty.
  void BeginAt(uint32_t first_block);
  // Gives back the blocks before this one; keeps the last. REQUIRES: the pool is not contiguous.
  void GiveBackBefore(uint32_t block);
  // How many blocks PrepareWrite takes from the pool.
  uint32_t NumBlocksToWrite(uint32_t begin, uint32_t end) const;
  // Makes positions [begin, end) this table's own: appends blocks, and replaces shared ones, appending to `copies`.
  // False, and nothing has changed, when the pool has too few blocks. REQUIRES: begin <= num_slots(), and
  // first_block() is not beyond it.
  bool PrepareWrite(uint32_t begin, uint32_t end, std::vector<CopyOnWrite>& copies);
  // Gives an empty table the ChunkBlocks(num_slots) consecutive blocks that it will ever have. False, and nothing has
  // changed: no free chunk is large enough. REQUIRES: the pool is contiguous.
  bool ReserveChunk(uint32_t num_slots);
  // Blocks that somebody else holds too.
  uint32_t NumShared() const { return NumSharedIn(0, num_slots()); }
  // Holding this many blocks will not allocate heap memory.
  void ExpectHeld(uint32_t num_blocks) { blocks_.reserve(num_blocks); }
  // Gives everything back, tail first.
  void Clear();

  void CheckInvariants() const;

 private:
  uint32_t block_size() const { return 1U << shift_; }
  uint32_t BlocksFor(uint32_t num_tokens) const {
    return static_cast<uint32_t>((uint64_t{num_tokens} + block_size() - 1) >> shift_);
  }
  uint32_t NumSharedIn(uint32_t begin, uint32_t end) const;
  uint32_t NumToAppend(uint32_t end) const;

  BlockPool* pool_;
  uint32_t shift_;  // 2 ^ shift_ slots a block: this is asked of every sequence at every step, and division is slow
  uint32_t first_ = 0;
  std::vector<BlockId> blocks_;
};

// ceil(num_tokens / block_size).
constexpr uint32_t BlocksForTokens(uint64_t num_tokens, uint32_t block_size) {
  return static_cast<uint32_t>((num_tokens + block_size - 1) / block_size);
}

}  // namespace quire
