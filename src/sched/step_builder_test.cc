// The plan under construction, with groups and tables made by hand: seats, what the runner knows, what is taken back.
#include "sched/step_builder.h"

#include <gtest/gtest.h>

#include <memory>

#include "kv/kv_manager.h"
#include "sched/parts_testing.h"

namespace quire {
namespace {

class StepBuilderTest : public testing::Test {
 protected:
  static constexpr uint32_t kSeats = 4, kBlockSize = 4;

  // A group whose first sequence has slots for all of its tokens.
  SequenceGroup& Make(uint64_t id, uint32_t num_tokens, int32_t n = 1) {
    groups_.push_back(MakeGroup(PartRequest(id, num_tokens, n), kv_.MakeSequence(), kSeats));
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(groups_.back()->front().kv.table(0).PrepareWrite(0, num_tokens, copies));
    return *groups_.back();
  }
  void CheckSeats() {
    std::vector<SeatId> taken;
    for (const auto& group : groups_) {
      for (const Sequence& sequence : group->sequences) {
        if (sequence.seat) taken.push_back(*sequence.seat);
      }
    }
    builder_.CheckInvariants(taken);
  }
  void Run() { RunStep(builder_); }

  KvManager kv_{{.num_blocks = 32, .block_size = kBlockSize}};
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
  StepBuilder builder_{{.num_seats = kSeats, .block_size = kBlockSize}};
};

TEST_F(StepBuilderTest, RowsAreNumberedSpanAfterSpanAndTheLastOfAPromptDraws) {
  SequenceGroup& a = Make(1, 6);
  SequenceGroup& b = Make(2, 3, 2);
  builder_.Begin(8);
  builder_.Admit(a, a.front());
  builder_.Admit(b, b.front());
  builder_.LimitPrompts({.num_tokens = 7, .num_in_time = 5});
  builder_.AddPrompt(a, a.front(), 4);
  builder_.AddPrompt(b, b.front(), 3);
  EXPECT_EQ(builder_.prompt_rows_left(), 0U);
  EXPECT_EQ(builder_.rows_left(), 1U);
  const StepPlan& plan = builder_.Finish();
  ASSERT_EQ(plan.spans.size(), 2U);
  EXPECT_EQ(plan.spans[1].first_row, 4U);
  EXPECT_EQ(plan.num_rows(), 7U);
  EXPECT_EQ(plan.tokens[4], 2000);
  ASSERT_EQ(plan.tasks.size(), 1U) << "the other prompt goes on";
  EXPECT_EQ(plan.tasks[0].row, 6U);
  EXPECT_EQ(plan.tasks[0].draws, 2U);
  EXPECT_EQ(plan.appended_blocks.size(), 2U) << "as far as the rows need them";
  EXPECT_EQ(builder_.step().owners, (std::vector{RequestId{1}, RequestId{2}}));
  EXPECT_EQ(builder_.step().load.num_rows, 7U);
  EXPECT_EQ(builder_.step().decodes.num_rows, 0U);
}

TEST_F(StepBuilderTest, ASeatIsFreeOnlyOnceTheRunnerHasBeenTold) {
  std::vector<SequenceGroup*> groups;
  builder_.Begin(8);
  for (uint64_t id = 0; id < kSeats; ++id) {
    groups.push_back(&Make(id, 3));
    builder_.Admit(*groups.back(), groups.back()->front());
    CheckSeats();
  }
  Run();
  const SeatId left = *groups[1]->front().seat;
  builder_.FreeSeat(groups[1]->front());
  CheckSeats();
  EXPECT_DEATH(builder_.TakeSeat(groups[1]->front()), "seats are taken");
  builder_.Begin(8);
  EXPECT_EQ(builder_.plan().removals, std::vector{left});
  builder_.Admit(*groups[1], groups[1]->front());
  EXPECT_EQ(groups[1]->front().seat, left);
  CheckSeats();
}

TEST_F(StepBuilderTest, WhoIsDroppedLeavesNothingInThePlan) {
  SequenceGroup& stays = Make(1, 3);
  SequenceGroup& goes = Make(2, 6);
  builder_.Begin(8);
  builder_.Admit(stays, stays.front());
  builder_.Admit(goes, goes.front());
  builder_.SendBlocks(goes.front(), 0, 6);
  builder_.Drop(goes);
  EXPECT_FALSE(goes.front().seat) << "the runner never heard of it";
  EXPECT_EQ(builder_.plan().admissions.size(), 1U);
  EXPECT_TRUE(builder_.plan().appended_blocks.empty());
  EXPECT_TRUE(builder_.plan().removals.empty());
  CheckSeats();
}

TEST_F(StepBuilderTest, ForksOfOneStepAreSentWithTheNextThoughTheSeatIsLeft) {
  SequenceGroup& group = Make(1, 3, 3);
  builder_.Begin(8);
  builder_.Admit(group, group.front());
  Run();
  for (uint32_t stream = 1; stream < 3; ++stream) {
    Sequence& child = group.sequences.emplace_back(kv_.MakeSequence(), group.request.prompt);
    child.stream = stream;
    builder_.TakeSeat(child);
  }
  for (uint32_t stream = 1; stream < 3; ++stream) builder_.Fork(group.front(), group.sequences[stream], {});
  builder_.FreeSeat(group.sequences[2]);
  builder_.Begin(8);
  EXPECT_EQ(builder_.plan().forks.size(), 2U) << "a seat that is left again is taken and removed";
  EXPECT_EQ(builder_.plan().removals.size(), 1U);
  CheckSeats();
  Run();
  builder_.Begin(8);
  EXPECT_TRUE(builder_.plan().forks.empty());
}

TEST_F(StepBuilderTest, WaitsForTheDiskOnlyWhenThereIsNothingElseToDo) {
  builder_.Begin(8);
  builder_.AddTransfer({.kind = Transfer::Kind::kStore, .held = BlockId{3}});
  builder_.AwaitTransfers();
  EXPECT_TRUE(builder_.plan().await_transfers);
  EXPECT_EQ(builder_.ledger().num_held_blocks(), 1U);
  builder_.AddTransfer({.kind = Transfer::Kind::kSwapOut});
  builder_.AwaitTransfers();
  EXPECT_FALSE(builder_.plan().await_transfers);
  Run();
  EXPECT_EQ(builder_.ledger().Remove(1).held, BlockId{3});
  builder_.ledger().Remove(2);
  EXPECT_TRUE(builder_.ledger().empty());
  EXPECT_EQ(builder_.ledger().num_on_disk(), 0U);
  EXPECT_DEATH(builder_.ledger().Remove(2), "not under way");
}

TEST_F(StepBuilderTest, OneStepIsInFlightAtATime) {
  SequenceGroup& group = Make(1, 3);
  builder_.Begin(8);
  builder_.Admit(group, group.front());
  builder_.Finish();
  EXPECT_DEATH(builder_.Begin(8), "has not been applied");
  Run();
  builder_.Begin(8);
  builder_.Finish();
  EXPECT_FALSE(builder_.in_flight()) << "an empty plan is not submitted";
}

}  // namespace
}  // namespace quire
