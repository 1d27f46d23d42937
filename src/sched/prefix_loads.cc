#include "sched/prefix_loads.h"

#include <algorithm>

namespace quire {

void PrefixLoads::Start(SequenceGroup& group, uint32_t first_block, const PrefixDigest& parent,
                        std::span<const PrefixDigest> digests) {
  group.state = SequenceGroup::State::kLoading;
  group.num_transfers = 0;
  group.first_loaded_block = first_block;
  group.load_parent = parent;
  group.to_load.assign(digests.begin(), digests.end());
  group.num_loads_issued = 0;
  group.loaded.assign(digests.size(), false);
}

void PrefixLoads::Plan(std::span<SequenceGroup* const> running) {
  for (SequenceGroup* group : running) {
    if (group->state != SequenceGroup::State::kLoading) continue;
    while (disk_.CanLoad() && group->num_loads_issued < group->to_load.size()) Issue(*group);
  }
}

void PrefixLoads::Issue(SequenceGroup& group) {
  const size_t block_size = space_.block_size();
  const uint32_t index = group.num_loads_issued++;
  const uint32_t place = group.first_loaded_block + index;
  const BlockId block = group.front().table.blocks()[place];
  disk_.BeginLoad(block);
  ++group.num_transfers;
  Transfer& transfer = builder_.AddTransfer({.kind = Transfer::Kind::kLoad,
                                             .held = block,
                                             .digest = group.to_load[index],
                                             .request = group.request.id,
                                             .epoch = group.epoch,
                                             .loaded_index = index});
  transfer.parent = index == 0 ? group.load_parent : group.to_load[index - 1];
  builder_.AttachTokens(transfer, std::span(group.front().tokens).subspan(place * block_size, block_size));
}

bool PrefixLoads::Report(SequenceGroup* group, const PendingTransfer& transfer, bool completed) {
  disk_.EndLoad(*transfer.held, transfer.digest, completed);
  if (group == nullptr) return false;
  group->loaded[transfer.loaded_index] = completed;
  if (!completed) group->to_load.resize(group->num_loads_issued);  // nothing behind a gap is of use
  if (--group->num_transfers > 0 || group->num_loads_issued < group->to_load.size()) return false;
  Finish(*group);
  return true;
}

void PrefixLoads::Finish(SequenceGroup& group) {
  Sequence& front = group.front();
  const auto gap = std::ranges::find(group.loaded, false);
  const auto num_loaded = static_cast<uint32_t>(gap - group.loaded.begin());
  front.num_computed = (group.first_loaded_block + num_loaded) * space_.block_size();
  front.chain =
      space_.cache().Commit(front.table, group.scope(), front.chain, std::span(front.tokens).first(front.num_computed));
  for (uint32_t i = 0; i < num_loaded; ++i) {
    space_.cache().SetStored(front.table.blocks()[group.first_loaded_block + i]);
  }
  group.state = SequenceGroup::State::kRunning;
}

}  // namespace quire
