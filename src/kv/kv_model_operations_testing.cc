// What the operations do.
#include <algorithm>
#include <iterator>
#include <set>

#include "kv/kv_model_testing.h"

namespace quire {

// Computes positions from `begin` on. False, and nothing has changed: there is no room.
bool KvModel::Write(const Group& group, Sequence& sequence, uint32_t begin) {
  const auto end = static_cast<uint32_t>(sequence.cells.size());
  const uint32_t num_predicted = sequence.kv.NumBlocksToWrite(begin, end), num_available = kv_.pool().num_available();
  if (num_predicted > num_available) return false;
  for (uint32_t g = 0; g < sequence.kv.num_groups(); ++g) {
    BlockTable& table = sequence.kv.table(g);
    std::vector<CopyOnWrite> copies;
    Expect(table.PrepareWrite(begin, end, copies), "PrepareWrite takes more than NumBlocksToWrite says");
    Count(kCopies, copies.size());
    for (const CopyOnWrite& copy : copies) {
      Expect(table.at(copy.table_index) == copy.destination, "the copy is not in the table");
      if (!config_.loses_copies) std::ranges::copy(PoolCells(copy.source), PoolCells(copy.destination).begin());
    }
    for (uint32_t i = begin; i < end; ++i) {
      const BlockId block = table.at(i / block_size_);
      Expect(kv_.pool().references(block) == 1, "a shared block is written");
      PoolCells(block)[i % block_size_] = InGroup(sequence.cells[i], g);
    }
  }
  Expect(kv_.pool().num_available() == num_available - num_predicted, "PrepareWrite takes what NumBlocksToWrite says");
  CheckTables(sequence.cells, sequence.kv);
  Commit(group, sequence);
  return true;
}

void KvModel::Commit(const Group& group, Sequence& sequence) {
  kv_.Commit(sequence.kv, ScopeOf(group.scope), sequence.Tokens());
  const auto num_full = static_cast<uint32_t>(sequence.cells.size()) / block_size_;
  Expect(sequence.kv.chain.depth == (config_.kv.enable_prefix_caching && !config_.contiguous() ? num_full : 0),
         "not every full block is indexed");
}

bool KvModel::Start(std::vector<int32_t> tokens, uint32_t scope, uint32_t min_hits) {
  if (groups_.size() >= kMaxGroups) return false;
  const KvManager::Match match = kv_.MatchPrefix(ScopeOf(scope), tokens, Draw(4) == 0 ? nullptr : &disk_);
  auto group = std::make_unique<Group>();
  group->scope = scope;
  group->num_matched = match.num_blocks;
  Expect(group->num_matched >= min_hits, "an indexed prefix is not found");
  Expect(size_t{group->num_matched} * block_size_ < tokens.size(), "the last token is not computed");
  auto sequence = std::make_unique<Sequence>(Sequence{.cells = {}, .kv = kv_.MakeSequence()});
  Extend(*sequence, scope, tokens);
  uint64_t num_blocks = 0;
  for (const KvGroup& kv_group : config_.kv.groups) {
    num_blocks += BlocksForTokens(tokens.size(), block_size_) - kv_group.FirstNeeded(match.num_blocks, block_size_);
  }
  if (kv_.CanStart(num_blocks, match, true) != KvFit::kNow) {
    Count(kRefused);
    return false;
  }
  Count(kHits, match.num_in_memory);
  Expect(kv_.Take(match, sequence->kv), "CanStart promised room");
  if (!match.loads.empty()) {
    StartLoading(*group, *sequence, match);
  } else {
    CheckTables(std::span(sequence->cells).first(size_t{group->num_matched} * block_size_), sequence->kv);
    Expect(Write(*group, *sequence, group->num_matched * block_size_), "CanStart promised room");
  }
  group->sequences.push_back(std::move(sequence));
  groups_.push_back(std::move(group));
  return true;
}

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

bool KvModel::StartLikePast() {
  if (past_.empty()) return false;
  const Past& past = past_[Draw(static_cast<uint32_t>(past_.size()))];
  std::vector<int32_t> tokens = past.tokens;
  const std::vector<int32_t> tail = DrawTokens(Draw(block_size_ + 1));
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  return Start(std::move(tokens), past.scope, 0);
}

bool KvModel::StartLike() {
  if (Draw(2) == 0) return StartLikePast();
  const Group* group = DrawGroup(Draw(4) == 0 ? State::kSwapped : State::kRunning);
  if (group == nullptr) return false;
  const Sequence& model = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  std::vector<int32_t> tokens = model.Tokens();
  if (Draw(2) == 0) tokens.resize(1 + Draw(static_cast<uint32_t>(tokens.size())));
  const auto num_common = static_cast<uint32_t>(tokens.size());
  const std::vector<int32_t> tail = DrawTokens(Draw(block_size_ + 1));
  tokens.insert(tokens.end(), tail.begin(), tail.end());
  const auto max_hits = static_cast<uint32_t>(tokens.size() - 1) / block_size_;
  const bool findable = group->state == State::kRunning && model.findable;
  const uint32_t depth = model.kv.chain.depth;
  uint32_t min_hits = findable ? std::min({depth, num_common / block_size_, max_hits}) : 0;
  if (has_windows() && min_hits < depth) min_hits = 0;  // of a window, what is further back may be gone
  return Start(std::move(tokens), group->scope, min_hits);
}

bool KvModel::Grow() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const auto begin = static_cast<uint32_t>(sequence.cells.size());
  if (begin > 8 * block_size_) return false;
  Extend(sequence, group->scope, DrawTokens(1 + Draw(block_size_ + 1)));
  if (Write(*group, sequence, begin)) return true;
  sequence.cells.resize(begin);
  Count(kRefused);
  return false;
}

