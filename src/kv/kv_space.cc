#include "kv/kv_space.h"

#include "base/check.h"

namespace quire {
namespace {

class PagedSpace final : public KvSpace {
 public:
  explicit PagedSpace(const KvConfig& config) : KvSpace(config) {}

  bool CanEnter(const KvEntry& entry, const KvManager::Match& match) const override {
    const uint32_t num_blocks = BlocksForTokens(entry.demand.num_known_tokens, block_size()) + entry.num_branch_blocks;
    return cache().CanStart(num_blocks, match, entry.alone) == KvFit::kNow;
  }
  void Enter(const KvEntry&, const KvManager::Match& match, BlockTable& table, std::vector<BlockTable>&) override {
    table.Share(match.blocks);
  }

  uint32_t NumShareable(uint32_t num_common) const override { return num_common / block_size(); }
  uint32_t NumToJoin(uint32_t num_tokens, uint32_t num_shared) const override {
    return BlocksForTokens(num_tokens, block_size()) - num_shared;
  }
  void Join(BlockTable& table, const BlockTable& first, uint32_t num_shared, std::vector<BlockTable>&) override {
    table.Share(first.blocks().first(num_shared));
  }

  std::vector<std::pair<BlockId, BlockId>> Fork(const BlockTable& parent, BlockTable& child, uint32_t) override {
    child = parent.Fork();
    return {};
  }
  void Prune(BlockTable& child) override { child.Clear(); }

  uint64_t NumExternalSlots(const KvEntry&) const override { return 0; }
  uint32_t MaxBlocks(uint32_t num_tokens) const override { return BlocksForTokens(num_tokens, block_size()); }
};

class ContiguousSpace final : public KvSpace {
 public:
  ContiguousSpace(const KvConfig& config, const KvPolicy& policy) : KvSpace(config), policy_(policy) {}

  bool CanEnter(const KvEntry& entry, const KvManager::Match&) const override {
    return cache().CanReserveChunks(entry.num_streams, policy_.SlotsAtAdmission(entry.demand));
  }
  void Enter(const KvEntry& entry, const KvManager::Match&, BlockTable& table,
             std::vector<BlockTable>& reserved) override {
    const uint32_t num_slots = policy_.SlotsAtAdmission(entry.demand);
    bool fits = table.ReserveChunk(num_slots);
    while (reserved.size() + 1 < entry.num_streams) {
      reserved.push_back(cache().MakeTable());
      fits = reserved.back().ReserveChunk(num_slots) && fits;
    }
    QUIRE_CHECK(fits, "{} chunks of {} token slots were free", entry.num_streams, num_slots);
  }

  uint32_t NumShareable(uint32_t) const override { return 0; }
  uint32_t NumToJoin(uint32_t, uint32_t) const override { return 0; }
  void Join(BlockTable& table, const BlockTable&, uint32_t, std::vector<BlockTable>& reserved) override {
    table = std::move(reserved.back());
    reserved.pop_back();
  }

  std::vector<std::pair<BlockId, BlockId>> Fork(const BlockTable& parent, BlockTable& child,
                                                uint32_t num_blocks) override {
    std::vector<std::pair<BlockId, BlockId>> copies;
    for (uint32_t i = 0; i < num_blocks; ++i) copies.emplace_back(parent.blocks()[i], child.blocks()[i]);
    return copies;
  }
  void Prune(BlockTable&) override {}

  uint64_t NumExternalSlots(const KvEntry& entry) const override {
    const uint32_t num_slots = policy_.SlotsAtAdmission(entry.demand);
    return cache().CanReserveChunks(entry.num_streams, num_slots) ? 0 : cache().NumExternalSlots(num_slots);
  }
  uint32_t MaxBlocks(uint32_t) const override { return pool().num_total(); }

 private:
  const KvPolicy& policy_;
};

}  // namespace

std::unique_ptr<KvSpace> KvSpace::Make(const KvConfig& config) {
  const KvPolicy& policy = KvPolicy::Of(config.policy);
  if (policy.contiguous()) return std::make_unique<ContiguousSpace>(config, policy);
  return std::make_unique<PagedSpace>(config);
}

KvWorstCase WorstCaseOf(const KvConfig& config, uint32_t num_prompt_tokens, uint32_t max_total_tokens) {
  const KvPolicy& policy = KvPolicy::Of(config.policy);
  if (policy.contiguous()) {
    const uint32_t num_slots = policy.SlotsAtAdmission({.num_prompt_tokens = num_prompt_tokens,
                                                        .num_known_tokens = num_prompt_tokens,
                                                        .max_total_tokens = max_total_tokens,
                                                        .max_model_len = config.max_model_len});
    return {.num_shared = 0, .num_own = ChunkBlocks(num_slots, config.block_size)};
  }
  const uint32_t num_shared = num_prompt_tokens / config.block_size;
  return {.num_shared = num_shared, .num_own = BlocksForTokens(max_total_tokens, config.block_size) - num_shared};
}

}  // namespace quire
