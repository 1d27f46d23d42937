// What is compared with the model: references every step, all contents now and then.
#include <algorithm>

#include "kv/kv_model_testing.h"

namespace quire {

void KvModel::CheckReferences() const {
  std::vector<uint32_t> references(kv_.pool().num_total());
  const auto count = [&](const SequenceKv& kv) {
    for (const BlockTable& table : kv.tables()) {
      for (const BlockId block : table.blocks()) ++references[static_cast<uint32_t>(block)];
    }
  };
  uint32_t num_swapped = 0;
  for (const auto& group : groups_) {
    for (const auto& sequence : group->sequences) count(sequence->kv);
    num_swapped += group->swapped.num_blocks();
  }
  for (const Pin& pin : pins_) count(pin.kv);
  for (const Store& store : stores_) ++references[static_cast<uint32_t>(store.block)];
  uint32_t num_used = 0;
  for (uint32_t i = 0; i < references.size(); ++i) {
    Expect(kv_.pool().references(BlockId{i}) == references[i], "a block's references are not its holders");
    if (references[i] > 0) ++num_used;
  }
  Expect(kv_.pool().num_used() == num_used, "the number of used blocks");
  Expect(kv_.pool().num_used() + kv_.pool().num_cached() + kv_.pool().num_free() == kv_.pool().num_total(),
         "used + cached + free = total");
  Expect(swap_.num_used() == num_swapped, "the number of used swap places");
  Expect(disk_.size() <= disk_.max_blocks() && files_.size() <= disk_.max_blocks(), "the disk's capacity");
}

void KvModel::CheckTables(std::span<const Cell> cells, const SequenceKv& kv) const {
  const uint32_t num_blocks = BlocksForTokens(cells.size(), block_size_);
  for (uint32_t g = 0; g < kv.num_groups(); ++g) {
    const BlockTable& table = kv.table(g);
    const KvGroup& group = config_.kv.groups[g];
    Expect(table.first_block() <= group.FirstSeen(static_cast<uint32_t>(cells.size())) / block_size_,
           "a block that is still seen has been given back");
    for (uint32_t i = table.first_block(); i < num_blocks; ++i) {
      const std::vector<Cell> expected = CellsInGroup(cells, i, g);
      Expect(std::ranges::equal(PoolCells(table.at(i)).first(expected.size()), expected),
             "a block does not hold what its sequence wrote");
    }
  }
}

void KvModel::CheckContents() const {
  kv_.CheckInvariants();
  disk_.CheckInvariants();
  for (const auto& group : groups_) {
    for (size_t i = 0; i < group->sequences.size(); ++i) {
      const Sequence& sequence = *group->sequences[i];
      const std::span<const Cell> cells = sequence.cells;
      sequence.kv.CheckInvariants();
      if (group->state == State::kRunning) CheckTables(cells, sequence.kv);
      if (group->state != State::kSwapped) continue;
      const uint32_t num_blocks = BlocksForTokens(cells.size(), block_size_), num_groups = sequence.kv.num_groups();
      for (uint32_t g = 0; g < num_groups; ++g) {
        const std::vector<SwapPlace>& places = group->places[i * num_groups + g];
        const uint32_t first = num_blocks - static_cast<uint32_t>(places.size());
        for (uint32_t block = first; block < num_blocks; ++block) {
          const std::vector<Cell> expected = CellsInGroup(cells, block, g);
          Expect(std::ranges::equal(SwapCells(places[block - first]).first(expected.size()), expected),
                 "a swap place does not hold what was swapped out");
        }
      }
    }
  }
  for (const Pin& pin : pins_) CheckTables(pin.cells, pin.kv);
  for (uint32_t i = 0; i < kv_.pool().num_total(); ++i) {
    const BlockId block{i};
    if (!kv_.pool().reusable(block)) continue;
    Expect(std::ranges::equal(PoolCells(block), kv_.index().TokensOf(block), {}, &Cell::token),
           "the index names other tokens than the block holds");
  }
  for (const auto& [digest, cells] : files_) Expect(disk_.Contains(digest), "a file that nobody knows");
}

std::vector<KvModel::Cell> KvModel::CellsInGroup(std::span<const Cell> cells, uint32_t index, uint32_t kv_group) const {
  const size_t begin = size_t{index} * block_size_;
  std::vector<Cell> in_group;
  for (const Cell& cell : cells.subspan(begin, std::min<size_t>(block_size_, cells.size() - begin))) {
    in_group.push_back(InGroup(cell, kv_group));
  }
  return in_group;
}

}  // namespace quire
