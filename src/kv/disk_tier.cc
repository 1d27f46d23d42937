#include "kv/disk_tier.h"

#include <algorithm>

namespace quire {
namespace {

constexpr size_t kMaxDropsOfAStep = 256;  // more than the stores of a step make necessary
// Cached blocks that a step looks at for what to store: more than its tokens can evict.
constexpr uint32_t kMaxLookedAt = 256;
// After a failure, so that a full or broken disk is not asked at every step.
constexpr uint64_t kStepsOfRest = 1000;

}  // namespace

DiskTier::DiskTier(KvManager& kv, const DiskTierOptions& options, std::span<const PrefixDigest> contents)
    : options_(options), kv_(kv), index_(options.max_blocks, contents), drops_(index_.TakeExcess()) {}

// The beginnings of chains are used last, so that ends are given up first.
void DiskTier::Touch(const KvManager::Match& match) {
  if (!enabled()) return;
  for (size_t i = match.loads.size(); i-- > 0;) index_.Touch(match.loads[i].digest);
  for (uint32_t index = match.num_blocks; index-- > 0;) {
    for (const KvManager::Match::Part& part : match.parts) {
      if (index < part.first || !part.blocks[index - part.first]) continue;
      index_.Touch(kv_.index().DigestOf(*part.blocks[index - part.first]));
    }
  }
}

void DiskTier::BeginLoad(BlockId block) {
  kv_.mutable_pool().AddReference(block);
  ++num_loads_;
}

void DiskTier::EndLoad(BlockId block, const PrefixDigest& digest, bool completed) {
  if (!completed) index_.Forget(digest);
  ++(completed ? counters_.num_loaded : counters_.num_load_failures);
  kv_.mutable_pool().Release(block);
  --num_loads_;
}

DiskTier::Writes DiskTier::PlanWrites(uint64_t step, bool has_rows, uint32_t num_kept) {
  planned_stores_.clear();
  const bool rests = step < stores_resume_at_step_;
  stores_all_ = stores_all_ && !rests;
  if (!rests && drops_.empty()) {
    if (stores_all_) {
      ChooseRemaining(NumStoresLeft(num_kept));
    } else if (has_rows) {
      ChooseStores(NumStoresLeft(num_kept));
    }
  }
  for (const BlockId block : planned_stores_) kv_.BeginStore(block);
  num_stores_ += static_cast<uint32_t>(planned_stores_.size());
  const auto end = drops_.begin() + static_cast<ptrdiff_t>(std::min(drops_.size(), kMaxDropsOfAStep));
  planned_drops_.assign(drops_.begin(), end);
  drops_.erase(drops_.begin(), end);
  return {.drops = planned_drops_, .stores = planned_stores_};
}

// A block that is being stored is nobody's to take: those who run keep what they need to go on.
uint32_t DiskTier::NumStoresLeft(uint32_t num_kept) const {
  const uint32_t num_available = kv_.pool().num_available();
  return std::min(options_.max_transfers - std::min(options_.max_transfers, num_stores_),
                  num_available - std::min(num_available, num_kept));
}

bool DiskTier::GoesOn(uint32_t num_near) const {
  const BlockPool& pool = kv_.pool();
  return num_near > kMaxLookedAt && num_passed_ < num_near && next_to_store_ && pool.references(*next_to_store_) == 0 &&
         pool.reusable(*next_to_store_);
}

// The blocks that the next evictions would take; some of them are stored already. Where they are many, each step goes
// on where the last one ended.
void DiskTier::ChooseStores(uint32_t num_left) {
  const BlockPool& pool = kv_.pool();
  const uint32_t num_wanted_free = std::max(2 * options_.max_transfers, pool.num_total() / 16);
  if (pool.num_free() >= num_wanted_free) return;
  const uint32_t num_near = num_wanted_free - pool.num_free();
  if (!GoesOn(num_near)) {
    next_to_store_ = pool.first_cached();
    num_passed_ = 0;
  }
  for (uint32_t i = 0; i < kMaxLookedAt && num_passed_ < num_near && next_to_store_ && num_left > 0; ++i) {
    const BlockId block = *next_to_store_;
    next_to_store_ = pool.next_cached(block);
    ++num_passed_;
    if (pool.stored(block)) continue;
    const PrefixDigest digest = kv_.index().DigestOf(block);
    if (index_.Contains(digest)) {
      kv_.SetStored(block);
    } else if (index_.BeginStore(digest, drops_)) {
      planned_stores_.push_back(block);
      --num_left;
    }
  }
}

void DiskTier::EndStore(const PrefixDigest& digest, bool completed, uint64_t step) {
  index_.EndStore(digest, completed);
  if (completed) return;
  stores_resume_at_step_ = step + kStepsOfRest;
  stores_all_ = false;
}

void DiskTier::GiveBack(BlockId block, bool completed) {
  kv_.EndStore(block, completed);
  --num_stores_;
  ++(completed ? counters_.num_stored : counters_.num_store_failures);
}

// Of all that is cached, what would be evicted last, as much as the disk has room for, in the order of eviction.
void DiskTier::StoreAll() {
  stores_all_ = enabled();
  all_stored_ = false;
  stores_resume_at_step_ = 0;  // whatever failed before: there is no later
  remaining_.clear();
  const BlockPool& pool = kv_.pool();
  uint32_t num_passed_over = pool.num_cached() - std::min(pool.num_cached(), index_.max_blocks());
  for (std::optional<BlockId> block = pool.first_cached(); block; block = pool.next_cached(*block)) {
    if (num_passed_over > 0) {
      --num_passed_over;
      continue;
    }
    // What is there already stays there, whatever must go for the others.
    const PrefixDigest digest = kv_.index().DigestOf(*block);
    if (!index_.Touch(digest) && !index_.Contains(digest)) remaining_.push_back(*block);
  }
  std::ranges::reverse(remaining_);  // they are taken from the end
}

void DiskTier::ChooseRemaining(uint32_t num_left) {
  while (num_left > 0 && !remaining_.empty()) {
    const BlockId block = remaining_.back();
    remaining_.pop_back();
    if (kv_.pool().references(block) > 0 || !kv_.index().Contains(block)) continue;
    if (!index_.BeginStore(kv_.index().DigestOf(block), drops_)) continue;
    planned_stores_.push_back(block);
    --num_left;
  }
  if (remaining_.empty() && planned_stores_.empty() && num_stores_ == 0) {
    stores_all_ = false;
    all_stored_ = true;
  }
}

}  // namespace quire
