#include "sched/transfer_ledger.h"

#include "base/check.h"

namespace quire {

uint64_t TransferLedger::Add(const PendingTransfer& transfer) {
  if (!transfer.is_swap()) ++num_on_disk_;
  if (transfer.held) ++num_held_blocks_;
  transfers_.emplace(next_id_, transfer);
  return next_id_++;
}

PendingTransfer TransferLedger::Remove(uint64_t id) {
  const auto found = transfers_.find(id);
  QUIRE_CHECK(found != transfers_.end(), "transfer {} is not under way", id);
  const PendingTransfer transfer = found->second;
  transfers_.erase(found);
  if (!transfer.is_swap()) --num_on_disk_;
  if (transfer.held) --num_held_blocks_;
  return transfer;
}

}  // namespace quire
