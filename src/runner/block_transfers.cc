#include "runner/block_transfers.h"

#include <span>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"

namespace quire {
namespace {

// Whether there is something to move; the transfer is reported either way.
template <typename T>
bool Report(const Transfer& transfer, const Result<T>& place, StepResult& result) {
  (place.ok() ? result.transfers_completed : result.transfers_failed).push_back(transfer.id);
  if (!place.ok()) LogWarning("swap_failed reason={}", LogValue(place.error().message));
  return place.ok();
}

}  // namespace

BlockTransfers::BlockTransfers(Backend& backend, KvCache& cache, BlockStores stores, const Clock& clock)
    : backend_(backend), cache_(cache), clock_(clock), swap_(std::move(stores.swap)) {
  if (swap_ != nullptr) QUIRE_CHECK_EQ(swap_->place_bytes(), cache.shape().BytesPerBlock());
  if (stores.disk != nullptr) {
    disk_ = std::make_unique<DiskTransfers>(std::move(stores.disk), backend, cache, stores.num_disk_threads);
  }
}

TimeUs BlockTransfers::MoveOut(const StepPlan& plan, StepResult& result) {
  if (plan.transfers.empty()) return 0;
  const TimeUs start = clock_.NowUs();
  swap_outs_.clear();
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind == Transfer::Kind::kStore || transfer.kind == Transfer::Kind::kDrop) {
      Issue(plan, transfer, result);
    } else if (transfer.kind == Transfer::Kind::kSwapOut) {
      const Result<std::byte*> place =
          swap_ != nullptr ? swap_->PlaceForWrite(transfer.place) : Unimplemented("there is no swap space");
      if (Report(transfer, place, result)) swap_outs_.emplace_back(static_cast<uint32_t>(transfer.block), *place);
    }
  }
  const TimeUs ready = clock_.NowUs();
  if (swap_outs_.empty()) return ready - start;
  backend_.ParallelFor(static_cast<int64_t>(swap_outs_.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [block, place] = swap_outs_[static_cast<size_t>(i)];
      backend_.ReadBlock(cache_, block, place);
    }
  });
  const TimeUs end = clock_.NowUs();
  result.swap_out_us = end - ready;
  return end - start;
}

TimeUs BlockTransfers::MoveIn(const StepPlan& plan, StepResult& result) {
  if (plan.transfers.empty()) return 0;
  const TimeUs start = clock_.NowUs();
  swap_ins_.clear();
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind == Transfer::Kind::kLoad) {
      Issue(plan, transfer, result);
    } else if (transfer.kind == Transfer::Kind::kSwapIn) {
      const Result<const std::byte*> place =
          swap_ != nullptr ? swap_->PlaceForRead(transfer.place) : Unimplemented("there is no swap space");
      if (Report(transfer, place, result)) swap_ins_.emplace_back(static_cast<uint32_t>(transfer.block), *place);
    }
  }
  const TimeUs ready = clock_.NowUs();
  if (swap_ins_.empty()) return ready - start;
  backend_.ParallelFor(static_cast<int64_t>(swap_ins_.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& [block, place] = swap_ins_[static_cast<size_t>(i)];
      backend_.WriteBlock(cache_, block, place);
    }
  });
  const TimeUs end = clock_.NowUs();
  result.swap_in_us = end - ready;
  return end - start;
}

void BlockTransfers::Collect(bool wait, StepResult& result) {
  const bool reports_one = !result.transfers_completed.empty() || !result.transfers_failed.empty();
  if (disk_ != nullptr)
    return disk_->Collect(wait && !reports_one, result.transfers_completed, result.transfers_failed);
  QUIRE_CHECK(!wait || reports_one, "no transfer is under way: there is nothing to wait for");
}

void BlockTransfers::Issue(const StepPlan& plan, const Transfer& transfer, StepResult& result) {
  if (disk_ == nullptr) {
    result.transfers_failed.push_back(transfer.id);
    return;
  }
  QUIRE_CHECK_LE(size_t{transfer.first_token} + transfer.num_tokens, plan.transfer_tokens.size());
  disk_->Submit(transfer, std::span(plan.transfer_tokens).subspan(transfer.first_token, transfer.num_tokens));
}

}  // namespace quire
