#include "sched/fair_share.h"

#include <gtest/gtest.h>

#include "kv/kv_manager.h"
#include "sched/parts_testing.h"

namespace quire {
namespace {

class FairShareTest : public testing::Test {
 protected:
  SequenceGroup* Make(const std::string& client, int32_t n = 1, uint32_t num_blocks = 0) {
    Request request = PartRequest(groups_.size(), 4, n);
    request.client_key = client;
    groups_.push_back(MakeGroup(std::move(request), kv_.MakeSequence()));
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(groups_.back()->front().kv.table(0).PrepareWrite(0, 4 * num_blocks, copies));
    return groups_.back().get();
  }

  KvManager kv_{{.num_blocks = 32, .block_size = 4}};
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
};

TEST_F(FairShareTest, TheYoungestOfWhoHoldsMoreThanItsShareGivesWay) {
  const Shortage seats = {.of = Shortage::Of::kSeats, .num_total = 4, .num_wanted = 1, .num_clients = 2};
  SequenceGroup* const running[] = {Make("a"), Make("a"), Make("b"), Make("a")};
  EXPECT_EQ(WhoGivesWayTo(*Make("c"), seats, running), running[3]);
  EXPECT_EQ(WhoGivesWayTo(*Make("b"), seats, running), running[3]) << "up to its share";
  EXPECT_EQ(WhoGivesWayTo(*Make("a"), seats, running), nullptr) << "it has its share";
  Shortage wide = seats;
  wide.num_wanted = 3;
  EXPECT_EQ(WhoGivesWayTo(*Make("b", 3), wide, running), nullptr) << "beyond it";
  EXPECT_EQ(WhoGivesWayTo(*Make("c", 3), wide, running), running[3]) << "whoever holds nothing";
}

TEST_F(FairShareTest, NobodyWithinItsShareGivesWay) {
  const Shortage seats = {.of = Shortage::Of::kSeats, .num_total = 4, .num_wanted = 1, .num_clients = 2};
  SequenceGroup* const running[] = {Make("a"), Make("b"), Make("a"), Make("b")};
  EXPECT_EQ(WhoGivesWayTo(*Make("c"), seats, running), nullptr);
  EXPECT_EQ(WhoGivesWayTo(*Make("c"), {.num_total = 4, .num_wanted = 1, .num_clients = 3}, running), running[3]);
}

TEST_F(FairShareTest, AClientsLastGroupStaysHoweverWide) {
  const Shortage seats = {.of = Shortage::Of::kSeats, .num_total = 5, .num_wanted = 1, .num_clients = 2};
  SequenceGroup* const running[] = {Make("a", 4), Make("b")};
  EXPECT_EQ(WhoGivesWayTo(*Make("c"), seats, running), nullptr);
}

TEST_F(FairShareTest, BlocksAreSharedAsSeatsAre) {
  const Shortage blocks = {.of = Shortage::Of::kBlocks, .num_total = 16, .num_wanted = 4, .num_clients = 2};
  SequenceGroup* const running[] = {Make("a", 1, 5), Make("a", 1, 4), Make("b", 1, 6), Make("b", 1, 1)};
  EXPECT_EQ(WhoGivesWayTo(*Make("c"), blocks, running), running[1]) << "9 of 16, where b has 7";
}

}  // namespace
}  // namespace quire
