// Sequences of a contiguous policy: in chunks that are reserved for them.
#include <algorithm>

#include "kv/kv_model_testing.h"

namespace quire {

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

}  // namespace quire
