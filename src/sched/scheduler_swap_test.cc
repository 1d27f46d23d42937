// Groups that are preempted: swapped whole, or computed again where that is cheaper or swapping fails; and groups that
// are aborted on the way. Pools are tiny.
#include <gtest/gtest.h>

#include <algorithm>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

SchedulerConfig SwapConfig(uint32_t num_blocks, PreemptionMode mode = PreemptionMode::kSwap) {
  SchedulerConfig config = TestConfig(num_blocks);
  config.num_swap_blocks = 100;
  config.preemption_mode = mode;
  return config;
}

TEST(SchedulerSwapTest, AGroupIsSwappedWholeAndComesBackWithoutComputing) {
  SchedulerHarness h(SwapConfig(10));
  h.Add(TestRequest(1, 77, 30));
  h.Add(GroupRequest(2, 33, 12, 3));
  uint64_t num_rows = 0;
  while (h.driver.HasWork()) {
    for (const uint32_t rows : h.Step()) num_rows += rows;
  }
  EXPECT_GE(h.of(2).num_swaps, 1U);
  EXPECT_EQ(h.of(2).num_swaps, h.of(2).num_preemptions);
  EXPECT_EQ(num_rows, 77U + 29U + 33U + 3U * 11U) << "nothing twice";
  for (uint32_t s = 0; s < 3; ++s) EXPECT_EQ(h.of(2).transcript.streams[s].ids(), Alone(GroupRequest(2, 33, 12, 3), s));
  const SchedulerStats stats = h.scheduler.Stats();
  EXPECT_EQ(stats.transfers[Transfer::Kind::kSwapIn].completed, stats.transfers[Transfer::Kind::kSwapOut].completed);
  EXPECT_EQ(stats.slots[SlotState::kSwapped], 0U);
}

TEST(SchedulerSwapTest, SharedBlocksAreSwappedOnceAndStayShared) {
  SchedulerConfig config = SwapConfig(9);
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 62, 20));
  h.Add(GroupRequest(2, 33, 12, 3));
  for (int i = 0; i < 100 && h.of(2).num_swaps == 0; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kSwapped], (2U + 3U) * 16U);
  h.scheduler.Abort(RequestId{1});
  h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 5U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kShared], 4U * 16U);
}

TEST(SchedulerSwapTest, SwappedGroupsResumeBeforeWaitingOnesAreAdmitted) {
  SchedulerHarness h(SwapConfig(10));
  h.Add(TestRequest(1, 80, 20));
  h.Add(TestRequest(2, 80, 20));
  h.Step();
  h.Step();
  ASSERT_EQ(h.of(2).num_swaps, 1U);
  h.Add(TestRequest(3, 10, 5));
  h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 2U) << "there is room for the third, but not before the second";
  h.RunAll();
  EXPECT_EQ(h.of(2).tokens, Alone(TestRequest(2, 80, 20)));
}

TEST(SchedulerSwapTest, WithoutRoomInSwapSpaceAVictimIsComputedAgain) {
  SchedulerConfig config = SwapConfig(10);
  config.num_swap_blocks = 4;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 80, 20));
  h.Add(TestRequest(2, 80, 20));
  h.RunAll();
  EXPECT_GE(h.of(2).num_preemptions, 1U);
  EXPECT_EQ(h.of(2).num_swaps, 0U);
  EXPECT_EQ(h.of(2).tokens, Alone(TestRequest(2, 80, 20)));
}

class SwapFailure : public testing::TestWithParam<Transfer::Kind> {};

TEST_P(SwapFailure, MeansThatTheGroupIsComputedAgainAndLosesNothing) {
  FakeRunnerOptions options;
  options.transfer_fails = [kind = GetParam()](const Transfer& transfer) { return transfer.kind == kind; };
  SchedulerHarness h(SwapConfig(10), options);
  h.Add(TestRequest(1, 77, 30));
  h.Add(GroupRequest(2, 33, 12, 3));
  h.RunAll();
  EXPECT_GE(h.of(2).num_swaps, 1U);
  EXPECT_GT(h.scheduler.Stats().num_swap_failures(), 0U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kSwapped], 0U);
  for (uint32_t s = 0; s < 3; ++s) EXPECT_EQ(h.of(2).transcript.streams[s].ids(), Alone(GroupRequest(2, 33, 12, 3), s));
}

INSTANTIATE_TEST_SUITE_P(OutOrIn, SwapFailure, testing::Values(Transfer::Kind::kSwapOut, Transfer::Kind::kSwapIn));

class AutoPreemption : public testing::TestWithParam<bool> {};

