// SequenceKv: what one sequence holds in KV memory: a block table in every KV group, how many of its tokens are
// computed, and how far its full blocks are indexed. Gives everything back when it goes. Move-only. Host logic; no
// thread safety.
#pragma once

#include <cstdint>
#include <utility>

#include "base/inline_first.h"
#include "kv/block_table.h"
#include "kv/prefix_index.h"

namespace quire {

class SequenceKv {
 public:
  // Empty tables, one per group.
  explicit SequenceKv(InlineFirst<BlockTable> tables) : tables_(std::move(tables)) {}

  uint32_t num_groups() const { return static_cast<uint32_t>(tables_.size()); }
  const InlineFirst<BlockTable>& tables() const { return tables_; }
  InlineFirst<BlockTable>& tables() { return tables_; }
  const BlockTable& table(uint32_t group) const { return tables_[group]; }
  BlockTable& table(uint32_t group) { return tables_[group]; }
  bool empty() const { return num_held() == 0; }
  uint32_t num_held() const;   // blocks, in all groups
  uint32_t num_slots() const;  // positions that have one in every group

  // How many blocks it takes from the pool to write positions [begin, end) in every group.
  uint32_t NumBlocksToWrite(uint32_t begin, uint32_t end) const;
  // The same sequence, of shared blocks.
  SequenceKv Fork() const;
  // What its first num_blocks full blocks are, as far as they are there; nothing computed, nothing indexed.
  SequenceKv ForkPrefix(uint32_t num_blocks) const;
  // Gives everything back; nothing is computed any more.
  void Clear();
  void CheckInvariants() const;

  uint32_t num_computed = 0;  // tokens whose keys and values are there, as of the last result

 private:
  template <typename Make>  // of a table, that of the fork
  SequenceKv ForkTables(Make make) const;

  InlineFirst<BlockTable> tables_;

 public:
  PrefixChain chain;  // as far as its blocks are indexed. Last: a plan does not look at it
};

}  // namespace quire
