// Blocks on their way to and from the disk. A block that is stored or loaded is held by the transfer until it has been
// reported; a load that fails means that its tokens are computed. No step waits for a transfer while there is anything
// else to do.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"

namespace quire {
namespace {

constexpr size_t kMaxDropsOfAStep = 256;  // more than the stores of a step make necessary
// Cached blocks that a step looks at for what to store: more than its tokens can evict.
constexpr uint32_t kMaxLookedAt = 256;
// After a failure, so that a full or broken disk is not asked at every step.
constexpr uint64_t kStepsOfRest = 1000;

}  // namespace

uint32_t Scheduler::NumWritesLeft() const {
  return config_.max_disk_transfers - std::min(config_.max_disk_transfers, num_disk_writes_);
}

// REQUIRES: the block that it holds, if any, has been given a reference for it.
Transfer& Scheduler::AddTransfer(const PendingTransfer& pending) {
  const uint64_t id = next_transfer_++;
  if (pending.kind != Transfer::Kind::kSwapOut && pending.kind != Transfer::Kind::kSwapIn) ++num_disk_transfers_;
  if (pending.kind == Transfer::Kind::kStore) ++num_disk_writes_;
  if (pending.kind == Transfer::Kind::kLoad) ++num_disk_reads_;
  if (pending.held) ++num_blocks_in_transfer_;
  transfers_.emplace(id, pending);
  Transfer& transfer = plan_.transfers.emplace_back();
  transfer.id = id;
  transfer.kind = pending.kind;
  transfer.digest = pending.digest;
  if (pending.held) transfer.block = *pending.held;
  return transfer;
}

// The digests of the full blocks behind the match that can be loaded. Valid until the next call.
std::span<const PrefixDigest> Scheduler::MatchOnDisk(const SequenceGroup& group, uint32_t num_matched,
                                                     const PrefixDigest& matched) {
  on_disk_.clear();
  if (!uses_disk()) return on_disk_;
  const std::span<const int32_t> tokens = group.front().tokens;
  const size_t max_blocks = (tokens.size() - 1) / config_.block_size;
  PrefixDigest digest = matched;
  for (size_t i = num_matched; i < max_blocks; ++i) {
    digest = NextDigest(digest, tokens.subspan(i * config_.block_size, config_.block_size));
    if (!disk_.Touch(digest)) break;
    on_disk_.push_back(digest);
  }
  // The beginnings of chains were used last, so that ends are given up first.
  for (size_t i = on_disk_.size(); i-- > 0;) disk_.Touch(on_disk_[i]);
  return on_disk_;
}

void Scheduler::StartLoads(SequenceGroup& group, uint32_t first_block, PrefixDigest parent,
                           std::span<const PrefixDigest> digests) {
  group.state = State::kLoading;
  group.num_transfers = 0;
  group.first_loaded_block = first_block;
  group.load_parent = parent;
  group.to_load.assign(digests.begin(), digests.end());
  group.num_loads_issued = 0;
  group.loaded.assign(digests.size(), false);
}

// A few at a time, so that a request that goes away leaves few blocks behind with loads that nobody wants any more.
void Scheduler::PlanLoads() {
  for (SequenceGroup* group : running_) {
    if (group->state != State::kLoading) continue;
    while (num_disk_reads_ < config_.max_disk_transfers && group->num_loads_issued < group->to_load.size()) {
      IssueLoad(*group);
    }
  }
}

void Scheduler::IssueLoad(SequenceGroup& group) {
  const uint32_t index = group.num_loads_issued++;
  const uint32_t place = group.first_loaded_block + index;
  const BlockId block = group.front().table.blocks()[place];
  kv_.mutable_pool().AddReference(block);
  ++group.num_transfers;
  Transfer& transfer = AddTransfer({.kind = Transfer::Kind::kLoad,
                                    .held = block,
                                    .digest = group.to_load[index],
                                    .request = group.request.id,
                                    .epoch = group.epoch,
                                    .loaded_index = index});
  transfer.parent = index == 0 ? group.load_parent : group.to_load[index - 1];
  AttachTokens(transfer,
               std::span(group.front().tokens).subspan(size_t{place} * config_.block_size, config_.block_size));
}

void Scheduler::AttachTokens(Transfer& transfer, std::span<const int32_t> tokens) {
  transfer.first_token = static_cast<uint32_t>(plan_.transfer_tokens.size());
  transfer.num_tokens = static_cast<uint32_t>(tokens.size());
  plan_.transfer_tokens.insert(plan_.transfer_tokens.end(), tokens.begin(), tokens.end());
}

// Cached blocks that are about to be evicted are stored first, so that evicting them is nothing but forgetting them.
void Scheduler::PlanDisk() {
  PlanLoads();
  stores_.clear();
  const bool rests = plan_.step < stores_resume_at_step_;
  stores_all_ = stores_all_ && !rests;
  if (!rests && drops_.empty()) {
    if (stores_all_) {
      ChooseRemainingStores();
    } else if (!plan_.tokens.empty()) {  // without rows nobody is short of memory
      ChooseStores();
    }
  }
  // Drops come first: what one of them deletes may be stored again by this very plan.
  const size_t num_drops = std::min<size_t>(drops_.size(), kMaxDropsOfAStep);
  for (size_t i = 0; i < num_drops; ++i) AddTransfer({.kind = Transfer::Kind::kDrop, .digest = drops_[i]});
  drops_.erase(drops_.begin(), drops_.begin() + static_cast<ptrdiff_t>(num_drops));
  for (const BlockId stored : stores_) {
    kv_.BeginStore(stored);
    Transfer& transfer =
        AddTransfer({.kind = Transfer::Kind::kStore, .held = stored, .digest = kv_.index().DigestOf(stored)});
    transfer.parent = kv_.index().ParentDigestOf(stored);
    AttachTokens(transfer, kv_.index().TokensOf(stored));
  }
}

void Scheduler::ChooseStores() {
  const BlockPool& pool = kv_.pool();
  const uint32_t num_wanted_free = std::max(2 * config_.max_disk_transfers, config_.num_blocks / 16);
  if (pool.num_free() >= num_wanted_free) return;
  // The blocks that the next evictions would take; some of them are stored already. Where they are many, each step goes
  // on where the last one ended.
  const uint32_t num_near = num_wanted_free - pool.num_free();
  const bool goes_on = num_near > kMaxLookedAt && num_passed_ < num_near && next_to_store_ &&
                       pool.references(*next_to_store_) == 0 && pool.reusable(*next_to_store_);
  if (!goes_on) {
    next_to_store_ = pool.first_cached();
    num_passed_ = 0;
  }
  uint32_t num_left = NumStoresLeft();
  for (uint32_t i = 0; i < kMaxLookedAt && num_passed_ < num_near && next_to_store_ && num_left > 0; ++i) {
    const BlockId block = *next_to_store_;
    next_to_store_ = pool.next_cached(block);
    ++num_passed_;
    if (pool.stored(block)) continue;
    const PrefixDigest digest = kv_.index().DigestOf(block);
    if (disk_.Contains(digest)) {
      kv_.SetStored(block);
    } else if (disk_.BeginStore(digest, drops_)) {
      stores_.push_back(block);
      --num_left;
    }
  }
}

// A block that is being stored is nobody's to take: those who run keep what they need to go on.
uint32_t Scheduler::NumStoresLeft() const {
  const uint32_t num_available = kv_.pool().num_available();
  const auto num_watermark = static_cast<uint32_t>(config_.watermark * config_.num_blocks);
  const uint32_t num_kept = groups_.empty() ? 0 : num_seats_ + num_watermark;
  return std::min(NumWritesLeft(), num_available - std::min(num_available, num_kept));
}

// Of all that is cached, what would be evicted last, as much as the disk has room for, in the order of eviction.
void Scheduler::StorePrefixCache() {
  stores_all_ = uses_disk();
  all_stored_ = false;
  stores_resume_at_step_ = 0;  // whatever failed before: there is no later
  remaining_stores_.clear();
  const BlockPool& pool = kv_.pool();
  uint32_t num_passed_over = pool.num_cached() - std::min(pool.num_cached(), disk_.max_blocks());
  for (std::optional<BlockId> block = pool.first_cached(); block; block = pool.next_cached(*block)) {
    if (num_passed_over > 0) {
      --num_passed_over;
      continue;
    }
    // What is there already stays there, whatever must go for the others.
    const PrefixDigest digest = kv_.index().DigestOf(*block);
    if (!disk_.Touch(digest) && !disk_.Contains(digest)) remaining_stores_.push_back(*block);
  }
  std::ranges::reverse(remaining_stores_);  // they are taken from the end
}

void Scheduler::ChooseRemainingStores() {
  uint32_t num_left = NumStoresLeft();
  while (num_left > 0 && !remaining_stores_.empty()) {
    const BlockId block = remaining_stores_.back();
    remaining_stores_.pop_back();
    if (kv_.pool().references(block) > 0 || !kv_.index().Contains(block)) continue;
    if (!disk_.BeginStore(kv_.index().DigestOf(block), drops_)) continue;
    stores_.push_back(block);
    --num_left;
  }
  if (remaining_stores_.empty() && stores_.empty() && num_disk_writes_ == 0) {
    stores_all_ = false;
    all_stored_ = true;
  }
}

void Scheduler::ApplyTransfers(const StepResult& result) {
  uint32_t num_out = 0, num_in = 0;
  for (const uint64_t id : result.transfers_completed) {
    const PendingTransfer& transfer = transfers_.at(id);
    if (transfer.kind == Transfer::Kind::kSwapOut) ++num_out;
    if (transfer.kind == Transfer::Kind::kSwapIn) ++num_in;
    if (transfer.kind == Transfer::Kind::kStore) disk_.EndStore(transfer.digest, true);
  }
  for (const uint64_t id : result.transfers_failed) {
    const PendingTransfer& transfer = transfers_.at(id);
    if (transfer.kind == Transfer::Kind::kSwapOut) swapping_resumes_at_step_ = plan_.step + kStepsOfRest;
    if (transfer.kind != Transfer::Kind::kStore) continue;
    disk_.EndStore(transfer.digest, false);
    stores_resume_at_step_ = plan_.step + kStepsOfRest;
    stores_all_ = false;
  }
  swap_cost_.ObserveOut(num_out, result.swap_out_us);
  swap_cost_.ObserveIn(num_in, result.swap_in_us);
  // Backwards: stored blocks go back in front of those that were stored before them.
  for (size_t i = result.transfers_completed.size(); i-- > 0;) ApplyTransfer(result.transfers_completed[i], true);
  for (size_t i = result.transfers_failed.size(); i-- > 0;) ApplyTransfer(result.transfers_failed[i], false);
}

void Scheduler::ApplyTransfer(uint64_t id, bool completed) {
  const auto found = transfers_.find(id);
  QUIRE_CHECK(found != transfers_.end(), "transfer {} is not under way", id);
  const PendingTransfer transfer = found->second;
  transfers_.erase(found);
  SequenceGroup* group = nullptr;  // whose stay in memory it is part of, if that goes on
  if (const auto node = groups_.find(transfer.request); node != groups_.end()) {
    if (node->second->epoch == transfer.epoch) group = node->second.get();
  }
  switch (transfer.kind) {
    case Transfer::Kind::kSwapOut:
    case Transfer::Kind::kSwapIn:
      return ApplySwap(group, transfer.kind, completed);
    case Transfer::Kind::kStore:
      kv_.EndStore(*transfer.held, completed);
      --num_disk_writes_;
      --num_blocks_in_transfer_;
      ++(completed ? counters_.num_disk_blocks_stored : counters_.num_disk_store_failures);
      break;
    case Transfer::Kind::kLoad:
      if (!completed) disk_.Forget(transfer.digest);
      ++(completed ? counters_.num_disk_blocks_loaded : counters_.num_disk_load_failures);
      kv_.mutable_pool().Release(*transfer.held);
      --num_disk_reads_;
      --num_blocks_in_transfer_;
      break;
    case Transfer::Kind::kDrop:
      break;
  }
  --num_disk_transfers_;
  if (transfer.kind != Transfer::Kind::kLoad || group == nullptr) return;
  group->loaded[transfer.loaded_index] = completed;
  if (!completed) group->to_load.resize(group->num_loads_issued);  // nothing behind a gap is of use
  if (--group->num_transfers == 0 && group->num_loads_issued == group->to_load.size()) FinishLoads(*group);
}

void Scheduler::ApplySwap(SequenceGroup* group, Transfer::Kind kind, bool completed) {
  const bool out = kind == Transfer::Kind::kSwapOut;
  if (completed) ++(out ? counters_.num_blocks_swapped_out : counters_.num_blocks_swapped_in);
  if (!completed) ++counters_.num_swap_failures;
  if (group == nullptr) return;
  group->transfer_failed = group->transfer_failed || !completed;
  if (--group->num_transfers > 0) return;
  if (!group->transfer_failed) {
    if (out) return;
    group->state = State::kRunning;
    group->swapped.Clear();
    Emit(SchedulerEvent::Kind::kAdmitted, *group);
    return;
  }
  // What it had is lost: it is computed again.
  group->swapped.Clear();
  if (out) {
    std::erase(swapped_, group);
    ++group->epoch;
  } else {
    std::erase(running_, group);
    Leave(*group);
  }
  Wait(*group);
  if (!out) ++counters_.num_preemptions_recompute;  // otherwise it is the preemption that was counted as a swap
  Emit(SchedulerEvent::Kind::kPreempted, *group).error = "swapping failed";
}

// What came from the disk without a gap counts as computed.
void Scheduler::FinishLoads(SequenceGroup& group) {
  Sequence& front = group.front();
  const auto gap = std::ranges::find(group.loaded, false);
  const auto num_loaded = static_cast<uint32_t>(gap - group.loaded.begin());
  front.num_computed = (group.first_loaded_block + num_loaded) * config_.block_size;
  front.chain = kv_.Commit(front.table, group.scope(), front.chain, std::span(front.tokens).first(front.num_computed));
  for (uint32_t i = 0; i < num_loaded; ++i) {
    kv_.SetStored(front.table.blocks()[group.first_loaded_block + i]);
  }
  group.state = State::kRunning;
  ReportAdmission(group);
}

bool Scheduler::ResetPrefixCache() {
  if (!kv_.ResetPrefixCache(num_pinned_blocks_)) return false;
  disk_.Clear(drops_);
  return true;
}

}  // namespace quire
