// What the operations do.
#include <algorithm>
#include <iterator>
#include <set>

#include "kv/kv_model_testing.h"

namespace quire {

// Computes positions from `begin` on. False, and nothing has changed: there is no room.
bool KvModel::Write(const Group& group, Sequence& sequence, uint32_t begin) {
  const auto end = static_cast<uint32_t>(sequence.cells.size());
  const uint32_t predicted = sequence.table.NumBlocksToWrite(begin, end), available = kv_.pool().num_available();
  std::vector<CopyOnWrite> copies;
  const bool done = sequence.table.PrepareWrite(begin, end, copies);
  Expect(done == (predicted <= available), "PrepareWrite does not do what NumBlocksToWrite says");
  if (!done) return false;
  Count(kCopies, copies.size());
  for (const CopyOnWrite& copy : copies) {
    Expect(sequence.table.blocks()[copy.table_index] == copy.destination, "the copy is not in the table");
    if (!config_.loses_copies) std::ranges::copy(PoolCells(copy.source), PoolCells(copy.destination).begin());
  }
  for (uint32_t i = begin; i < end; ++i) {
    const BlockId block = sequence.table.blocks()[i / block_size_];
    Expect(kv_.pool().references(block) == 1, "a shared block is written");
    PoolCells(block)[i % block_size_] = sequence.cells[i];
  }
  CheckTable(sequence.cells, sequence.table.blocks());
  Commit(group, sequence);
  return true;
}

void KvModel::Commit(const Group& group, Sequence& sequence) {
  sequence.chain = kv_.Commit(sequence.table, ScopeOf(group.scope), sequence.chain, sequence.Tokens());
  const auto num_full = static_cast<uint32_t>(sequence.cells.size()) / block_size_;
  Expect(sequence.chain.depth == (config_.kv.enable_prefix_caching && !config_.contiguous() ? num_full : 0),
         "not every full block is indexed");
}

bool KvModel::Start(std::vector<int32_t> tokens, uint32_t scope, uint32_t min_hits) {
  if (groups_.size() >= kMaxGroups) return false;
  const KvManager::Match match = kv_.MatchPrefix(ScopeOf(scope), tokens);
  auto group = std::make_unique<Group>();
  group->scope = scope;
  group->num_matched = static_cast<uint32_t>(match.blocks.size());
  Expect(group->num_matched >= min_hits, "an indexed prefix is not found");
  Expect(size_t{group->num_matched} * block_size_ < tokens.size(), "the last token is not computed");
  auto sequence = std::make_unique<Sequence>(Sequence{.cells = {}, .table = kv_.MakeTable(), .chain = match.chain});
  Extend(*sequence, scope, tokens);
  CheckTable(std::span(sequence->cells).first(size_t{group->num_matched} * block_size_), match.blocks);
  if (kv_.CanStart(BlocksForTokens(tokens.size(), block_size_), match, true) != KvFit::kNow) {
    Count(kRefused);
    return false;
  }
  Count(kHits, group->num_matched);
  sequence->table.Share(match.blocks);
  const bool loads = Draw(4) != 0 && StartLoading(*group, *sequence, tokens);
  if (!loads) Expect(Write(*group, *sequence, group->num_matched * block_size_), "CanStart promised room");
  group->sequences.push_back(std::move(sequence));
  groups_.push_back(std::move(group));
  return true;
}

// Whether blocks that follow those in memory are on disk, and are on their way now.
bool KvModel::StartLoading(Group& group, Sequence& sequence, std::span<const int32_t> tokens) {
  if (!config_.kv.enable_prefix_caching) return false;
  const auto max_blocks = static_cast<uint32_t>(tokens.size() - 1) / block_size_;
  PrefixDigest digest = sequence.chain.digest;
  for (uint32_t i = group.num_matched; i < max_blocks; ++i) {
    digest = NextDigest(digest, tokens.subspan(size_t{i} * block_size_, block_size_));
    if (!disk_.Touch(digest)) break;
    group.loads.push_back({.table_index = i, .digest = digest});
  }
  if (group.loads.empty()) return false;
  std::vector<CopyOnWrite> copies;
  Expect(sequence.table.PrepareWrite(group.num_matched * block_size_, static_cast<uint32_t>(tokens.size()), copies),
         "CanStart promised room");
  Expect(copies.empty(), "a block that was hit is written");
  group.state = State::kLoading;
  return true;
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
  const uint32_t min_hits = findable ? std::min({model.chain.depth, num_common / block_size_, max_hits}) : 0;
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

bool KvModel::Rewrite() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr) return false;
  Sequence& sequence = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const auto end = static_cast<uint32_t>(sequence.cells.size());
  const uint32_t first = sequence.chain.depth * block_size_;
  if (first == end) return false;
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
  group->sequences.push_back(
      std::make_unique<Sequence>(Sequence{parent.cells, parent.table.Fork(), parent.chain, parent.findable}));
  Expect(kv_.pool().num_used() == num_used, "a fork takes memory");
  return true;
}

