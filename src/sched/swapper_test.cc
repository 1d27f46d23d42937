// Blocks on their way to swap space and back, over a pool of 8 blocks of 4 tokens; nobody moves bytes.
#include "sched/swapper.h"

#include <gtest/gtest.h>

#include "sched/parts_testing.h"

namespace quire {
namespace {

class SwapperTest : public testing::Test {
 protected:
  SwapperTest() {
    builder_.Begin(64);
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(group_->front().kv.table(0).PrepareWrite(0, 12, copies));
    Sequence& twin = group_->sequences.emplace_back(space_->cache().MakeSequence(), group_->request.prompt);
    twin.kv = group_->front().kv.Fork();
    EXPECT_TRUE(twin.kv.table(0).PrepareWrite(11, 12, copies)) << "the last block is its own, two are shared";
  }

  // The transfers of the step are reported, all but the last well; with what the runner says of their time.
  Swapper::Progress Report(bool last_is_well, int64_t out_us, int64_t in_us) {
    StepResult result = EmptyResult(builder_.plan());
    for (const Transfer& transfer : builder_.plan().transfers) result.transfers_completed.push_back(transfer.id);
    if (!last_is_well) {
      result.transfers_failed.push_back(result.transfers_completed.back());
      result.transfers_completed.pop_back();
    }
    result.swap_out_us = out_us;
    result.swap_in_us = in_us;
    builder_.Finish();
    builder_.Land(result);
    swapper_.Observe(result);
    Swapper::Progress progress = Swapper::Progress::kUnderWay;
    for (const auto& [ids, completed] :
         {std::pair(&result.transfers_completed, true), {&result.transfers_failed, false}}) {
      for (const uint64_t id : *ids) {
        EXPECT_EQ(progress, Swapper::Progress::kUnderWay) << "until the last one";
        progress = swapper_.Report(group_.get(), builder_.ledger().Remove(id).kind, completed);
      }
    }
    builder_.Begin(64);
    return progress;
  }

  const std::unique_ptr<KvSpace> space_ = KvSpace::Make({.num_blocks = 8, .block_size = 4});
  StepBuilder builder_{{.num_seats = 4, .block_size = 4}};
  Swapper swapper_{6, *space_, builder_};
  std::unique_ptr<SequenceGroup> group_ = MakeGroup(PartRequest(1, 12, 2), space_->cache().MakeSequence());
};

TEST_F(SwapperTest, SharedBlocksGoOnceAndComeBackShared) {
  EXPECT_TRUE(swapper_.Out(*group_));
  EXPECT_EQ(builder_.plan().transfers.size(), 4U);
  EXPECT_EQ(swapper_.num_used_places(), 4U);
  EXPECT_EQ(space_->num_available(), 8U) << "what is in the plan is carried out before anybody writes";
  EXPECT_EQ(Report(true, 400, 0), Swapper::Progress::kDone);
  EXPECT_EQ(swapper_.counters()[Transfer::Kind::kSwapOut].completed, 4U);
  EXPECT_DOUBLE_EQ(swapper_.RoundTripUs(4), 4 * (100 + 100))
      << "the way back counts as the way there until it is known";

  EXPECT_TRUE(swapper_.In(*group_));
  EXPECT_EQ(space_->num_available(), 4U);
  const auto& blocks = group_->front().kv.table(0).blocks();
  const auto& twin = group_->sequences[1].kv.table(0).blocks();
  EXPECT_EQ(blocks[0], twin[0]);
  EXPECT_EQ(blocks[1], twin[1]);
  EXPECT_NE(blocks[2], twin[2]);
  EXPECT_EQ(Report(true, 0, 800), Swapper::Progress::kDone);
  EXPECT_DOUBLE_EQ(swapper_.RoundTripUs(2), 2 * (100 + 200));
}

TEST_F(SwapperTest, AllOrNothing) {
  std::vector<CopyOnWrite> copies;
  EXPECT_TRUE(group_->front().kv.table(0).PrepareWrite(12, 28, copies));
  EXPECT_EQ(space_->num_available(), 0U);
  EXPECT_FALSE(swapper_.Out(*group_)) << "8 blocks, 6 places";
  EXPECT_TRUE(builder_.plan().transfers.empty());
  EXPECT_EQ(space_->num_available(), 0U);
  group_->sequences[1].kv.Clear();
  group_->front().kv.Clear();
  EXPECT_TRUE(group_->front().kv.table(0).PrepareWrite(0, 24, copies));
  EXPECT_TRUE(swapper_.Out(*group_));
  EXPECT_EQ(Report(true, 1, 0), Swapper::Progress::kDone);
  SequenceKv other = space_->cache().MakeSequence();
  EXPECT_TRUE(other.table(0).PrepareWrite(0, 12, copies));
  const uint32_t epoch = group_->epoch;
  EXPECT_FALSE(swapper_.In(*group_)) << "6 blocks, and the pool has 5";
  EXPECT_EQ(group_->epoch, epoch);
  EXPECT_TRUE(builder_.plan().transfers.empty());
  EXPECT_EQ(space_->num_available(), 5U);
}

TEST_F(SwapperTest, AfterAFailureItRestsAndTheGroupHasLostItAll) {
  EXPECT_TRUE(swapper_.enabled());
  EXPECT_TRUE(swapper_.Out(*group_));
  EXPECT_EQ(Report(false, 400, 0), Swapper::Progress::kFailed);
  EXPECT_EQ(swapper_.counters()[Transfer::Kind::kSwapOut].failed, 1U);
  EXPECT_EQ(swapper_.counters()[Transfer::Kind::kSwapOut].completed, 3U);
  EXPECT_FALSE(swapper_.enabled());
  for (int i = 0; i < 1000; ++i) {
    RunStep(builder_);
    builder_.Begin(64);
  }
  EXPECT_TRUE(swapper_.enabled()) << "it is tried again later";
}

TEST_F(SwapperTest, WhoHasGoneItsWayIsNotMissed) {
  EXPECT_TRUE(swapper_.Out(*group_));
  for (const Transfer& transfer : builder_.plan().transfers) {
    EXPECT_EQ(swapper_.Report(nullptr, transfer.kind, true), Swapper::Progress::kUnderWay);
  }
  EXPECT_EQ(swapper_.counters()[Transfer::Kind::kSwapOut].completed, 4U);
}

}  // namespace
}  // namespace quire