bool KvModel::GiveBack() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const uint32_t num_held = sequence.kv.num_held();
  for (uint32_t g = 0; g < sequence.kv.num_groups(); ++g) {
    const auto num_full = static_cast<uint32_t>(sequence.cells.size()) / block_size_;
    sequence.kv.table(g).GiveBackBefore(config_.kv.groups[g].FirstNeeded(num_full, block_size_));
  }
  return sequence.kv.num_held() < num_held;
}

bool KvModel::Rewrite() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const auto end = static_cast<uint32_t>(sequence.cells.size());
  // Behind what is indexed, if only through others, and what has been given back.
  uint32_t first_block = sequence.kv.chain.depth;
  for (const BlockTable& table : sequence.kv.tables()) {
    first_block = std::max(first_block, table.first_block());
    for (uint32_t i = first_block; i < table.num_blocks(); ++i) {
      if (kv_.pool().reusable(table.at(i))) first_block = i + 1;
    }
  }
  const uint32_t first = first_block * block_size_;
  if (first >= end) return false;
  const uint32_t begin = first + Draw(end - first);
  const std::vector<Cell> before = sequence.cells;
  sequence.cells.resize(begin);
  Extend(sequence, group->scope, DrawTokens(end - begin));
  if (Write(*group, sequence, begin)) return true;
  sequence.cells = before;
  return false;
}

bool KvModel::Fork() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || group->sequences.size() >= kMaxSequences) return false;
  const Sequence& parent = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const uint32_t num_used = kv_.pool().num_used();
  group->sequences.push_back(std::make_unique<Sequence>(Sequence{parent.cells, parent.kv.Fork(), parent.findable}));
  Expect(kv_.pool().num_used() == num_used, "a fork takes memory");
  return true;
}

bool KvModel::ForkPrefix() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || group->sequences.size() >= kMaxSequences) return false;
  const Sequence& parent = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const uint32_t num_blocks = 1 + Draw(parent.kv.table(0).num_blocks());
  for (uint32_t g = 0; g < parent.kv.num_groups(); ++g) {
    if (parent.kv.table(g).first_block() > config_.kv.groups[g].FirstNeeded(num_blocks, block_size_)) return false;
  }
  auto child = std::make_unique<Sequence>(Sequence{parent.cells, parent.kv.ForkPrefix(num_blocks), parent.findable});
  child->kv.chain = kv_.NoMatch(ScopeOf(group->scope)).chain;
  child->cells.resize(std::min<size_t>(child->cells.size(), size_t{num_blocks} * block_size_));
  Commit(*group, *child);
  group->sequences.push_back(std::move(child));
  return true;
}

