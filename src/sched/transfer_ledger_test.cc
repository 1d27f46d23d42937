#include "sched/transfer_ledger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace quire {
namespace {

TEST(TransferLedgerTest, CountsWhatIsUnderWayWhateverTheOrder) {
  std::minstd_rand random(5);
  TransferLedger ledger;
  std::map<uint64_t, PendingTransfer> expected;
  for (int i = 0; i < 2000; ++i) {
    if (expected.empty() || random() % 2 == 0) {
      PendingTransfer transfer = {.kind = static_cast<Transfer::Kind>(random() % 5),
                                  .request = RequestId{random() % 10},
                                  .epoch = static_cast<uint32_t>(random() % 3)};
      if (random() % 2 == 0) transfer.held = BlockId{static_cast<uint32_t>(random() % 100)};
      const uint64_t id = ledger.Add(transfer);
      EXPECT_TRUE(expected.emplace(id, transfer).second) << "a number is used once";
      EXPECT_TRUE(expected.rbegin()->first == id) << "later ones have higher numbers";
    } else {
      const auto it = std::next(expected.begin(), static_cast<ptrdiff_t>(random() % expected.size()));
      EXPECT_EQ(ledger.At(it->first).request, it->second.request);
      const PendingTransfer removed = ledger.Remove(it->first);
      EXPECT_EQ(removed.kind, it->second.kind);
      EXPECT_EQ(removed.held, it->second.held);
      EXPECT_EQ(removed.epoch, it->second.epoch);
      expected.erase(it);
    }
    uint32_t num_on_disk = 0, num_held = 0;
    for (const auto& [id, transfer] : expected) {
      const bool is_swap = transfer.kind == Transfer::Kind::kSwapOut || transfer.kind == Transfer::Kind::kSwapIn;
      num_on_disk += is_swap ? 0 : 1;
      num_held += transfer.held ? 1 : 0;
    }
    ASSERT_EQ(ledger.num_on_disk(), num_on_disk);
    ASSERT_EQ(ledger.num_held_blocks(), num_held);
    ASSERT_EQ(ledger.transfers().size(), expected.size());
    ASSERT_EQ(ledger.empty(), expected.empty());
  }
}

TEST(TransferLedgerTest, NothingIsReportedTwice) {
  TransferLedger ledger;
  const uint64_t id = ledger.Add({});
  ledger.Remove(id);
  EXPECT_DEATH(ledger.Remove(id), "is not under way");
}

}  // namespace
}  // namespace quire
