// The prefix cache: what is evicted, pinned and reset.
#include <algorithm>
#include <set>

#include "kv/kv_model_testing.h"

namespace quire {

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

}  // namespace quire
