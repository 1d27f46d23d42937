// Admission, preemption, the prefix cache, leaks. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

using testing::ElementsAre;

TEST(SchedulerMemoryTest, APromptIsAdmittedOnlyWhenAllOfItFitsAndTheHeadBlocksThoseBehind) {
  SchedulerConfig config = TestConfig(10);
  config.max_num_batched_tokens = 32;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 80, 10));
  h.Add(TestRequest(2, 96, 10));
  h.Add(TestRequest(3, 5, 10));
  EXPECT_EQ(h.Step(), (Rows{32}));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 5U) << "reserved before it is promised";
  for (int i = 0; i < 4; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_running, 1U);
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 2U);
  h.RunAll();
  EXPECT_EQ(h.of(2).tokens.size(), 10U);
}

TEST(SchedulerMemoryTest, TheWatermarkIsKeptForThoseWhoRunButALoneSequenceMayUseEverything) {
  SchedulerConfig config = TestConfig(10);
  config.watermark = 0.1;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 80, 2));
  h.Add(TestRequest(2, 80, 2));
  h.Add(TestRequest(3, 150, 10));
  EXPECT_EQ(h.Step().size(), 1U) << "five of ten blocks are left, one of them is the watermark";
  h.RunAll();
  EXPECT_EQ(h.of(3).tokens.size(), 10U);
  EXPECT_EQ(h.of(3).num_preemptions, 0U);
}

TEST(SchedulerMemoryTest, PreemptsTheYoungestWhenThePoolIsEmptyAndItSaysTheSameInTheEnd) {
  // Two prompts of 80 tokens fill 10 blocks: the first decode has none to grow into.
  SchedulerHarness h(TestConfig(10));
  h.Add(TestRequest(1, 80, 20));
  h.Add(TestRequest(2, 80, 20));
  EXPECT_EQ(h.Step(), (Rows{80, 80}));
  h.Step();
  const StepPlan& plan = h.driver.plan();
  EXPECT_EQ(plan.removals.size(), 1U);
  EXPECT_EQ(plan.spans.size(), 1U);
  EXPECT_TRUE(plan.admissions.empty()) << "no admission in a step that preempted";
  EXPECT_EQ(h.of(2).num_preemptions, 1U);
  EXPECT_EQ(h.of(2).tokens.size(), 1U) << "the token that was drawn stands";
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 1U);
  h.RunAll();
  EXPECT_EQ(h.of(1).num_preemptions, 0U) << "the oldest always goes on";
  EXPECT_EQ(h.of(1).tokens, Alone(TestRequest(1, 80, 20)));
  EXPECT_EQ(h.of(2).tokens, Alone(TestRequest(2, 80, 20)));
}

TEST(SchedulerMemoryTest, APreemptedSequenceComesBackWithItsHistoryAndBeforeLaterArrivals) {
  SchedulerConfig config = TestConfig(10);
  config.enable_prefix_caching = false;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 80, 20));
  h.Add(TestRequest(2, 80, 20));
  h.Step();
  h.Step();
  ASSERT_EQ(h.of(2).num_preemptions, 1U);
  h.Add(TestRequest(3, 80, 20));
  h.scheduler.Abort(RequestId{1});
  const StepPlan& plan = h.Plan();
  ASSERT_EQ(plan.admissions.size(), 1U) << "6 blocks and 5 do not fit together";
  EXPECT_EQ(plan.admissions[0].request, RequestId{2});
  EXPECT_EQ(plan.admissions[0].history.size(), 81U);
  EXPECT_EQ(plan.admissions[0].num_prompt_tokens, 80U);
  ASSERT_EQ(plan.tasks.size(), 1U);
  EXPECT_EQ(plan.tasks[0].position, 81U);
  EXPECT_EQ(plan.num_rows(), 81U) << "recomputed";
}

TEST(SchedulerMemoryTest, IfOneVictimIsNotEnoughMoreArePreempted) {
  // Six blocks, all full after the prompts. The first two need one each, and each of the youngest has but one.
  SchedulerHarness h(TestConfig(6));
  for (uint64_t id = 1; id <= 4; ++id) h.Add(TestRequest(id, id <= 2 ? 32 : 16, 30));
  EXPECT_EQ(h.Step(), (Rows{32, 32, 16, 16}));
  EXPECT_EQ(h.Step(), (Rows{1, 1}));
  EXPECT_EQ(h.of(3).num_preemptions, 1U);
  EXPECT_EQ(h.of(4).num_preemptions, 1U);
  h.RunAll();
  for (uint64_t id = 1; id <= 4; ++id) EXPECT_EQ(h.of(id).tokens, Alone(TestRequest(id, id <= 2 ? 32 : 16, 30)));
}