bool KvModel::Stop() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  const auto sequence = group->sequences.begin() + Draw(static_cast<uint32_t>(group->sequences.size()));
  Past past{group->scope, (*sequence)->Tokens()};
  if (past_.size() < 6) {
    past_.push_back(std::move(past));
  } else {
    past_[Draw(6)] = std::move(past);
  }
  group->sequences.erase(sequence);
  if (group->sequences.empty()) std::erase_if(groups_, [&](const auto& other) { return other.get() == group; });
  return true;
}

bool KvModel::Abort() {
  if (groups_.empty()) return false;
  const uint32_t index = Draw(static_cast<uint32_t>(groups_.size()));
  if (groups_[index]->state == State::kAbortedWhileLoading) return false;
  AbortGroup(index);
  return true;
}

// What is being loaded stays in its blocks until that has ended.
void KvModel::AbortGroup(size_t index) {
  if (groups_[index]->state == State::kLoading) {
    groups_[index]->state = State::kAbortedWhileLoading;
  } else {
    groups_.erase(groups_.begin() + static_cast<ptrdiff_t>(index));
  }
}

bool KvModel::Forget() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  const Sequence& sequence = *group->sequences.back();
  kv_.Forget(sequence.kv);
  for (const BlockTable& table : sequence.kv.tables()) {
    for (auto block = table.blocks().rbegin(); block != table.blocks().rend(); ++block) {
      if (kv_.pool().references(*block) > 1) break;
      Expect(!kv_.pool().reusable(*block), "what was forgotten can be reused");
    }
  }
  group->sequences.pop_back();
  if (group->sequences.empty()) std::erase_if(groups_, [&](const auto& other) { return other.get() == group; });
  return true;
}

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

bool KvModel::Evict() {
  const uint32_t num_blocks = Draw(kv_.pool().num_available() + 1);
  SequenceKv kv = kv_.MakeSequence();
  BlockTable& table = kv.table(0);
  std::vector<CopyOnWrite> copies;
  Expect(table.PrepareWrite(0, num_blocks * block_size_, copies), "available blocks cannot be taken");
  for (const BlockId block : table.blocks()) {
    Expect(!kv_.pool().reusable(block) && !kv_.pool().stored(block), "a block that was taken keeps what it was");
    std::ranges::fill(PoolCells(block), Cell{});
  }
  return num_blocks > 0;
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

bool KvModel::AddPin() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || pins_.size() >= 2) return false;
  const Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const auto num_blocks = static_cast<uint32_t>(sequence.cells.size()) / block_size_;
  pins_.push_back({.scope = group->scope,
                   .cells = sequence.cells,
                   .kv = sequence.kv.ForkPrefix(num_blocks),
                   .findable = sequence.findable && config_.kv.enable_prefix_caching});
  pins_.back().cells.resize(size_t{num_blocks} * block_size_);
  return true;
}

bool KvModel::Unpin() {
  if (pins_.empty()) return false;
  pins_.erase(pins_.begin());
  return true;
}

bool KvModel::Reset() {
  if (Draw(4) == 0) std::erase_if(groups_, [](const auto& group) { return group->state == State::kRunning; });
  std::set<BlockId> pinned;
  for (const Pin& pin : pins_) {
    for (const BlockTable& table : pin.kv.tables()) pinned.insert(table.blocks().begin(), table.blocks().end());
  }
  const auto num_pinned = static_cast<uint32_t>(pinned.size());
  const bool idle = kv_.pool().num_used() == num_pinned;
  Expect(!kv_.ResetPrefixCache(num_pinned + 1) || kv_.pool().num_used() == num_pinned + 1, "a reset beside users");
  Expect(kv_.ResetPrefixCache(num_pinned) == idle, "a reset succeeds exactly when only pinned blocks are in use");
  if (!idle) return false;
  Expect(kv_.pool().num_cached() == 0, "a reset leaves cached blocks");
  for (const Pin& pin : pins_) {
    if (!pin.findable) continue;
    std::vector<int32_t> tokens(1);
    for (size_t i = pin.cells.size(); i-- > 0;) tokens.insert(tokens.begin(), pin.cells[i].token);
    const KvManager::Match match = kv_.MatchPrefix(ScopeOf(pin.scope), tokens);
    Expect(match.num_blocks == pin.cells.size() / block_size_, "a pinned prefix is not found");
  }
  if (Draw(2) != 0) return true;
  std::vector<PrefixDigest> drops;
  disk_.Clear(drops);
  for (const PrefixDigest& drop : drops) files_.erase(drop);
  return true;
}

