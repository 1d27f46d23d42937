#include "kv/swap_space.h"

#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace quire {

SwapSpace::SwapSpace(uint32_t num_places) : num_total_(num_places), taken_(num_places) {
  free_.reserve(num_places);
  for (uint32_t i = num_places; i-- > 0;) free_.push_back(SwapPlace{i});
}

SwapPlace SwapSpace::Take() {
  QUIRE_CHECK(!free_.empty(), "all {} places of the swap space are taken", num_total_);
  const SwapPlace place = free_.back();
  free_.pop_back();
  taken_[static_cast<uint32_t>(place)] = true;
  return place;
}

void SwapSpace::Give(SwapPlace place) {
  const auto index = static_cast<uint32_t>(place);
  QUIRE_CHECK_LT(index, num_total_);
  QUIRE_CHECK(taken_[index], "double free of swap place {}", index);
  taken_[index] = false;
  free_.push_back(place);
}

SwappedTables::SwappedTables(SwappedTables&& other) noexcept
    : space_(std::exchange(other.space_, nullptr)),
      places_(std::exchange(other.places_, {})),
      tables_(std::exchange(other.tables_, {})) {}

SwappedTables& SwappedTables::operator=(SwappedTables&& other) noexcept {
  if (this == &other) return *this;
  Clear();
  space_ = std::exchange(other.space_, nullptr);
  places_ = std::exchange(other.places_, {});
  tables_ = std::exchange(other.tables_, {});
  return *this;
}

namespace {

// The distinct blocks of some tables, numbered by first occurrence.
class DistinctBlocks {
 public:
  uint32_t Number(BlockId block) {
    const auto [found, inserted] = numbers_.try_emplace(block, static_cast<uint32_t>(blocks_.size()));
    if (inserted) blocks_.push_back(block);
    return found->second;
  }
  const std::vector<BlockId>& blocks() const { return blocks_; }

 private:
  std::unordered_map<BlockId, uint32_t> numbers_;
  std::vector<BlockId> blocks_;
};

}  // namespace

uint32_t SwappedTables::CountDistinct(std::span<const BlockTable* const> tables) {
  DistinctBlocks distinct;
  for (const BlockTable* table : tables) {
    for (const BlockId block : table->blocks()) distinct.Number(block);
  }
  return static_cast<uint32_t>(distinct.blocks().size());
}

bool SwappedTables::Out(SwapSpace& space, std::span<BlockTable* const> tables, std::vector<SwapMove>& moves) {
  QUIRE_CHECK(empty(), "{} blocks are swapped out already", num_blocks());
  DistinctBlocks distinct;
  std::vector<Numbers> numbers(tables.size());
  for (size_t i = 0; i < tables.size(); ++i) {
    numbers[i].first_block = tables[i]->first_block();
    for (const BlockId block : tables[i]->blocks()) numbers[i].blocks.push_back(distinct.Number(block));
  }
  if (distinct.blocks().size() > space.num_free()) return false;
  space_ = &space;
  tables_ = std::move(numbers);
  for (const BlockId block : distinct.blocks()) {
    places_.push_back(space.Take());
    moves.push_back({.block = block, .place = places_.back()});
  }
  for (BlockTable* table : tables) table->Clear();
  return true;
}

bool SwappedTables::In(BlockPool& pool, std::span<BlockTable* const> tables, std::vector<SwapMove>& moves) const {
  QUIRE_CHECK_EQ(tables.size(), tables_.size());
  std::vector<BlockId> blocks;
  if (!pool.Allocate(num_blocks(), blocks)) return false;
  for (size_t i = 0; i < blocks.size(); ++i) moves.push_back({.block = blocks[i], .place = places_[i]});
  // The allocation's own references keep the blocks until every table has its own.
  std::vector<BlockId> table_blocks;
  for (size_t i = 0; i < tables.size(); ++i) {
    QUIRE_CHECK_EQ(tables[i]->num_held(), 0U);
    table_blocks.clear();
    for (const uint32_t number : tables_[i].blocks) table_blocks.push_back(blocks[number]);
    tables[i]->BeginAt(tables_[i].first_block);
    tables[i]->Share(table_blocks);
  }
  for (const BlockId block : blocks) pool.Release(block);
  return true;
}

void SwappedTables::Clear() {
  // Those taken first are taken first again.
  for (auto place = places_.rbegin(); place != places_.rend(); ++place) space_->Give(*place);
  places_.clear();
  tables_.clear();
  space_ = nullptr;
}

}  // namespace quire
