#include "kv/sequence_kv.h"

#include <algorithm>

namespace quire {

uint32_t SequenceKv::num_held() const {
  uint32_t num_held = 0;
  for (const BlockTable& table : tables_) num_held += table.num_held();
  return num_held;
}

uint32_t SequenceKv::num_slots() const {
  return std::ranges::min_element(tables_, {}, &BlockTable::num_slots)->num_slots();
}

uint32_t SequenceKv::NumBlocksToWrite(uint32_t begin, uint32_t end) const {
  uint32_t num_blocks = 0;
  for (const BlockTable& table : tables_) num_blocks += table.NumBlocksToWrite(begin, end);
  return num_blocks;
}

SequenceKv SequenceKv::Fork() const {
  std::vector<BlockTable> tables;
  for (const BlockTable& table : tables_) tables.push_back(table.Fork());
  SequenceKv fork(std::move(tables));
  fork.num_computed = num_computed;
  fork.chain = chain;
  return fork;
}

SequenceKv SequenceKv::ForkPrefix(uint32_t num_blocks) const {
  std::vector<BlockTable> tables;
  for (const BlockTable& table : tables_) tables.push_back(table.ForkPrefix(num_blocks));
  return SequenceKv(std::move(tables));
}

void SequenceKv::Clear() {
  for (BlockTable& table : tables_) table.Clear();
  num_computed = 0;
  chain = {};
}

void SequenceKv::CheckInvariants() const {
  for (const BlockTable& table : tables_) table.CheckInvariants();
}

}  // namespace quire
