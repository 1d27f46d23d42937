// Cached blocks that go to the disk, and prefixes that are loaded from it.
#include <algorithm>
#include <iterator>

#include "kv/kv_model_testing.h"

namespace quire {

// What is not in memory is on its way now.
void KvModel::StartLoading(Group& group, Sequence& sequence, const KvManager::Match& match) {
  for (const KvManager::Load& load : match.loads) {
    Expect(disk_.Touch(load.digest), "what is to be loaded is not on disk");
    group.loads.push_back({.load = load});
  }
  for (BlockTable& table : sequence.kv.tables()) {
    std::vector<CopyOnWrite> copies;
    const auto end = static_cast<uint32_t>(sequence.cells.size());
    Expect(table.PrepareWrite(group.num_matched * block_size_, end, copies), "CanStart promised room");
    Expect(copies.empty(), "a block that was hit is written");
  }
  group.state = State::kLoading;
}

bool KvModel::BeginStore() {
  std::optional<BlockId> block = kv_.pool().first_cached();
  for (uint32_t skip = Draw(3); block && (skip > 0 || kv_.pool().stored(*block)); skip -= skip > 0) {
    block = kv_.pool().next_cached(*block);
  }
  if (!block) return false;
  const PrefixDigest digest = kv_.index().DigestOf(*block);
  std::vector<PrefixDigest> drops;
  const bool present = disk_.Contains(digest);
  const bool begins = disk_.BeginStore(digest, drops);
  Expect(!begins || !present, "a block is stored twice");
  for (const PrefixDigest& drop : drops) files_.erase(drop);
  if (!begins) return false;
  kv_.BeginStore(*block);
  const auto cells = PoolCells(*block);
  stores_.push_back({.block = *block, .digest = digest, .cells = {cells.begin(), cells.end()}});
  return true;
}

bool KvModel::EndStore() {
  if (stores_.empty()) return false;
  const auto store = stores_.begin() + Draw(static_cast<uint32_t>(stores_.size()));
  Expect(std::ranges::equal(PoolCells(store->block), store->cells), "a block changed while it was stored");
  const bool succeeds = Draw(8) != 0;
  if (succeeds) files_[store->digest] = {.cells = store->cells};
  disk_.EndStore(store->digest, succeeds);
  kv_.EndStore(store->block, succeeds);
  stores_.erase(store);
  return succeeds;
}

bool KvModel::EndLoad() {
  Group* group = DrawGroup(Draw(2) == 0 ? State::kLoading : State::kAbortedWhileLoading);
  if (group == nullptr) return false;
  auto load = group->loads.begin() + Draw(static_cast<uint32_t>(group->loads.size()));
  while (load->done) load = std::next(load) == group->loads.end() ? group->loads.begin() : std::next(load);
  load->done = true;
  Sequence& sequence = *group->sequences.front();
  const KvManager::Load& wanted = load->load;
  const std::vector<Cell> expected = CellsInGroup(sequence.cells, wanted.index, wanted.group);
  const auto file = files_.find(wanted.digest);
  const bool readable = file != files_.end() && !file->second.damaged;
  Expect(!readable || std::ranges::equal(file->second.cells, expected), "a digest names other content");
  load->succeeded = readable && Draw(8) != 0;
  if (load->succeeded) {
    const BlockId block = sequence.kv.table(wanted.group).at(wanted.index);
    std::ranges::copy(file->second.cells, PoolCells(block).begin());
    kv_.SetStored(block);
    Count(kDiskHits);
  } else {
    disk_.Forget(wanted.digest);
    if (!disk_.Contains(wanted.digest)) files_.erase(wanted.digest);
    Count(kFailedLoads);
  }
  if (std::ranges::all_of(group->loads, &Load::done)) FinishLoading(*group);
  return true;
}

// Where all has come it is indexed, and the rest computed. Otherwise what came before the gap is, and the sequence
// goes.
void KvModel::FinishLoading(Group& group) {
  const auto failed = std::ranges::find(group.loads, false, &Load::succeeded);
  Sequence& sequence = *group.sequences.front();
  if (group.state == State::kLoading) {
    const uint32_t num_there = failed == group.loads.end() ? group.num_matched : failed->load.index;
    const std::vector<int32_t> tokens = sequence.Tokens();
    kv_.Commit(sequence.kv, ScopeOf(group.scope), std::span(tokens).first(size_t{num_there} * block_size_));
  }
  if (group.state == State::kAbortedWhileLoading || failed != group.loads.end()) {
    std::erase_if(groups_, [&](const auto& other) { return other.get() == &group; });
    return;
  }
  group.loads.clear();
  group.state = State::kRunning;
  Expect(Write(group, sequence, group.num_matched * block_size_), "a loaded sequence needs more memory");
}

bool KvModel::Damage() {
  if (files_.empty()) return false;
  const auto file = std::next(files_.begin(), Draw(static_cast<uint32_t>(files_.size())));
  if (Draw(2) == 0) {
    files_.erase(file);
  } else {
    file->second.damaged = true;
  }
  return true;
}

}  // namespace quire
