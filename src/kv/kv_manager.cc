#include "kv/kv_manager.h"

#include <bit>

#include "base/check.h"

namespace quire {

namespace {

KvConfig Effective(KvConfig config) {
  QUIRE_CHECK(std::has_single_bit(config.block_size) && config.block_size <= 256, "block size {}", config.block_size);
  config.enable_prefix_caching = KeepsPrefixes(config);
  return config;
}

uint32_t MaxChunk(const KvConfig& config) {
  if (!KvPolicy::Of(config.policy).contiguous()) return 0;
  QUIRE_CHECK_GT(config.max_model_len, 0U);
  return ChunkBlocks(config.max_model_len, config.block_size);
}

}  // namespace

bool KeepsPrefixes(const KvConfig& config) {
  return config.enable_prefix_caching && !KvPolicy::Of(config.policy).contiguous();
}

KvManager::KvManager(const KvConfig& config)
    : config_(Effective(config)),
      index_(config_.enable_prefix_caching ? config_.num_blocks : 0, config_.block_size, config_.hash_seed,
             config_.next_digest),
      pool_(config_.num_blocks, config_.enable_prefix_caching ? &index_ : nullptr, MaxChunk(config_)) {}

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

bool KvManager::CanReserveChunks(uint32_t num_streams, uint32_t num_slots) const {
  return pool_.num_chunks(ChunkBlocks(num_slots, config_.block_size)) >= num_streams;
}

uint64_t KvManager::NumExternalSlots(uint32_t num_slots) const {
  if (!pool_.contiguous()) return 0;
  return uint64_t{pool_.num_free_below(ChunkBlocks(num_slots, config_.block_size))} * config_.block_size;
}

PrefixChain KvManager::Commit(const BlockTable& table, const PrefixScope& scope, const PrefixChain& chain,
                              std::span<const int32_t> computed_tokens) {
  if (!config_.enable_prefix_caching) return chain;
  PrefixChain longer = chain;
  for (size_t end; (end = (size_t{longer.depth} + 1) * config_.block_size) <= computed_tokens.size();) {
    const BlockId block = table.blocks()[longer.depth];
    if (index_.Contains(block)) {
      longer = index_.ChainTo(block, longer.depth + 1);
      continue;
    }
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

bool KvManager::ResetPrefixCache(uint32_t num_pinned) {
  if (pool_.num_used() != num_pinned) return false;
  while (const auto block = pool_.first_cached()) {
    index_.Erase(*block);
    pool_.SetReusable(*block, false);
  }
  for (uint32_t i = 0; i < pool_.num_total(); ++i) pool_.SetStored(BlockId{i}, false);
  return true;
}

void KvManager::BeginStore(BlockId block) {
  QUIRE_CHECK_EQ(pool_.references(block), 0U);
  pool_.AddReference(block);
}

void KvManager::EndStore(BlockId block, bool stored) {
  if (stored) pool_.SetStored(block, true);
  pool_.ReleaseUnused(block);
}

void KvManager::CheckInvariants() const {
  pool_.CheckInvariants();
  if (!config_.enable_prefix_caching) return;
  index_.CheckInvariants();
  for (uint32_t i = 0; i < pool_.num_total(); ++i)
    QUIRE_CHECK_EQ(pool_.reusable(BlockId{i}), index_.Contains(BlockId{i}));
}

}  // namespace quire
