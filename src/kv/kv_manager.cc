#include "kv/kv_manager.h"

#include <bit>

#include "base/check.h"

namespace quire {

KvManager::KvManager(const KvConfig& config)
    : config_(config),
      index_(config.enable_prefix_caching ? config.num_blocks : 0, config.block_size, config.hash_seed),
      pool_(config.num_blocks, config.enable_prefix_caching ? &index_ : nullptr) {
  QUIRE_CHECK(std::has_single_bit(config.block_size) && config.block_size <= 256, "block size {}", config.block_size);
}

KvManager::Match KvManager::MatchPrefix(const PrefixScope& scope, std::span<const int32_t> tokens) {
  Match match = NoMatch(scope);
  if (!config_.enable_prefix_caching || tokens.empty()) return match;
  matched_.clear();
  const size_t max_blocks = (tokens.size() - 1) / config_.block_size;
  while (matched_.size() < max_blocks) {
    const auto block =
        index_.Find(match.chain, tokens.subspan(matched_.size() * config_.block_size, config_.block_size));
    if (!block) break;
    if (pool_.references(*block) == 0) ++match.num_unreferenced;
    matched_.push_back(*block);
  }
  match.blocks = matched_;
  return match;
}

KvFit KvManager::CanStart(uint32_t num_blocks, const Match& match, bool alone) const {
  const uint32_t watermark = alone ? 0 : config_.num_watermark_blocks;
  if (num_blocks > pool_.num_total()) return KvFit::kNever;
  const uint64_t needed = num_blocks - match.blocks.size() + match.num_unreferenced;
  return needed + watermark <= pool_.num_available() ? KvFit::kNow : KvFit::kLater;
}

PrefixChain KvManager::Commit(const BlockTable& table, const PrefixScope& scope, const PrefixChain& chain,
                              std::span<const int32_t> computed_tokens) {
  if (!config_.enable_prefix_caching) return chain;
  PrefixChain longer = chain;
  for (size_t end; (end = (size_t{longer.depth} + 1) * config_.block_size) <= computed_tokens.size();) {
    const BlockId block = table.blocks()[longer.depth];
    const auto tokens = computed_tokens.subspan(end - config_.block_size, config_.block_size);
    longer = index_.Insert(scope, longer, tokens, block);
    pool_.SetReusable(block, true);
  }
  return longer;
}

void KvManager::Forget(std::span<const BlockId> blocks) {
  for (auto block = blocks.rbegin(); block != blocks.rend() && pool_.references(*block) == 1; ++block) {
    if (!pool_.reusable(*block)) continue;
    index_.Erase(*block);
    pool_.SetReusable(*block, false);
  }
}

bool KvManager::ResetPrefixCache() {
  if (pool_.num_used() > 0) return false;
  for (uint32_t i = 0; i < pool_.num_total(); ++i) {
    if (pool_.reusable(BlockId{i})) pool_.SetReusable(BlockId{i}, false);
  }
  index_.Clear();
  return true;
}

void KvManager::CheckInvariants() const {
  pool_.CheckInvariants();
  if (!config_.enable_prefix_caching) return;
  index_.CheckInvariants();
  for (uint32_t i = 0; i < pool_.num_total(); ++i)
    QUIRE_CHECK_EQ(pool_.reusable(BlockId{i}), index_.Contains(BlockId{i}));
}

}  // namespace quire
