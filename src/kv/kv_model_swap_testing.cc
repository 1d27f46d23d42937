// Groups that go to swap space and come back.
#include <algorithm>
#include <set>

#include "kv/kv_model_testing.h"

namespace quire {

bool KvModel::SwapOut() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || !group->swapped.empty()) return false;
  std::vector<BlockTable*> tables;
  std::vector<std::vector<BlockId>> blocks;
  std::set<BlockId> distinct;
  for (const auto& sequence : group->sequences) {
    for (BlockTable& table : sequence->kv.tables()) {
      tables.push_back(&table);
      blocks.emplace_back(table.blocks().begin(), table.blocks().end());
      distinct.insert(blocks.back().begin(), blocks.back().end());
    }
  }
  std::vector<SwapMove> moves;
  const bool fits = distinct.size() <= swap_.num_free();
  Expect(SwappedTables::CountDistinct({tables.begin(), tables.end()}) == distinct.size(), "CountDistinct");
  Expect(group->swapped.Out(swap_, tables, moves) == fits, "Out succeeds exactly when the blocks fit");
  if (!fits) return false;
  Expect(moves.size() == distinct.size(), "a block moves out twice, or not at all");
  std::unordered_map<BlockId, SwapPlace> place_of;
  for (const SwapMove& move : moves) {
    place_of[move.block] = move.place;
    std::ranges::copy(PoolCells(move.block), SwapCells(move.place).begin());
  }
  group->places.clear();
  for (const auto& of_table : blocks) {
    group->places.emplace_back();
    for (const BlockId block : of_table) group->places.back().push_back(place_of.at(block));
  }
  group->state = State::kSwapped;
  return true;
}

bool KvModel::SwapIn() {
  Group* group = DrawGroup(State::kSwapped);
  if (group == nullptr) return false;
  std::vector<BlockTable*> tables;
  for (const auto& sequence : group->sequences) {
    for (BlockTable& table : sequence->kv.tables()) tables.push_back(&table);
  }
  std::vector<SwapMove> moves;
  const bool fits = group->swapped.num_blocks() <= kv_.pool().num_available();
  Expect(group->swapped.In(kv_.mutable_pool(), tables, moves) == fits, "In succeeds exactly when the blocks fit");
  if (!fits) return false;
  for (const SwapMove& move : moves) std::ranges::copy(SwapCells(move.place), PoolCells(move.block).begin());
  group->state = State::kRunning;
  const bool index_again = Draw(4) != 0;
  for (size_t i = 0; i < group->sequences.size(); ++i) {
    Sequence& sequence = *group->sequences[i];
    for (uint32_t g = 0; g < sequence.kv.num_groups(); ++g) {
      const size_t num_places = group->places[i * sequence.kv.num_groups() + g].size();
      Expect(sequence.kv.table(g).num_held() == num_places, "blocks are missing");
    }
    CheckTables(sequence.cells, sequence.kv);
    sequence.findable = index_again;
    sequence.kv.chain = kv_.NoMatch(ScopeOf(group->scope)).chain;
    if (index_again) Commit(*group, sequence);
  }
  return true;
}

bool KvModel::EndSwapIn() {
  for (const auto& group : groups_) {
    if (group->state != State::kRunning || group->swapped.empty()) continue;
    group->swapped.Clear();
    group->places.clear();
    return true;
  }
  return false;
}

}  // namespace quire
