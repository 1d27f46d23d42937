// Transfers: with swap space at once, with the disk some steps later.
#include <algorithm>

#include "base/error.h"
#include "sched/fake_runner_testing.h"
#include "sched/fake_tokens_testing.h"

namespace quire {

Result<std::span<FakeRunner::Cell>> FakeRunner::CellsOf(BlockId block) {
  if (static_cast<uint32_t>(block) >= options_.num_blocks) {
    return Internal("there is no block {}", static_cast<uint32_t>(block));
  }
  if (!options_.verify) return std::span<Cell>();
  return std::span(cells_).subspan(static_cast<size_t>(block) * options_.block_size, options_.block_size);
}

void FakeRunner::Report(const Transfer& transfer, bool completed) {
  (completed ? result_.transfers_completed : result_.transfers_failed).push_back(transfer.id);
}

bool FakeRunner::Fails(const Transfer& transfer) const {
  return options_.transfer_fails && options_.transfer_fails(transfer);
}

Status FakeRunner::SwapOut(const StepPlan& plan) {
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind != Transfer::Kind::kSwapOut) continue;
    if (transfer.place >= options_.num_swap_blocks) return Internal("there is no swap place {}", transfer.place);
    QUIRE_ASSIGN_OR_RETURN(const std::span<Cell> cells, CellsOf(transfer.block));
    const bool completed = !Fails(transfer);
    if (completed) std::ranges::copy(cells, swap_.begin() + static_cast<ptrdiff_t>(transfer.place * cells.size()));
    result_.swap_out_us += options_.swap_block_us;
    Report(transfer, completed);
  }
  return {};
}

Status FakeRunner::TransferIn(const StepPlan& plan) {
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind == Transfer::Kind::kSwapOut) continue;
    if (transfer.kind != Transfer::Kind::kSwapIn) {
      const auto tokens = std::span(plan.transfer_tokens).subspan(transfer.first_token, transfer.num_tokens);
      const uint64_t delay =
          options_.disk_delay_steps == 0 ? 0 : MixDigests(transfer.id, 1) % options_.disk_delay_steps;
      disk_transfers_.push_back({transfer, {tokens.begin(), tokens.end()}, plan.step + delay});
      if (transfer.kind != Transfer::Kind::kDrop) ++num_holds_[static_cast<size_t>(transfer.block)];
      continue;
    }
    if (transfer.place >= options_.num_swap_blocks) return Internal("there is no swap place {}", transfer.place);
    QUIRE_ASSIGN_OR_RETURN(const std::span<Cell> cells, CellsOf(transfer.block));
    const bool completed = !Fails(transfer);
    if (completed) {
      std::ranges::copy(std::span(swap_).subspan(transfer.place * cells.size(), cells.size()), cells.begin());
    }
    result_.swap_in_us += options_.swap_block_us;
    Report(transfer, completed);
  }
  return {};
}

void FakeRunner::EndDiskTransfers(const StepPlan& plan) {
  bool must_end_one = plan.await_transfers;
  for (auto it = disk_transfers_.begin(); it != disk_transfers_.end();) {
    if (it->ends_at_step > plan.step && !must_end_one) {
      ++it;
      continue;
    }
    must_end_one = false;
    if (it->transfer.kind != Transfer::Kind::kDrop) --num_holds_[static_cast<size_t>(it->transfer.block)];
    Report(it->transfer, !Fails(it->transfer) && EndDiskTransfer(*it));
    it = disk_transfers_.erase(it);
  }
}

bool FakeRunner::EndDiskTransfer(const DiskTransfer& ended) {
  const Transfer& transfer = ended.transfer;
  if (options_.disk == nullptr) return false;
  auto& entries = options_.disk->entries;
  if (transfer.kind == Transfer::Kind::kDrop) return entries.erase(transfer.digest) > 0;
  const Result<std::span<Cell>> cells = CellsOf(transfer.block);
  if (!cells.ok()) return false;
  if (transfer.kind == Transfer::Kind::kStore) {
    entries[transfer.digest] = {transfer.parent, ended.tokens, {cells->begin(), cells->end()}};
    return true;
  }
  const auto entry = entries.find(transfer.digest);
  if (entry == entries.end() || entry->second.parent != transfer.parent || entry->second.tokens != ended.tokens) {
    return false;
  }
  std::ranges::copy(entry->second.cells, cells->begin());
  return true;
}

}  // namespace quire