TEST(SchedulerMemoryTest, AfterTheOldestIsAbortedThePreemptedOneIsRecomputed) {
  SchedulerHarness h(TestConfig(10));
  h.Add(TestRequest(1, 80, 60));
  h.Add(TestRequest(2, 80, 20));
  h.Step();
  h.Step();
  ASSERT_EQ(h.of(2).num_preemptions, 1U);
  h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 1U) << "its history does not fit beside the first";
  h.scheduler.Abort(RequestId{1});
  h.RunAll();
  EXPECT_EQ(h.of(2).tokens, Alone(TestRequest(2, 80, 20)));
}

TEST(SchedulerMemoryTest, ThePriorityPolicyPreemptsTheLowestPriority) {
  SchedulerConfig config = TestConfig(10);
  config.policy = QueuePolicy::kPriority;
  SchedulerHarness h(config);
  Request urgent = TestRequest(2, 80, 20);
  urgent.priority = -1;
  h.Add(TestRequest(1, 80, 20));
  h.Add(urgent);
  h.Step();
  h.Step();
  EXPECT_EQ(h.of(1).num_preemptions, 1U) << "it came first, but is less urgent";
  EXPECT_EQ(h.of(2).num_preemptions, 0U);
  h.RunAll();
  EXPECT_EQ(h.of(1).tokens, Alone(TestRequest(1, 80, 20)));
}

TEST(SchedulerMemoryTest, ThePrefixCacheGivesAPreemptedSequenceMostOfItsBlocksBack) {
  SchedulerHarness h(TestConfig(10));
  h.Add(TestRequest(1, 80, 3));
  h.Add(TestRequest(2, 80, 20));
  h.RunAll();
  ASSERT_EQ(h.of(2).num_preemptions, 1U);
  ASSERT_EQ(h.of(2).cached_tokens.size(), 2U);
  EXPECT_EQ(h.of(2).cached_tokens[0], 0U);
  EXPECT_GE(h.of(2).cached_tokens[1], 48U);
}

TEST(SchedulerMemoryTest, APrefixHitSkipsFullBlocksButNeverTheWholePrompt) {
  SchedulerHarness h(TestConfig(20));
  h.Add(TestRequest(1, 48, 2));
  h.RunAll();
  Request same = TestRequest(1, 48, 2);
  same.id = RequestId{2};
  h.Add(same);
  EXPECT_EQ(h.Step(), (Rows{16}));
  EXPECT_EQ(h.of(2).cached_tokens, (std::vector<uint32_t>{32}));
  h.RunAll();
  EXPECT_EQ(h.of(2).tokens, h.of(1).tokens);
}

TEST(SchedulerMemoryTest, PromptScoresSkipCacheReadsButStillWrite) {
  SchedulerHarness h(TestConfig(20));
  for (uint64_t id = 1; id <= 3; ++id) {
    Request request = TestRequest(7, 48, 2);
    request.id = RequestId{id};
    if (id < 3) request.params.prompt_logprobs = 0;
    h.Add(request);
    h.RunAll();
  }
  EXPECT_EQ(h.of(1).cached_tokens, (std::vector<uint32_t>{0}));
  EXPECT_EQ(h.of(2).cached_tokens, (std::vector<uint32_t>{0}));
  EXPECT_EQ(h.of(2).num_scores, 47U);
  EXPECT_EQ(h.of(3).cached_tokens, (std::vector<uint32_t>{32}));
}

TEST(SchedulerMemoryTest, PromptScoresAreDeliveredOnceThoughTheirRequestIsPreempted) {
  SchedulerConfig config = TestConfig(10);
  config.long_prefill_token_threshold = 20;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 78, 60));
  h.Step();
  Request scored = TestRequest(2, 70, 4);
  scored.params.prompt_logprobs = 1;
  h.Add(scored);
  h.RunAll();
  EXPECT_GE(h.of(2).num_preemptions, 1U);
  EXPECT_EQ(h.of(2).num_scores, 69U);
  EXPECT_EQ(h.of(2).tokens, Alone(scored));
}

TEST(SchedulerMemoryTest, BlocksAreReusableOnlyAfterTheirStepSucceeded) {
  SchedulerHarness h(TestConfig(20));
  h.Add(TestRequest(1, 48, 2));
  h.Plan();
  h.Run();
  EXPECT_EQ(h.scheduler.Stats().num_blocks_cached, 0U);
  h.scheduler.Abort(RequestId{1});
  EXPECT_EQ(h.scheduler.Stats().num_blocks_cached, 0U) << "the step was not applied when it ended";
  h.Apply();
  EXPECT_EQ(h.scheduler.Stats().num_blocks_free, 20U);
}