// Free chunks of `size` blocks, by the definition: aligned, and inside the arena.
void KvModel::CheckChunks(uint32_t num_slots) const {
  const uint32_t size = ChunkBlocks(num_slots, block_size_);
  uint32_t num_chunks = 0;
  for (uint32_t first = 0; first + size <= kv_.pool().num_total(); first += size) {
    uint32_t num_free = 0;
    while (num_free < size && kv_.pool().references(BlockId{first + num_free}) == 0) ++num_free;
    if (num_free == size) ++num_chunks;
  }
  Expect(kv_.CanReserveChunks(num_chunks, num_slots), "a free chunk is not found");
  Expect(!kv_.CanReserveChunks(num_chunks + 1, num_slots), "there are not that many chunks");
  Expect(kv_.NumExternalSlots(num_slots) == uint64_t{kv_.pool().num_free() - num_chunks * size} * block_size_,
         "external fragmentation");
}

bool KvModel::StartReserved() {
  if (groups_.size() >= kMaxGroups) return false;
  const uint32_t num_prompt = 1 + Draw(config_.kv.max_model_len);
  const KvDemand demand = {.num_prompt_tokens = num_prompt,
                           .num_known_tokens = num_prompt,
                           .max_total_tokens = num_prompt + Draw(config_.kv.max_model_len - num_prompt + 1),
                           .max_model_len = config_.kv.max_model_len};
  const uint32_t num_slots = KvPolicy::Of(config_.kv.policy).SlotsAtAdmission(demand);
  CheckChunks(num_slots);
  auto sequence = std::make_unique<Sequence>(Sequence{.cells = {}, .kv = kv_.MakeSequence()});
  const bool fits = kv_.CanReserveChunks(1, num_slots);
  Expect(sequence->kv.table(0).ReserveChunk(num_slots) == fits, "a chunk is reserved exactly when there is one");
  if (!fits) Count(kRefused);
  if (!fits) return false;
  const auto blocks = sequence->kv.table(0).blocks();
  for (size_t i = 1; i < blocks.size(); ++i) {
    Expect(static_cast<uint32_t>(blocks[i]) == static_cast<uint32_t>(blocks[0]) + i, "a chunk is not contiguous");
  }
  auto group = std::make_unique<Group>();
  Extend(*sequence, 0, DrawTokens(num_prompt));
  Expect(Write(*group, *sequence, 0), "a reserved chunk is too small");
  group->sequences.push_back(std::move(sequence));
  groups_.push_back(std::move(group));
  return true;
}

bool KvModel::GrowReserved() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const auto begin = static_cast<uint32_t>(sequence.cells.size());
  const uint32_t room = sequence.kv.num_slots() - begin;
  if (room == 0) return false;
  Extend(sequence, group->scope, DrawTokens(1 + Draw(room)));
  Expect(Write(*group, sequence, begin), "a reserved chunk needs more memory");
  return true;
}

bool KvModel::ForkByCopy() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || group->sequences.size() >= kMaxSequences) return false;
  const Sequence& parent = *group->sequences.front();
  auto child = std::make_unique<Sequence>(Sequence{.cells = parent.cells, .kv = kv_.MakeSequence()});
  if (!child->kv.table(0).ReserveChunk(parent.kv.num_slots())) return false;
  for (uint32_t i = 0; i < parent.kv.table(0).num_blocks(); ++i) {
    std::ranges::copy(PoolCells(parent.kv.table(0).at(i)), PoolCells(child->kv.table(0).at(i)).begin());
  }
  group->sequences.push_back(std::move(child));
  return true;
}

}  // namespace quire