TEST_P(AutoPreemption, TakesWhatMeasuredCostsSayIsCheaperForThisVictim) {
  const bool swapping_is_cheap = GetParam();
  FakeRunnerOptions options;
  options.step_us = 100;
  options.prompt_row_us = 100;
  options.swap_block_us = swapping_is_cheap ? 1 : 100'000;
  SchedulerHarness h(SwapConfig(10, PreemptionMode::kAuto), options);
  // The first victim, a group, is swapped: then both costs are known.
  h.Add(TestRequest(1, 60, 60));
  h.Add(GroupRequest(2, 33, 30, 3));
  h.RunAll();
  const uint32_t num_first = h.of(2).num_swaps;
  ASSERT_GE(num_first, 1U);
  h.Add(TestRequest(3, 80, 40));
  h.Add(TestRequest(4, 60, 40));
  h.RunAll();
  ASSERT_GE(h.of(4).num_preemptions, 1U);
  EXPECT_EQ(h.of(4).num_swaps, swapping_is_cheap ? h.of(4).num_preemptions : 0U);
}

INSTANTIATE_TEST_SUITE_P(CheapOrDear, AutoPreemption, testing::Bool());

TEST(SchedulerSwapTest, APriceThatOnceWasTooHighIsAskedAgain) {
  FakeRunnerOptions options;
  options.step_us = 100;
  options.prompt_row_us = 100;
  options.swap_block_us = 5'000;  // far more than computing again costs
  SchedulerHarness h(SwapConfig(10, PreemptionMode::kAuto), options);
  for (uint64_t id = 1; id <= 200; ++id) h.Add(TestRequest(id, 60, 40));
  h.RunAll();
  const SchedulerStats stats = h.scheduler.Stats();
  EXPECT_GT(stats.preemptions[PreemptionMode::kSwap], 1U);
  EXPECT_LT(stats.preemptions[PreemptionMode::kSwap], stats.preemptions[PreemptionMode::kRecompute] / 4);
}

enum class AbortWhen { kWaiting, kChunked, kRunning, kSwapped, kResuming, kMidBeam };

class AbortOfAGroup : public testing::TestWithParam<AbortWhen> {
 protected:
  // Steps until the plan has the victim's blocks come back, of which the step then runs without it.
  static void AbortWhileItResumes(SchedulerHarness& h) {
    for (bool resumes = false; !resumes;) {
      ASSERT_TRUE(h.driver.HasWork());
      resumes = std::ranges::count(h.Plan().transfers, Transfer::Kind::kSwapIn, &Transfer::kind) > 0;
      if (resumes) h.scheduler.Abort(RequestId{2});
      h.Run();
      h.Apply();
    }
  }

  static void StepUntilItIsSwapped(SchedulerHarness& h) {
    for (int i = 0; i < 100 && h.of(2).num_swaps == 0; ++i) h.Step();
    ASSERT_EQ(h.of(2).num_swaps, 1U);
  }

  static void StepUntil(AbortWhen when, SchedulerHarness& h) {
    switch (when) {
      case AbortWhen::kWaiting:
        break;
      case AbortWhen::kChunked:
        h.Step();
        break;
      case AbortWhen::kRunning:
      case AbortWhen::kMidBeam:
        for (int i = 0; i < 7; ++i) h.Step();
        ASSERT_EQ(h.scheduler.Stats().num_running, 4U);
        break;
      case AbortWhen::kSwapped:
        StepUntilItIsSwapped(h);
        break;
      case AbortWhen::kResuming:
        StepUntilItIsSwapped(h);
        AbortWhileItResumes(h);
        break;
    }
  }
};

TEST_P(AbortOfAGroup, LeaksNothingAndDoesNotShowInOthers) {
  SchedulerConfig config = SwapConfig(10);
  config.long_prefill_token_threshold = 16;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 75, 30));
  h.Add(GetParam() == AbortWhen::kMidBeam ? BeamRequest(2, 33, 12, 3) : GroupRequest(2, 33, 12, 3));
  ASSERT_NO_FATAL_FAILURE(StepUntil(GetParam(), h));
  h.scheduler.Abort(RequestId{2});
  h.scheduler.CheckInvariants();
  h.RunAll();
  h.Step();
  EXPECT_EQ(h.of(1).tokens, Alone(TestRequest(1, 75, 30)));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 0U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kSwapped], 0U);
  EXPECT_EQ(h.runner.num_occupied_seats(), 0U);
}

INSTANTIATE_TEST_SUITE_P(InEveryState, AbortOfAGroup,
                         testing::Values(AbortWhen::kWaiting, AbortWhen::kChunked, AbortWhen::kRunning,
                                         AbortWhen::kSwapped, AbortWhen::kResuming, AbortWhen::kMidBeam));

}  // namespace
}  // namespace quire
