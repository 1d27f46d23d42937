#include "sched/prefix_loads.h"

#include <algorithm>

namespace quire {

void PrefixLoads::Start(SequenceGroup& group, std::span<const KvManager::Load> loads) {
  group.state = SequenceGroup::State::kLoading;
  group.num_transfers = 0;
  group.to_load.assign(loads.begin(), loads.end());
  group.num_loads_issued = 0;
  group.loaded.assign(loads.size(), false);
}

void PrefixLoads::Plan(std::span<SequenceGroup* const> running) {
  for (SequenceGroup* group : running) {
    if (group->state != SequenceGroup::State::kLoading) continue;
    while (disk_.CanLoad() && group->num_loads_issued < group->to_load.size()) Issue(*group);
  }
}

void PrefixLoads::Issue(SequenceGroup& group) {
  const size_t block_size = space_.block_size();
  const uint32_t number = group.num_loads_issued++;
  const KvManager::Load& load = group.to_load[number];
  const BlockId block = group.front().kv.table(load.group).at(load.index);
  disk_.BeginLoad(block);
  ++group.num_transfers;
  Transfer& transfer = builder_.AddTransfer({.kind = Transfer::Kind::kLoad,
                                             .held = block,
                                             .digest = load.digest,
                                             .request = group.request.id,
                                             .epoch = group.epoch,
                                             .loaded_index = number});
  transfer.parent = load.parent;
  builder_.AttachTokens(transfer, std::span(group.front().tokens).subspan(load.index * block_size, block_size));
}

PrefixLoads::Progress PrefixLoads::Report(SequenceGroup* group, const PendingTransfer& transfer, bool completed) {
  disk_.EndLoad(*transfer.held, transfer.digest, completed);
  if (group == nullptr) return Progress::kUnderWay;
  group->loaded[transfer.loaded_index] = completed;
  if (!completed) group->to_load.resize(group->num_loads_issued);  // nothing behind a gap is of use
  if (--group->num_transfers > 0 || group->num_loads_issued < group->to_load.size()) return Progress::kUnderWay;
  Sequence& front = group->front();
  const auto gap = std::ranges::find(group->loaded, false);
  const bool has_all = gap == group->loaded.end();
  const uint32_t num_there = has_all ? front.kv.num_computed / space_.block_size()
                                     : group->to_load[static_cast<size_t>(gap - group->loaded.begin())].index;
  Index(*group, num_there);
  if (!has_all && !CanGoOnBehind(front, num_there)) return Progress::kFailed;
  front.kv.num_computed = num_there * space_.block_size();
  group->state = SequenceGroup::State::kRunning;
  return Progress::kDone;
}

// Whether what is behind these blocks can be computed into the tables as they are.
bool PrefixLoads::CanGoOnBehind(const Sequence& sequence, uint32_t num_blocks) const {
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) {
    const uint32_t first_needed = space_.cache().groups()[i].FirstNeeded(num_blocks, space_.block_size());
    if (sequence.kv.table(i).first_block() > first_needed) return false;
  }
  const uint32_t begin = num_blocks * space_.block_size();
  return sequence.kv.NumBlocksToWrite(begin, sequence.kv.num_slots()) == 0;
}

// The first num_blocks blocks of tokens are there.
void PrefixLoads::Index(SequenceGroup& group, uint32_t num_blocks) {
  Sequence& front = group.front();
  const size_t num_tokens = size_t{num_blocks} * space_.block_size();
  space_.cache().Commit(front.kv, group.scope(), std::span(front.tokens).first(num_tokens));
  for (const KvManager::Load& load : group.to_load) {
    if (load.index < num_blocks) space_.cache().SetStored(front.kv.table(load.group).at(load.index));
  }
}

}  // namespace quire
