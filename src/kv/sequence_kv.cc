#include "kv/sequence_kv.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace quire {

uint32_t SequenceKv::num_held() const {
  uint32_t num_held = 0;
  for (const BlockTable& table : tables_) num_held += table.num_held();
  return num_held;
}

uint32_t SequenceKv::num_slots() const {
  uint32_t num_slots = tables_.front().num_slots();
  for (const BlockTable& table : tables_) num_slots = std::min(num_slots, table.num_slots());
  return num_slots;
}

uint32_t SequenceKv::NumBlocksToWrite(uint32_t begin, uint32_t end) const {
  uint32_t num_blocks = 0;
  for (const BlockTable& table : tables_) num_blocks += table.NumBlocksToWrite(begin, end);
  return num_blocks;
}

template <typename Make>
SequenceKv SequenceKv::ForkTables(Make make) const {
  std::vector<BlockTable> others;
  others.reserve(tables_.size() - 1);
  for (size_t group = 1; group < tables_.size(); ++group) others.push_back(make(tables_[group]));
  return SequenceKv(InlineFirst(make(tables_.front()), std::move(others)));
}

SequenceKv SequenceKv::Fork() const {
  SequenceKv fork = ForkTables([](const BlockTable& table) { return table.Fork(); });
  fork.num_computed = num_computed;
  fork.chain = chain;
  return fork;
}

SequenceKv SequenceKv::ForkPrefix(uint32_t num_blocks) const {
  return ForkTables([&](const BlockTable& table) { return table.ForkPrefix(num_blocks); });
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
