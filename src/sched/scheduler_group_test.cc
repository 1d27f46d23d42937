// Requests of several streams, and beams. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

TEST(SchedulerGroupTest, ThePromptIsComputedOnceAndItsLastRowDrawsTheFirstTokenOfEveryStream) {
  SchedulerHarness h(TestConfig(20));
  h.Add(GroupRequest(1, 20, 5, 3));
  h.Step();
  const StepPlan& plan = h.driver.plan();
  ASSERT_EQ(plan.tasks.size(), 1U);
  EXPECT_EQ(plan.tasks[0].draws, 3U);
  EXPECT_EQ(plan.num_rows(), 20U);
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 2U) << "a fork allocates nothing";
  EXPECT_EQ(h.scheduler.Stats().num_running, 3U);
  h.RunAll();
  for (uint32_t stream = 0; stream < 3; ++stream) {
    EXPECT_EQ(h.of(1).transcript.streams[stream].ids(), Alone(GroupRequest(1, 20, 5, 3), stream));
  }
}

TEST(SchedulerGroupTest, TheFirstWritersCopyTheSharedBlockInOneBatchAndTheLastWritesInPlace) {
  SchedulerHarness h(TestConfig(20));
  h.Add(GroupRequest(1, 20, 5, 3));
  h.Step();
  h.Step();
  const StepPlan& plan = h.driver.plan();
  ASSERT_EQ(plan.forks.size(), 2U);
  ASSERT_EQ(plan.copies.size(), 2U);
  for (const BlockCopy& copy : plan.copies) {
    EXPECT_EQ(copy.table_index, 1U) << "the full block stays shared";
    EXPECT_EQ(copy.source, plan.copies[0].source);
  }
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 1U + 3U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kShared], 2U * 16U);
}

TEST(SchedulerGroupTest, AFullLastBlockIsSharedWithoutACopy) {
  SchedulerHarness h(TestConfig(20));
  h.Add(GroupRequest(1, 32, 5, 2));
  h.Step();
  EXPECT_TRUE(h.Plan().copies.empty());
}

TEST(SchedulerGroupTest, BlocksComeBackAsSoonAsTheirLastReaderGoes) {
  SchedulerHarness h(TestConfig(20));
  h.Add(GroupRequest(1, 20, 5, 3));
  h.Step();
  h.Step();
  EXPECT_FALSE(h.scheduler.FinishStream(RequestId{1}, 1, FinishReason::kStop));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 1U + 2U);
  EXPECT_FALSE(h.scheduler.FinishStream(RequestId{1}, 0, FinishReason::kStop));
  EXPECT_TRUE(h.scheduler.FinishStream(RequestId{1}, 2, FinishReason::kStop));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 0U);
  EXPECT_FALSE(h.scheduler.HasWork());
}

TEST(SchedulerGroupTest, AStreamThatEndsLeavesTheOthersAlone) {
  Request request = GroupRequest(1, 20, 12, 3);
  request.eos_token_ids = {Alone(request, 1)[2]};
  SchedulerHarness h(TestConfig(20));
  h.Add(request);
  h.RunAll();
  EXPECT_EQ(h.of(1).transcript.streams[1].output.size(), 3U);
  EXPECT_EQ(h.of(1).transcript.streams[1].reason, FinishReason::kStop);
  EXPECT_EQ(h.of(1).transcript.streams[0].ids(), Alone(request, 0));
  EXPECT_EQ(h.of(1).transcript.streams[2].ids(), Alone(request, 2));
}

// With seats for three of seven, and with memory for two: in parts, each stream saying what it says alone.
TEST(SchedulerGroupTest, SamplesThatDoNotFitSideBySideRunInParts) {
  const Request request = GroupRequest(1, 20, 40, 7);
  SchedulerConfig few_seats = TestConfig(40), few_blocks = TestConfig(8);
  few_seats.max_num_seqs = 3;
  few_blocks.max_model_len = 64;
  for (const SchedulerConfig& config : {few_seats, few_blocks}) {
    SchedulerHarness h(config);
    h.Add(request);
    uint32_t most_running = 0;
    for (int i = 0; i < 1000 && h.scheduler.HasWork(); ++i) {
      h.Step();
      most_running = std::max(most_running, h.scheduler.Stats().num_running);
    }
    EXPECT_FALSE(h.scheduler.HasWork());
    EXPECT_EQ(most_running, config.max_num_seqs == 3 ? 3U : 2U);
    ASSERT_EQ(h.of(1).transcript.streams.size(), 7U);
    for (uint32_t s = 0; s < 7; ++s) EXPECT_EQ(h.of(1).transcript.streams[s].ids(), Alone(request, s)) << s;
    EXPECT_TRUE(h.of(1).transcript.ended);
  }
}

TEST(SchedulerGroupTest, AStreamThatTheEngineEndsLetsTheNextPartBegin) {
  SchedulerConfig config = TestConfig(40);
  config.max_num_seqs = 2;
  SchedulerHarness h(config);
  const Request request = GroupRequest(1, 20, 40, 3);
  h.Add(request);
  for (int i = 0; i < 3; ++i) h.Step();
  EXPECT_FALSE(h.scheduler.FinishStream(request.id, 0, FinishReason::kStop));
  EXPECT_FALSE(h.scheduler.FinishStream(request.id, 1, FinishReason::kStop));
  h.scheduler.CheckInvariants();
  for (int i = 0; i < 3; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_running, 1U);
  h.scheduler.PreemptAll();
  EXPECT_TRUE(h.scheduler.FinishStream(request.id, 2, FinishReason::kStop));
  h.RunAll();
}