TEST(SchedulerMemoryTest, EqualPromptsOfTheSameStepAreComputedOnce) {
  SchedulerHarness h(TestConfig(30));
  for (uint64_t id = 1; id <= 3; ++id) {
    Request request = TestRequest(9, 70, 4);
    request.id = RequestId{id};
    h.Add(request);
  }
  h.Add(TestRequest(4, 20, 4));
  EXPECT_EQ(h.Step(), (Rows{70, 20})) << "the two that wait for the prefix do not hold up the one behind them";
  EXPECT_EQ(h.Step(), (Rows{1, 1, 6, 6}));
  h.RunAll();
  EXPECT_EQ(h.of(2).cached_tokens, (std::vector<uint32_t>{64}));
  EXPECT_EQ(h.of(3).tokens, h.of(1).tokens);
}

TEST(SchedulerMemoryTest, TheNextTurnOfAConversationHitsPromptAndAnswer) {
  SchedulerHarness h(TestConfig(30));
  h.Add(TestRequest(1, 20, 30));
  h.RunAll();
  Request next = TestRequest(1, 20, 4);
  next.id = RequestId{2};
  next.prompt.insert(next.prompt.end(), h.of(1).tokens.begin(), h.of(1).tokens.end());
  next.prompt.resize(60, 5);
  h.Add(next);
  h.RunAll();
  EXPECT_EQ(h.of(2).cached_tokens, (std::vector<uint32_t>{48}));
}

TEST(SchedulerMemoryTest, PrefixQueriesAreCountedOncePerAdmissionAndAgainAfterPreemption) {
  SchedulerHarness h(TestConfig(10));
  h.Add(TestRequest(1, 80, 3));
  h.Add(TestRequest(2, 80, 3));
  for (int i = 0; i < 2; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().prefix_query_tokens, 160U);
  ASSERT_EQ(h.of(2).num_preemptions, 1U);
  h.RunAll();
  EXPECT_EQ(h.scheduler.Stats().prefix_query_tokens, 160U + 81U);
}

TEST(SchedulerMemoryTest, CachingOffNeverHits) {
  SchedulerConfig config = TestConfig(20);
  config.enable_prefix_caching = false;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 2; ++id) {
    Request request = TestRequest(5, 48, 2);
    request.id = RequestId{id};
    h.Add(request);
    h.RunAll();
  }
  EXPECT_EQ(h.of(2).cached_tokens, (std::vector<uint32_t>{0}));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_free, 20U);
  EXPECT_EQ(h.scheduler.Stats().prefix_query_tokens, 0U);
}

TEST(SchedulerMemoryTest, NothingLeaksWhenAllHaveFinished) {
  SchedulerHarness h(TestConfig(12, 8));
  for (uint64_t id = 1; id <= 20; ++id) h.Add(TestRequest(id, 10 + static_cast<uint32_t>(id), 20));
  h.RunAll();
  const SchedulerStats stats = h.scheduler.Stats();
  EXPECT_EQ(stats.num_blocks_used, 0U);
  EXPECT_EQ(stats.num_blocks_cached + stats.num_blocks_free, 12U);
  EXPECT_EQ(stats.num_running + stats.num_waiting, 0U);
  h.Step();
  EXPECT_EQ(h.runner.num_occupied_seats(), 0U);
  EXPECT_TRUE(h.scheduler.ResetPrefixCache());
  EXPECT_EQ(h.scheduler.Stats().num_blocks_free, 12U);
}

TEST(SchedulerMemoryTest, PreemptAllMovesTheRunningBackToWaitingInOrder) {
  SchedulerHarness h(TestConfig(30));
  for (uint64_t id = 1; id <= 3; ++id) h.Add(TestRequest(id, 20, 5));
  h.Step();
  EXPECT_FALSE(h.scheduler.ResetPrefixCache());
  h.scheduler.PreemptAll();
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 3U);
  EXPECT_TRUE(h.scheduler.ResetPrefixCache());
  std::vector<RequestId> order;
  for (const Admission& admission : h.Plan().admissions) order.push_back(admission.request);
  EXPECT_THAT(order, ElementsAre(RequestId{1}, RequestId{2}, RequestId{3}));
}

TEST(SchedulerMemoryTest, EverySlotIsATokenReservedWastedCachedOrFree) {
  SchedulerConfig config = TestConfig(30);
  config.long_prefill_token_threshold = 32;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 20, 5));
  h.Add(TestRequest(2, 100, 5));
  h.Step();
  const SlotAccount slots = h.scheduler.Stats().slots;
  EXPECT_EQ(slots[SlotState::kToken], 21U + 33U) << "with the current ones";
  EXPECT_EQ(slots[SlotState::kReserved], 4U + 72U) << "for the prompt's rest and for the answers";
  EXPECT_EQ(slots[SlotState::kInternal], 7U + 7U);
  EXPECT_EQ(slots[SlotState::kExternal] + slots[SlotState::kCached], 0U);
  EXPECT_EQ(slots.total(), 30U * 16U);
}

}  // namespace
}  // namespace quire
