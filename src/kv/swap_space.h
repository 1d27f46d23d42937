// SwapSpace: sole owner of the block-sized places outside the pool, where the blocks of preempted sequences wait.
// SwappedTables: the block tables of one group while they are there: each distinct block once, with the sharing between
// the tables kept. Host logic: who moves the bytes carries out the moves. No thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_pool.h"
#include "kv/block_table.h"

namespace quire {

// A place in swap space that holds one block.
enum class SwapPlace : uint32_t {};

struct SwapMove {
  BlockId block = {};
  SwapPlace place = {};
  friend bool operator==(const SwapMove&, const SwapMove&) = default;
};

class SwapSpace {
 public:
  explicit SwapSpace(uint32_t num_places);
  SwapSpace(const SwapSpace&) = delete;
  SwapSpace& operator=(const SwapSpace&) = delete;

  uint32_t num_total() const { return num_total_; }
  uint32_t num_free() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t num_used() const { return num_total() - num_free(); }

  // REQUIRES: one is free.
  SwapPlace Take();
  // REQUIRES: it is taken.
  void Give(SwapPlace place);

 private:
  const uint32_t num_total_;
  std::vector<SwapPlace> free_;  // last in, first out: the file stays as short as it can
  std::vector<bool> taken_;
};

// Move-only; gives its places back when it goes.
class SwappedTables {
 public:
  SwappedTables() = default;
  ~SwappedTables() { Clear(); }
  SwappedTables(SwappedTables&& other) noexcept;
  SwappedTables& operator=(SwappedTables&& other) noexcept;

  // Distinct blocks of the tables: what Out takes from the space, and In from the pool.
  static uint32_t CountDistinct(std::span<const BlockTable* const> tables);

  // Moves the tables out, all or nothing: they are empty afterwards, and `moves` has one entry per distinct block, in
  // order of first occurrence, to be carried out before anybody writes to these blocks. False, and nothing has changed:
  // the space has too few places. REQUIRES: this is empty; the space outlives it.
  bool Out(SwapSpace& space, std::span<BlockTable* const> tables, std::vector<SwapMove>& moves);
  // Moves them back into blocks of `pool`, all or nothing, into the tables in the order in which they were given to
  // Out. The places stay taken until Clear: their content is read when the moves are carried out. False, and nothing
  // has changed: the pool has too few blocks. REQUIRES: the tables are empty and of this pool.
  bool In(BlockPool& pool, std::span<BlockTable* const> tables, std::vector<SwapMove>& moves) const;
  // Gives the places back.
  void Clear();

  bool empty() const { return places_.empty(); }
  uint32_t num_blocks() const { return static_cast<uint32_t>(places_.size()); }

 private:
  SwapSpace* space_ = nullptr;
  std::vector<SwapPlace> places_;  // of the distinct blocks
  struct Numbers {
    uint32_t first_block = 0;
    std::vector<uint32_t> blocks;  // which distinct block, from first_block on
  };
  std::vector<Numbers> tables_;  // by table
};

}  // namespace quire