bool KvModel::ForkPrefix() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || group->sequences.size() >= kMaxSequences) return false;
  const Sequence& parent = *group->sequences[Draw(static_cast<uint32_t>(group->sequences.size()))];
  const uint32_t num_blocks = 1 + Draw(parent.table.num_blocks());
  auto child = std::make_unique<Sequence>(Sequence{parent.cells, parent.table.ForkPrefix(num_blocks),
                                                   kv_.NoMatch(ScopeOf(group->scope)).chain, parent.findable});
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
  kv_.Forget(sequence.table.blocks());
  for (auto block = sequence.table.blocks().rbegin(); block != sequence.table.blocks().rend(); ++block) {
    if (kv_.pool().references(*block) > 1) break;
    Expect(!kv_.pool().reusable(*block), "what was forgotten can be reused");
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
    tables.push_back(&sequence->table);
    blocks.emplace_back(sequence->table.blocks().begin(), sequence->table.blocks().end());
    distinct.insert(blocks.back().begin(), blocks.back().end());
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
  for (const auto& of_sequence : blocks) {
    group->places.emplace_back();
    for (const BlockId block : of_sequence) group->places.back().push_back(place_of.at(block));
  }
  group->state = State::kSwapped;
  return true;
}

bool KvModel::SwapIn() {
  Group* group = DrawGroup(State::kSwapped);
  if (group == nullptr) return false;
  std::vector<BlockTable*> tables;
  for (const auto& sequence : group->sequences) tables.push_back(&sequence->table);
  std::vector<SwapMove> moves;
  const bool fits = group->swapped.num_blocks() <= kv_.pool().num_available();
  Expect(kv_.SwapIn(group->swapped, tables, moves) == fits, "In succeeds exactly when the blocks fit");
  if (!fits) return false;
  for (const SwapMove& move : moves) std::ranges::copy(SwapCells(move.place), PoolCells(move.block).begin());
  group->state = State::kRunning;
  const bool index_again = Draw(4) != 0;
  for (size_t i = 0; i < group->sequences.size(); ++i) {
    Sequence& sequence = *group->sequences[i];
    Expect(sequence.table.num_blocks() == group->places[i].size(), "blocks are missing");
    CheckTable(sequence.cells, sequence.table.blocks());
    sequence.findable = index_again;
    if (!index_again) continue;
    sequence.chain = kv_.NoMatch(ScopeOf(group->scope)).chain;
    Commit(*group, sequence);
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
  BlockTable table = kv_.MakeTable();
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
  const auto expected = std::span(sequence.cells).subspan(size_t{load->table_index} * block_size_, block_size_);
  const auto file = files_.find(load->digest);
  const bool readable = file != files_.end() && !file->second.damaged;
  Expect(!readable || std::ranges::equal(file->second.cells, expected), "a digest names other content");
  load->succeeded = readable && Draw(8) != 0;
  if (load->succeeded) {
    const BlockId block = sequence.table.blocks()[load->table_index];
    std::ranges::copy(file->second.cells, PoolCells(block).begin());
    kv_.SetStored(block);
    Count(kDiskHits);
  } else {
    disk_.Forget(load->digest);
    if (!disk_.Contains(load->digest)) files_.erase(load->digest);
    Count(kFailedLoads);
  }
  if (std::ranges::all_of(group->loads, &Load::done)) FinishLoading(*group);
  return true;
}

// What failed, and everything behind it, is computed.
void KvModel::FinishLoading(Group& group) {
  if (group.state == State::kAbortedWhileLoading) {
    std::erase_if(groups_, [&](const auto& other) { return other.get() == &group; });
    return;
  }
  const auto failed = std::ranges::find(group.loads, false, &Load::succeeded);
  const uint32_t num_blocks = group.num_matched + static_cast<uint32_t>(failed - group.loads.begin());
  group.loads.clear();
  group.state = State::kRunning;
  Expect(Write(group, *group.sequences.front(), num_blocks * block_size_), "a loaded sequence needs more memory");
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
                   .table = sequence.table.ForkPrefix(num_blocks),
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
  for (const Pin& pin : pins_) pinned.insert(pin.table.blocks().begin(), pin.table.blocks().end());
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
    Expect(match.blocks.size() == pin.table.num_blocks(), "a pinned prefix is not found");
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
  auto sequence = std::make_unique<Sequence>(Sequence{.cells = {}, .table = kv_.MakeTable(), .chain = {}});
  const bool fits = kv_.CanReserveChunks(1, num_slots);
  Expect(sequence->table.ReserveChunk(num_slots) == fits, "a chunk is reserved exactly when there is one");
  if (!fits) Count(kRefused);
  if (!fits) return false;
  const auto blocks = sequence->table.blocks();
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
  const uint32_t room = sequence.table.num_slots() - begin;
  if (room == 0) return false;
  Extend(sequence, group->scope, DrawTokens(1 + Draw(room)));
  Expect(Write(*group, sequence, begin), "a reserved chunk needs more memory");
  return true;
}

bool KvModel::ForkByCopy() {
  Group* group = DrawGroup(State::kRunning);
  if (group == nullptr || group->sequences.size() >= kMaxSequences) return false;
  const Sequence& parent = *group->sequences.front();
  auto child = std::make_unique<Sequence>(Sequence{.cells = parent.cells, .table = kv_.MakeTable(), .chain = {}});
  if (!child->table.ReserveChunk(parent.table.num_slots())) return false;
  for (uint32_t i = 0; i < parent.table.num_blocks(); ++i) {
    std::ranges::copy(PoolCells(parent.table.blocks()[i]), PoolCells(child->table.blocks()[i]).begin());
  }
  group->sequences.push_back(std::move(child));
  return true;
}

}  // namespace quire
