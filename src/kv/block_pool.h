// BlockPool: sole owner of the physical blocks' ids and reference counts. A block is in one of three states:
//   used    somebody holds a reference;
//   cached  nobody does, but its content may be reused as a prefix: kept in order of release, reused last;
//   free    nobody does, and its content is worth nothing.
// used + cached + free = total, always. Every operation is O(1) per block. A contiguous pool gives out chunks of
// consecutive blocks instead of single ones, in O(log blocks), and caches nothing. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_list.h"
#include "kv/buddy_allocator.h"

namespace quire {

// Transcript when a cached block is taken for other content.
class EvictionListener {
 public:
  virtual void OnEvict(BlockId block) = 0;

 protected:
  ~EvictionListener() = default;
};

class BlockPool {
 public:
  // `listener` may be null; otherwise it outlives the pool. max_chunk: 0, or the largest chunk of a contiguous pool, a
  // power of two.
  explicit BlockPool(uint32_t num_blocks, EvictionListener* listener = nullptr, uint32_t max_chunk = 0);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  uint32_t num_total() const { return static_cast<uint32_t>(blocks_.size()); }
  bool contiguous() const { return buddy_.has_value(); }
  uint32_t num_free() const { return buddy_ ? buddy_->num_free() : free_.size(); }
  uint32_t num_cached() const { return cached_.size(); }
  uint32_t num_used() const { return num_total() - num_available(); }
  // What Allocate can give out.
  uint32_t num_available() const { return num_free() + num_cached(); }

  // Appends `count` blocks to `out`, each with one reference; false, and nothing has changed, when fewer are available.
  // Takes free blocks first, then the cached ones that were released longest ago. REQUIRES: not contiguous, or count is
  // 0.
  bool Allocate(uint32_t count, std::vector<BlockId>& out);
  // Appends `size` consecutive blocks, a power of two, each with one reference; false, and nothing has changed, when no
  // free chunk is large enough. REQUIRES: contiguous.
  bool AllocateChunk(uint32_t size, std::vector<BlockId>& out);
  // How many times AllocateChunk(size) would succeed now. REQUIRES: contiguous.
  uint32_t num_chunks(uint32_t size) const;
  // Free blocks in pieces smaller than `size`. REQUIRES: contiguous.
  uint32_t num_free_below(uint32_t size) const;
  // One reference more; a cached block becomes used.
  void AddReference(BlockId block);
  // One reference less. The last one makes the block cached if it is reusable, else free. REQUIRES: it is used.
  void Release(BlockId block);
  // The same for a block that was referenced only to read it: the last reference puts it where it is evicted next.
  void ReleaseUnused(BlockId block);
  uint32_t references(BlockId block) const { return At(block).references; }

  // Whether the content is worth keeping once nobody holds the block. REQUIRES: it is used or cached, and the pool is
  // not contiguous.
  void SetReusable(BlockId block, bool reusable);
  bool reusable(BlockId block) const { return At(block).reusable; }

  // The cached blocks in the order in which they will be evicted. REQUIRES of `next_cached`: the block is cached.
  std::optional<BlockId> first_cached() const { return IdOf(cached_.front()); }
  std::optional<BlockId> next_cached(BlockId block) const { return IdOf(cached_.next(static_cast<uint32_t>(block))); }

  // Whether the content is on disk as well: a mark that goes when the block is taken for other content.
  void SetStored(BlockId block, bool stored) { At(block).stored = stored; }
  bool stored(BlockId block) const { return At(block).stored; }
  // Cached blocks that were taken for other content while they were not stored, ever.
  uint64_t num_evicted_unstored() const { return num_evicted_unstored_; }

  void CheckInvariants() const;

 private:
  struct Block {
    uint32_t references = 0;
    bool reusable = false;
    bool stored = false;
  };
  static std::optional<BlockId> IdOf(uint32_t index) {
    return index == BlockLink::kNone ? std::nullopt : std::optional(BlockId{index});
  }
  const Block& At(BlockId block) const { return blocks_.at(static_cast<uint32_t>(block)); }
  Block& At(BlockId block) { return blocks_.at(static_cast<uint32_t>(block)); }
  BlockId Take();
  // One reference less: whether it was the last.
  bool Drop(Block& state, BlockId block);

  std::vector<Block> blocks_;
  std::vector<BlockLink> links_;
  std::optional<BuddyAllocator> buddy_;  // of a contiguous pool: its free blocks
  BlockList free_{links_};               // of any other
  BlockList cached_{links_};
  EvictionListener* const listener_;
  uint64_t num_evicted_unstored_ = 0;
};

}  // namespace quire