TEST(SchedulerGroupTest, RefusesWhatCouldNotRunSideBySideWithTheNumbers) {
  SchedulerConfig config = TestConfig(10);
  config.max_num_seqs = 4;
  SchedulerHarness h(config);
  const Status too_many = h.scheduler.Add(BeamRequest(1, 10, 10, 5));
  ASSERT_FALSE(too_many.ok());
  EXPECT_THAT(too_many.error().message, testing::HasSubstr("5 beams side by side, and max_num_seqs is 4"));
  // One full block is shared; each of four then needs three of its own: 13 blocks.
  const Status too_large = h.scheduler.Add(BeamRequest(2, 20, 40, 4));
  ASSERT_FALSE(too_large.ok());
  EXPECT_THAT(too_large.error().message, testing::HasSubstr("need 13 KV blocks of 16 tokens, and the cache has 10"));
  EXPECT_TRUE(h.scheduler.Add(GroupRequest(3, 20, 28, 4)).ok());
}

TEST(SchedulerGroupTest, AGroupThatExactlyFitsAloneRunsToItsEnd) {
  SchedulerHarness h(TestConfig(9));
  h.Add(GroupRequest(1, 20, 28, 4));  // 1 + 4 * 2 blocks
  h.RunAll();
  EXPECT_EQ(h.of(1).num_preemptions, 0U);
  for (uint32_t s = 0; s < 4; ++s) EXPECT_EQ(h.of(1).transcript.streams[s].ids(), Alone(GroupRequest(1, 20, 28, 4), s));
}

TEST(SchedulerGroupTest, APreemptedGroupComputesAgainWhatItSharesOnce) {
  SchedulerConfig config = TestConfig(10);
  config.enable_prefix_caching = false;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 77, 40));
  h.Add(GroupRequest(2, 33, 12, 3));
  h.RunAll();
  EXPECT_GE(h.of(2).num_preemptions, 1U);
  EXPECT_EQ(h.of(2).num_swaps, 0U);
  for (uint32_t s = 0; s < 3; ++s) EXPECT_EQ(h.of(2).transcript.streams[s].ids(), Alone(GroupRequest(2, 33, 12, 3), s));
}

TEST(SchedulerGroupTest, BeamsForkAndPruneEveryStepWithoutComputingAnythingAgain) {
  SchedulerHarness h(TestConfig(60));
  h.Add(BeamRequest(1, 20, 30, 4));
  EXPECT_EQ(h.Step(), (Rows{20}));
  uint64_t num_forks = 0;
  for (int step = 1; step < 30; ++step) {
    h.Step();
    const StepPlan& plan = h.driver.plan();
    num_forks += plan.forks.size();
    ASSERT_EQ(plan.num_rows(), 4U);
    ASSERT_EQ(plan.tasks.size(), 4U);
    EXPECT_EQ(plan.tasks[0].kind, RowTask::Kind::kBest);
  }
  EXPECT_GT(num_forks, 10U);
  EXPECT_FALSE(h.scheduler.HasWork());
  EXPECT_EQ(h.of(1).transcript.streams.size(), 4U);
  EXPECT_EQ(h.of(1).transcript, TranscriptAlone(BeamRequest(1, 20, 30, 4)));
}

TEST(SchedulerGroupTest, BeamAnswersComeBestFirst) {
  Request request = BeamRequest(1, 20, 12, 4);
  request.params.n = 2;
  request.params.beam_width = 4;
  const Transcript transcript = TranscriptAlone(request);
  ASSERT_EQ(transcript.streams.size(), 2U);
  EXPECT_GE(transcript.streams.at(0).score, transcript.streams.at(1).score);
}

TEST(SchedulerGroupTest, WhereTooFewTokensMayBeSaidTheOtherAnswersAreEmpty) {
  Request request = BeamRequest(1, 20, 1, 4);
  request.params.min_tokens = 1;
  for (int32_t id = 2; id < 1000; ++id) request.params.stop_token_ids.push_back(id);
  const Transcript transcript = TranscriptAlone(request);
  EXPECT_TRUE(transcript.ended);
  ASSERT_EQ(transcript.streams.size(), 4U);
  EXPECT_EQ(transcript.streams.at(1).output.size(), 1U);
  EXPECT_EQ(transcript.streams.at(2).output.size(), 0U);
  EXPECT_EQ(transcript.streams.at(3).reason, FinishReason::kLength);
}

TEST(SchedulerGroupTest, BeamsShareMoreThanHalfOfTheirBlocks) {
  SchedulerHarness h(TestConfig(200));
  h.Add(BeamRequest(1, 100, 60, 6));
  for (int step = 0; step < 50; ++step) h.Step();
  const SlotAccount slots = h.scheduler.Stats().slots;
  EXPECT_GT(slots[SlotState::kShared], (slots[SlotState::kToken] + slots[SlotState::kShared]) / 2);
}

}  // namespace
}  // namespace quire
