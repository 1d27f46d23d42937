// Sequences: how they start, with what is cached of them, grow, fork and end.
#include <algorithm>

#include "kv/kv_model_testing.h"

namespace quire {

bool KvModel::StartNew() { return Start(DrawTokens(1 + Draw(4 * block_size_)), Draw(kNumScopes), 0); }

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

}  // namespace quire
