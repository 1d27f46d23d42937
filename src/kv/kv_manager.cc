#include "kv/kv_manager.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"

namespace quire {

namespace {

KvConfig Effective(KvConfig config) {
  QUIRE_CHECK(std::has_single_bit(config.block_size) && config.block_size <= 256, "block size {}", config.block_size);
  QUIRE_CHECK(!config.groups.empty(), "a model without KV groups");
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
      index_({.num_blocks = config_.enable_prefix_caching ? config_.num_blocks : 0,
              .num_groups = static_cast<uint32_t>(config_.groups.size()),
              .block_size = config_.block_size,
              .seed = config_.hash_seed,
              .next_digest = config_.next_digest}),
      pool_(config_.num_blocks, config_.enable_prefix_caching ? &index_ : nullptr, MaxChunk(config_)),
      matched_(config_.groups.size()) {}

SequenceKv KvManager::MakeSequence() {
  std::vector<BlockTable> others;
  for (size_t group = 1; group < config_.groups.size(); ++group) others.emplace_back(pool_, config_.block_size);
  return SequenceKv(InlineFirst(BlockTable(pool_, config_.block_size), std::move(others)));
}

// How far a prefix reaches: in memory alone, and with what is on disk.
struct KvManager::Walk {
  struct Run {  // of blocks without a gap, up to where the walk is, of one group
    uint32_t in_memory = 0;
    uint32_t in_all = 0;
  };
  std::vector<Run> runs;
  uint32_t num_in_memory = 0;
  uint32_t num_in_all = 0;
  PrefixChain chain;  // of those in memory
};

KvManager::Walk KvManager::WalkPrefix(const PrefixScope& scope, std::span<const int32_t> tokens,
                                      const DiskIndex* disk) {
  const size_t block_size = config_.block_size, max_blocks = (tokens.size() - 1) / block_size;
  PrefixChain chain = index_.Root(scope);
  Walk walk = {.runs = std::vector<Walk::Run>(config_.groups.size()), .chain = chain};
  PrefixDigest digest = chain.digest;
  bool indexed = true;
  for (uint32_t i = 0; i < max_blocks; ++i) {
    const auto part = tokens.subspan(i * block_size, block_size);
    digest = index_.DigestAfter(digest, part);
    indexed = indexed && index_.Find(chain, digest, part);
    if (!indexed && disk == nullptr) break;
    digests_.push_back(digest);
    bool in_memory = true, in_all = true, has_gap = false;
    for (uint32_t g = 0; g < config_.groups.size(); ++g) {
      const KvGroup& group = config_.groups[g];
      Walk::Run& run = walk.runs[g];
      const std::optional<BlockId> block = indexed ? index_.BlockOf(chain, g) : std::nullopt;
      const bool is_there = block || (disk != nullptr && disk->IsStored(InGroup(digest, g)));
      present_.push_back(block);
      run.in_memory = block ? run.in_memory + 1 : 0;
      run.in_all = is_there ? run.in_all + 1 : 0;
      const uint32_t num_needed = i + 1 - group.FirstNeeded(i + 1, config_.block_size);
      in_memory = in_memory && run.in_memory >= num_needed;
      in_all = in_all && run.in_all >= num_needed;
      has_gap = has_gap || (group.window == 0 && !is_there);
    }
    if (has_gap) break;
    if (in_all) walk.num_in_all = i + 1;
    if (!in_memory) continue;
    walk.num_in_memory = i + 1;
    walk.chain = chain;
  }
  return walk;
}

KvManager::Match KvManager::MatchPrefix(const PrefixScope& scope, std::span<const int32_t> tokens,
                                        const DiskIndex* disk) {
  Match match = NoMatch(scope);
  if (!config_.enable_prefix_caching || tokens.empty()) return match;
  digests_.clear();
  present_.clear();
  loads_.clear();
  const PrefixDigest root = match.chain.digest;
  const Walk walk = WalkPrefix(scope, tokens, disk);
  match.num_blocks = walk.num_in_all;
  if (walk.num_in_memory == walk.num_in_all) match.chain = walk.chain;
  if (match.num_blocks == 0) return match;
  for (uint32_t group = 0; group < config_.groups.size(); ++group) AddPart(group, match);
  // One block of all groups after the other: what is nearest to the root comes first.
  std::ranges::stable_sort(loads_, {}, &Load::index);
  for (Load& load : loads_) {
    load.digest = InGroup(digests_[load.index], load.group);
    load.parent = InGroup(load.index == 0 ? root : digests_[load.index - 1], load.group);
  }
  match.loads = loads_;
  return match;
}

void KvManager::AddPart(uint32_t group, Match& match) {
  const uint32_t first = config_.groups[group].FirstNeeded(match.num_blocks, config_.block_size);
  std::vector<std::optional<BlockId>>& blocks = matched_[group];
  blocks.clear();
  for (uint32_t i = first; i < match.num_blocks; ++i) {
    const std::optional<BlockId> block = present_[size_t{i} * config_.groups.size() + group];
    blocks.push_back(block);
    if (!block) {
      loads_.push_back({.group = group, .index = i});
      continue;
    }
    ++match.num_in_memory;
    if (pool_.references(*block) == 0) ++match.num_unreferenced;
  }
  match.parts.push_back({.first = first, .blocks = blocks});
}

KvFit KvManager::CanStart(uint64_t num_blocks, const Match& match, bool alone) const {
  const uint32_t watermark = alone ? 0 : config_.num_watermark_blocks;
  if (num_blocks > pool_.num_total()) return KvFit::kNever;
  const uint64_t needed = num_blocks - match.num_in_memory + match.num_unreferenced;
  return needed + watermark <= pool_.num_available() ? KvFit::kNow : KvFit::kLater;
}

bool KvManager::Take(const Match& match, SequenceKv& kv) {
  // What is shared first: what is taken for the others might be among it.
  std::vector<BlockTable> shared;
  for (const Match::Part& part : match.parts) {
    BlockTable& table = shared.emplace_back(pool_, config_.block_size);
    for (const std::optional<BlockId>& block : part.blocks) {
      if (block) table.Share({&*block, 1});
    }
  }
  for (size_t group = 0; group < match.parts.size(); ++group) {
    const Match::Part& part = match.parts[group];
    BlockTable& table = kv.table(static_cast<uint32_t>(group));
    table.BeginAt(part.first);
    for (const std::optional<BlockId>& block : part.blocks) {
      if (block) {
        table.Share({&*block, 1});
      } else if (!table.Append()) {
        kv.Clear();
        return false;
      }
    }
  }
  kv.chain = match.chain;
  kv.num_computed = match.num_blocks * config_.block_size;
  return true;
}

bool KvManager::CanReserveChunks(uint32_t num_streams, uint32_t num_slots) const {
  return pool_.num_chunks(ChunkBlocks(num_slots, config_.block_size)) >= num_streams;
}

uint64_t KvManager::NumExternalSlots(uint32_t num_slots) const {
  if (!pool_.contiguous()) return 0;
  return uint64_t{pool_.num_free_below(ChunkBlocks(num_slots, config_.block_size))} * config_.block_size;
}

void KvManager::Commit(SequenceKv& kv, const PrefixScope& scope, std::span<const int32_t> computed_tokens) {
  if (!config_.enable_prefix_caching) return;
  const size_t block_size = config_.block_size;
  if ((size_t{kv.chain.depth} + 1) * block_size > computed_tokens.size()) return;
  PrefixChain chain = kv.chain;
  while ((size_t{chain.depth} + 1) * block_size <= computed_tokens.size()) {
    const uint32_t index = chain.depth;
    if (!index_.Extend(chain, scope, computed_tokens.subspan(index * block_size, block_size))) break;
    for (uint32_t group = 0; group < kv.num_groups(); ++group) {
      const BlockTable& table = kv.table(group);
      if (index < table.first_block()) continue;
      const BlockId block = table.at(index);
      if (index_.Contains(block)) {
        QUIRE_CHECK(index_.IsOf(block, chain), "block {} holds another prefix", static_cast<uint32_t>(block));
        continue;
      }
      index_.Insert(chain, group, block);
      pool_.SetReusable(block, true);
    }
  }
  // Of a sequence whose full blocks have all been given back nothing is left to be found.
  if (!index_.Prune(chain)) kv.chain = chain;
}

void KvManager::Forget(const SequenceKv& kv) {
  for (const BlockTable& table : kv.tables()) {
    const std::span<const BlockId> blocks = table.blocks();
    for (auto block = blocks.rbegin(); block != blocks.rend() && pool_.references(*block) == 1; ++block) {
      if (!pool_.reusable(*block)) continue;
      index_.Erase(*block);
      pool_.SetReusable(*block, false);
    }
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
