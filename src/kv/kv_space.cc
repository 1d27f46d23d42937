#include "kv/kv_space.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

bool HasWindows(const KvConfig& config) {
  return std::ranges::any_of(config.groups, [](const KvGroup& group) { return group.window > 0; });
}

class PagedSpace final : public KvSpace {
 public:
  explicit PagedSpace(const KvConfig& config)
      : KvSpace(config, HasWindows(config)), max_prompt_rows_(config.max_prompt_rows) {}

  uint32_t ReservedEnd(uint32_t group, uint32_t begin, uint32_t num_tokens, bool is_first) const override {
    const KvGroup& kv_group = cache().groups()[group];
    if (kv_group.window == 0) return num_tokens;
    const uint64_t first = kv_group.FirstNeeded(begin / block_size(), block_size());
    const uint64_t end = is_first ? first * block_size() + kv_group.window + max_prompt_rows_ : 0;
    return static_cast<uint32_t>(std::min<uint64_t>(num_tokens, std::max<uint64_t>(end, begin + 1)));
  }

  uint64_t NumToEnter(const KvEntry& entry, const KvManager::Match& match) const override {
    uint64_t num_blocks = entry.num_branch_blocks;
    for (uint32_t group = 0; group < num_groups(); ++group) {
      const uint32_t first = cache().groups()[group].FirstNeeded(match.num_blocks, block_size());
      const uint32_t end = ReservedEnd(group, match.num_blocks * block_size(), entry.demand.num_known_tokens, true);
      num_blocks += BlocksForTokens(end, block_size()) - first;
    }
    return num_blocks;
  }
  bool CanEnter(const KvEntry& entry, const KvManager::Match& match) const override {
    return cache().CanStart(NumToEnter(entry, match), match, entry.alone) == KvFit::kNow;
  }
  void Enter(const KvEntry&, const KvManager::Match& match, SequenceKv& kv, std::vector<SequenceKv>&) override {
    QUIRE_CHECK(cache().Take(match, kv), "{} blocks to load were available", match.loads.size());
  }

  uint32_t NumShareable(uint32_t num_common) const override { return num_common / block_size(); }
  uint32_t NumToJoin(uint32_t num_tokens, uint32_t num_shared, bool is_first) const override {
    uint32_t num_blocks = 0;
    for (uint32_t group = 0; group < num_groups(); ++group) {
      const uint32_t end = ReservedEnd(group, num_shared * block_size(), num_tokens, is_first);
      num_blocks += BlocksForTokens(end, block_size()) - num_shared;
    }
    return num_blocks;
  }
  uint32_t NumToGoOn(uint32_t num_remaining) const override {
    uint32_t num_blocks = 0;
    for (const KvGroup& group : cache().groups()) {
      const uint32_t num_rows = group.window == 0 ? 1 : std::clamp(num_remaining, 1U, max_prompt_rows_);
      num_blocks += BlocksForTokens(num_rows, block_size());
    }
    return num_blocks;
  }
  void Join(SequenceKv& kv, const SequenceKv& first, uint32_t num_shared, std::vector<SequenceKv>&) override {
    for (uint32_t group = 0; group < num_groups(); ++group) {
      const BlockTable& table = first.table(group);
      const uint32_t begin = cache().groups()[group].FirstNeeded(num_shared, block_size());
      kv.table(group).BeginAt(begin);
      if (begin == num_shared) continue;
      QUIRE_CHECK_LE(table.first_block(), begin);
      kv.table(group).Share(table.blocks().subspan(begin - table.first_block(), num_shared - begin));
    }
  }

  std::vector<Copy> Fork(const SequenceKv& parent, SequenceKv& child, uint32_t) override {
    child = parent.Fork();
    return {};
  }
  void Prune(SequenceKv& child) override { child.Clear(); }
  void GiveBackUnseen(SequenceKv& kv, uint32_t num_tokens) override {
    for (uint32_t group = 0; group < num_groups(); ++group) {
      kv.table(group).GiveBackBefore(cache().groups()[group].FirstNeeded(num_tokens / block_size(), block_size()));
    }
  }

  uint64_t NumExternalSlots(const KvEntry&) const override { return 0; }
  uint32_t MaxBlocks(uint32_t num_tokens) const override { return BlocksForTokens(num_tokens, block_size()); }

 private:
  const uint32_t max_prompt_rows_;
};

// Whatever a layer sees, its reservation is for the whole sequence.
class ContiguousSpace final : public KvSpace {
 public:
  ContiguousSpace(const KvConfig& config, const KvPolicy& policy) : KvSpace(config, false), policy_(policy) {}

  uint32_t ReservedEnd(uint32_t, uint32_t, uint32_t num_tokens, bool) const override { return num_tokens; }

  uint64_t NumToEnter(const KvEntry& entry, const KvManager::Match&) const override {
    return uint64_t{NumChunks(entry)} * ChunkBlocks(policy_.SlotsAtAdmission(entry.demand), block_size());
  }
  bool CanEnter(const KvEntry& entry, const KvManager::Match&) const override {
    return cache().CanReserveChunks(NumChunks(entry), policy_.SlotsAtAdmission(entry.demand));
  }
  void Enter(const KvEntry& entry, const KvManager::Match&, SequenceKv& kv,
             std::vector<SequenceKv>& reserved) override {
    const uint32_t num_slots = policy_.SlotsAtAdmission(entry.demand);
    bool fits = Reserve(num_slots, kv);
    while (reserved.size() + 1 < entry.num_streams) {
      reserved.push_back(cache().MakeSequence());
      fits = Reserve(num_slots, reserved.back()) && fits;
    }
    QUIRE_CHECK(fits, "{} chunks of {} token slots were free", NumChunks(entry), num_slots);
  }

