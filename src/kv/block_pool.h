// BlockPool: sole owner of the physical blocks' ids and reference counts. A block is in one of three states:
//   used    somebody holds a reference;
//   cached  nobody does, but its content may be reused as a prefix: kept in order of release, reused last;
//   free    nobody does, and its content is worth nothing.
// used + cached + free = total, always. Every operation is O(1) per block. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_list.h"

namespace quire {

// Told when a cached block is taken for other content.
class EvictionListener {
 public:
  virtual void OnEvict(BlockId block) = 0;

 protected:
  ~EvictionListener() = default;
};

class BlockPool {
 public:
  // `listener` may be null; otherwise it outlives the pool.
  explicit BlockPool(uint32_t num_blocks, EvictionListener* listener = nullptr);
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;

  uint32_t num_total() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t num_free() const { return free_.size(); }
  uint32_t num_cached() const { return cached_.size(); }
  uint32_t num_used() const { return num_total() - num_available(); }
  // What Allocate can give out.
  uint32_t num_available() const { return num_free() + num_cached(); }

  // Appends `count` blocks to `out`, each with one reference; false, and nothing has changed, when fewer are available.
  // Takes free blocks first, then the cached ones that were released longest ago.
  bool Allocate(uint32_t count, std::vector<BlockId>& out);
  // One reference more; a cached block becomes used.
  void AddReference(BlockId block);
  // One reference less. The last one makes the block cached if it is reusable, else free. REQUIRES: it is used.
  void Release(BlockId block);
  uint32_t references(BlockId block) const { return At(block).references; }

  // Whether the content is worth keeping once nobody holds the block. REQUIRES: it is used or cached.
  void SetReusable(BlockId block, bool reusable);
  bool reusable(BlockId block) const { return At(block).reusable; }

  void CheckInvariants() const;

 private:
  struct Block {
    uint32_t references = 0;
    bool reusable = false;
  };
  const Block& At(BlockId block) const { return blocks_.at(static_cast<uint32_t>(block)); }
  Block& At(BlockId block) { return blocks_.at(static_cast<uint32_t>(block)); }
  BlockId Take();

  std::vector<Block> blocks_;
  std::vector<BlockLink> links_;
  BlockList free_{links_};
  BlockList cached_{links_};
  EvictionListener* const listener_;
};

}  // namespace quire