  uint32_t NumShareable(uint32_t) const override { return 0; }
  uint32_t NumToJoin(uint32_t, uint32_t, bool) const override { return 0; }
  uint32_t NumToGoOn(uint32_t) const override { return num_groups(); }
  void Join(SequenceKv& kv, const SequenceKv&, uint32_t, std::vector<SequenceKv>& reserved) override {
    kv = std::move(reserved.back());
    reserved.pop_back();
  }

  std::vector<Copy> Fork(const SequenceKv& parent, SequenceKv& child, uint32_t num_blocks) override {
    std::vector<Copy> copies;
    for (uint32_t group = 0; group < num_groups(); ++group) {
      const uint32_t first_seen = cache().groups()[group].FirstSeen(parent.num_computed);
      for (uint32_t i = first_seen / block_size(); i < num_blocks; ++i) {
        copies.push_back({.group = group,
                          .table_index = i,
                          .source = parent.table(group).at(i),
                          .destination = child.table(group).at(i)});
      }
    }
    return copies;
  }
  void Prune(SequenceKv&) override {}
  void GiveBackUnseen(SequenceKv&, uint32_t) override {}

  uint64_t NumExternalSlots(const KvEntry& entry) const override {
    const uint32_t num_slots = policy_.SlotsAtAdmission(entry.demand);
    return cache().CanReserveChunks(NumChunks(entry), num_slots) ? 0 : cache().NumExternalSlots(num_slots);
  }
  uint32_t MaxBlocks(uint32_t) const override { return pool().num_total(); }

 private:
  uint32_t NumChunks(const KvEntry& entry) const { return entry.num_streams * num_groups(); }
  static bool Reserve(uint32_t num_slots, SequenceKv& kv) {
    return std::ranges::all_of(kv.tables(), [&](BlockTable& table) { return table.ReserveChunk(num_slots); });
  }

  const KvPolicy& policy_;
};

// A window's own blocks, those of a request's prompt while it is computed, and those that its first stream keeps for
// the others once they have to be computed again: from the end of the prompt on.
void AddWindow(const KvConfig& config, uint32_t window, uint32_t num_prompt_tokens, uint32_t max_total_tokens,
               KvWorstCase& worst) {
  constexpr uint64_t kEnds = 2;  // neither end of a window stands at a block's
  const uint64_t all = BlocksForTokens(max_total_tokens, config.block_size);
  const auto num_with = [&](uint64_t num_rows) {
    return std::min(all, BlocksForTokens(window + num_rows, config.block_size) + kEnds);
  };
  const uint64_t own = num_with(config.max_draft_rows);
  const uint64_t prompt = std::max(own, num_with(config.max_prompt_rows));
  const uint64_t output = BlocksForTokens(max_total_tokens - num_prompt_tokens, config.block_size) + 1;
  worst.num_own += own;
  worst.num_shared += prompt - own;
  worst.num_to_join += std::min(all, prompt + output) - prompt;
}

}  // namespace

std::unique_ptr<KvSpace> KvSpace::Make(const KvConfig& config) {
  const KvPolicy& policy = KvPolicy::Of(config.policy);
  if (policy.contiguous()) return std::make_unique<ContiguousSpace>(config, policy);
  return std::make_unique<PagedSpace>(config);
}

KvWorstCase WorstCaseOf(const KvConfig& config, uint32_t num_prompt_tokens, uint32_t max_total_tokens) {
  const KvPolicy& policy = KvPolicy::Of(config.policy);
  KvWorstCase worst;
  if (policy.contiguous()) {
    const uint32_t num_slots = policy.SlotsAtAdmission({.num_prompt_tokens = num_prompt_tokens,
                                                        .num_known_tokens = num_prompt_tokens,
                                                        .max_total_tokens = max_total_tokens,
                                                        .max_model_len = config.max_model_len});
    worst.num_own = config.groups.size() * ChunkBlocks(num_slots, config.block_size);
    return worst;
  }
  for (const KvGroup& group : config.groups) {
    if (group.window > 0) {
      AddWindow(config, group.window, num_prompt_tokens, max_total_tokens, worst);
      continue;
    }
    const uint32_t num_shared = num_prompt_tokens / config.block_size;
    worst.num_shared += num_shared;
    worst.num_own += BlocksForTokens(max_total_tokens, config.block_size) - num_shared;
  }
  return worst;
}

uint64_t KvWorstCase::MaxStreams(uint64_t num_blocks, uint64_t max_streams) const {
  if (total(1) > num_blocks || max_streams == 0) return 0;
  if (total(2) > num_blocks || max_streams == 1) return 1;
  const uint64_t left = num_blocks - num_shared - num_to_join;
  return num_own == 0 ? max_streams : std::min(max_streams, left / num_own);
}

}  // namespace quire
