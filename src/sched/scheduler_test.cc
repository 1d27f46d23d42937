// Order, seats, ends. What concerns memory is in scheduler_memory_test.cc, and a step's rows in
// scheduler_chunk_test.cc.
#include "sched/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<uint64_t> Admitted(const StepPlan& plan) {
  std::vector<uint64_t> ids;
  for (const Admission& admission : plan.admissions) ids.push_back(static_cast<uint64_t>(admission.request));
  return ids;
}

// A result for plans that no runner computes: each sample task draws what the test says.
StepResult Draws(const StepPlan& plan, std::initializer_list<std::vector<int32_t>> by_task) {
  StepResult result;
  result.step = plan.step;
  for (const std::vector<int32_t>& tokens : by_task) {
    result.tasks.push_back(
        {TaskResult::Status::kOk, static_cast<uint32_t>(result.tokens.size()), static_cast<uint32_t>(tokens.size())});
    for (const int32_t token : tokens) result.tokens.push_back({.token = token, .rank = 1});
  }
  return result;
}

TEST(SchedulerTest, AdmitsInOrderOfArrivalAndRunsInThatOrder) {
  SchedulerHarness h(TestConfig(100));
  for (uint64_t id = 1; id <= 4; ++id) h.Add(TestRequest(id, 10 + static_cast<uint32_t>(id), 5));
  const StepPlan& plan = h.Plan();
  EXPECT_THAT(Admitted(plan), ElementsAre(1, 2, 3, 4));
  ASSERT_EQ(plan.spans.size(), 4U);
  for (uint32_t i = 0; i < 4; ++i) EXPECT_EQ(plan.spans[i].num_rows, 11 + i);
}

TEST(SchedulerTest, AbortAndFinishRemoveAndTheCountOfUnfinishedIsExact) {
  SchedulerHarness h(TestConfig(100));
  for (uint64_t id = 1; id <= 4; ++id) h.Add(TestRequest(id, 10, 50));
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 4U);
  h.scheduler.Abort(RequestId{2});
  h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_running, 3U);
  h.scheduler.Abort(RequestId{1});
  h.scheduler.Abort(RequestId{1});
  h.scheduler.Abort(RequestId{77});
  EXPECT_TRUE(h.scheduler.FinishStream(RequestId{3}, 0, FinishReason::kStop));
  EXPECT_EQ(h.scheduler.Stats().num_running, 1U);
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 0U);
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 1U) << "memory is back at once";
  EXPECT_EQ(h.Plan().removals.size(), 2U);
  EXPECT_TRUE(h.scheduler.HasWork());
  h.scheduler.Abort(RequestId{4});
  EXPECT_FALSE(h.scheduler.HasWork());
}

TEST(SchedulerTest, ASequenceThatEndsBetweenPlanAndApplyIsTolerated) {
  SchedulerHarness h(TestConfig(100));
  h.Add(TestRequest(1, 10, 5));
  h.Add(TestRequest(2, 10, 5));
  h.Plan();
  h.Run();
  h.scheduler.Abort(RequestId{1});
  h.Apply();
  EXPECT_EQ(h.of(1).tokens.size(), 0U);
  EXPECT_EQ(h.of(2).tokens.size(), 1U);
  h.RunAll();
  EXPECT_EQ(h.of(2).tokens, FakeRunner::Continue(TestRequest(2, 10, 5).prompt, 1, 5, 1000));
}

TEST(SchedulerTest, ASlotIsGivenAwayOnlyAfterItsRemovalWasSent) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_seqs = 1;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 10, 50));
  h.Step();
  h.scheduler.Abort(RequestId{1});
  h.Add(TestRequest(2, 10, 50));
  const StepPlan& plan = h.Plan();
  EXPECT_THAT(plan.removals, ElementsAre(SeatId{0}));
  ASSERT_EQ(plan.admissions.size(), 1U);
  EXPECT_EQ(plan.admissions[0].seat, SeatId{0}) << "removals come first, so one plan may do both";
}

TEST(SchedulerTest, MaxNumSeqsIsRespected) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_seqs = 3;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 5; ++id) h.Add(TestRequest(id, 10, 4));
  EXPECT_EQ(h.Step().size(), 3U);
  EXPECT_EQ(h.scheduler.Stats().num_waiting, 2U);
  h.RunAll();
  for (uint64_t id = 1; id <= 5; ++id) EXPECT_EQ(h.of(id).tokens.size(), 4U);
}

TEST(SchedulerTest, WhatCanNeverFitIsRefusedWithTheNumbersAndNotStuck) {
  SchedulerConfig config = TestConfig(4);
  config.max_model_len = 1000;
  Scheduler scheduler(config);
  const auto refusal = [&](uint32_t num_prompt, int32_t max_tokens) {
    const Status added = scheduler.Add(TestRequest(1, num_prompt, max_tokens));
    EXPECT_FALSE(added.ok());
    return added.ok() ? "" : added.error().message;
  };
  EXPECT_THAT(refusal(60, 5), testing::AllOf(HasSubstr("60"), HasSubstr("5 KV blocks"), HasSubstr("has 4")));
  EXPECT_THAT(refusal(1000, 1), testing::AllOf(HasSubstr("1000 tokens"), HasSubstr("no room")));
  EXPECT_THAT(refusal(990, 11), testing::AllOf(HasSubstr("together 1001"), HasSubstr("1000 tokens")));
  EXPECT_THAT(refusal(0, 1), HasSubstr("empty"));
  EXPECT_THAT(refusal(5, 0), HasSubstr("max_tokens is 0"));
  EXPECT_FALSE(scheduler.HasWork());
  EXPECT_TRUE(scheduler.Add(TestRequest(1, 60, 4)).ok());
  EXPECT_THAT(scheduler.Add(TestRequest(1, 60, 4)).error().message, HasSubstr("present already"));
}

TEST(SchedulerTest, ConfigurationsThatCannotWorkAreRefused) {
  const auto refused = [](auto change) {
    SchedulerConfig config = TestConfig(100);
    change(config);
    return !ValidateSchedulerConfig(config).ok();
  };
  EXPECT_FALSE(refused([](SchedulerConfig&) {}));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.block_size = 24; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.block_size = 512; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.num_blocks = 0; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.max_num_seqs = 0; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.max_num_batched_tokens = 15; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.watermark = 1; }));
  EXPECT_TRUE(refused([](SchedulerConfig& c) { c.max_model_len = 1; }));
}

TEST(SchedulerTest, AdmissionCarriesWhatTheSamplerNeeds) {
  SchedulerHarness h(TestConfig(100));
  Request request = TestRequest(1, 10, 20);
  request.eos_token_ids = {7};
  request.params.stop_token_ids = {8, 7};
  request.params.min_tokens = 3;
  h.Add(request);
  const StepPlan& plan = h.Plan();
  ASSERT_EQ(plan.admissions.size(), 1U);
  const Admission& admission = plan.admissions[0];
  EXPECT_EQ(admission.history, request.prompt);
  EXPECT_EQ(admission.num_prompt_tokens, 10U);
  EXPECT_THAT(admission.stop_token_ids, ElementsAre(7, 8));
  EXPECT_EQ(admission.params.min_tokens, 3);
  ASSERT_EQ(plan.tasks.size(), 1U);
  EXPECT_EQ(plan.tasks[0].kind, RowTask::Kind::kSample);
  EXPECT_EQ(plan.tasks[0].row, 9U);
  EXPECT_EQ(plan.tasks[0].position, 10U);
}

TEST(SchedulerTest, EndsByEosByStopTokenWithItsReasonAndByMaxTokensDroppingWhatFollows) {
  SchedulerHarness h(TestConfig(100));
  for (uint64_t id = 1; id <= 4; ++id) {
    Request request = TestRequest(id, 10, id == 3 ? 2 : 20);
    request.eos_token_ids = {7};
    request.params.stop_token_ids = {8};
    request.params.ignore_eos = id == 4;
    h.Add(request);
  }
  // Several tokens at once, as accepted drafts come: those behind the end do not count.
  const StepResult result = Draws(h.Plan(), {{5, 7, 9}, {5, 8, 9}, {5, 6, 9}, {5, 7, 8}});
  for (const SchedulerEvent& event : h.scheduler.Apply(result)) {
    if (event.kind == SchedulerEvent::Kind::kTokens) {
      EXPECT_EQ(event.tokens.size(), event.request == RequestId{4} ? 3U : 2U);
    }
    if (event.kind != SchedulerEvent::Kind::kFinished) continue;
    EXPECT_EQ(event.reason, event.request == RequestId{3} ? FinishReason::kLength : FinishReason::kStop);
    const bool by_stop_token = event.request == RequestId{2} || event.request == RequestId{4};
    EXPECT_EQ(event.stop_token, by_stop_token ? 8 : -1);
  }
  EXPECT_FALSE(h.scheduler.HasWork());
}

TEST(SchedulerTest, EndsAtTheModelsLength) {
  SchedulerConfig config = TestConfig(100);
  config.max_model_len = 20;
  SchedulerHarness h(config);
  Request request = TestRequest(1, 15, 5);
  request.params.max_tokens.reset();
  h.Add(request);
  h.RunAll();
  EXPECT_EQ(h.of(1).tokens.size(), 5U);
  EXPECT_EQ(h.of(1).reason, FinishReason::kLength);
}

TEST(SchedulerTest, PromptScoresOnePerTokenExceptTheFirstInAnyChunking) {
  for (const uint32_t chunk : {0U, 1U, 7U, 16U}) {
    SchedulerConfig config = TestConfig(100);
    config.long_prefill_token_threshold = chunk;
    SchedulerHarness h(config);
    Request request = TestRequest(1, 40, 3);
    request.params.prompt_logprobs = 2;
    h.Add(request);
    h.RunAll();
    EXPECT_EQ(h.of(1).num_scores, 39U) << "chunk " << chunk;
    EXPECT_EQ(h.of(1).tokens.size(), 3U);
  }
}

TEST(SchedulerTest, ANanEndsItsRequestWithAnErrorAndNoOther) {
  SchedulerHarness h(TestConfig(100));
  h.Add(TestRequest(1, 40, 5));
  h.Add(TestRequest(2, 40, 5));
  h.runner.InjectNan(RequestId{1}, 42);
  h.RunAll();
  EXPECT_EQ(h.of(1).tokens.size(), 2U);
  EXPECT_THAT(h.of(1).error, HasSubstr("NaN"));
  EXPECT_EQ(h.of(1).reason, FinishReason::kNone);
  EXPECT_EQ(h.of(2).tokens.size(), 5U);
  EXPECT_EQ(h.of(2).reason, FinishReason::kLength);
  // Nobody reuses what it left.
  h.Add(TestRequest(1, 40, 5));
  h.Plan();
  EXPECT_EQ(h.scheduler.Stats().prefix_hit_tokens, 0U);
}

TEST(SchedulerTest, PriorityGoesByLowerValueThenByArrival) {
  SchedulerConfig config = TestConfig(100);
  config.policy = QueuePolicy::kPriority;
  config.max_num_seqs = 3;
  SchedulerHarness h(config);
  const int32_t priorities[] = {5, 1, 5, 0, 1};
  for (uint64_t id = 1; id <= 5; ++id) {
    Request request = TestRequest(id, 10, 3);
    request.priority = priorities[id - 1];
    h.Add(request);
  }
  EXPECT_THAT(Admitted(h.Plan()), ElementsAre(4, 2, 5));
}

TEST(SchedulerTest, WithoutThePriorityPolicyPriorityIsIgnored) {
  SchedulerHarness h(TestConfig(100));
  for (uint64_t id = 1; id <= 3; ++id) {
    Request request = TestRequest(id, 10, 3);
    request.priority = -static_cast<int32_t>(id);
    h.Add(request);
  }
  EXPECT_THAT(Admitted(h.Plan()), ElementsAre(1, 2, 3));
}

TEST(SchedulerTest, LogprobsAndCandidatesComeWithTheEvents) {
  SchedulerHarness h(TestConfig(100));
  Request request = TestRequest(1, 10, 2);
  request.params.logprobs = 3;
  h.Add(request);
  for (const SchedulerEvent& event : h.driver.Step()) {
    if (event.kind != SchedulerEvent::Kind::kTokens) continue;
    EXPECT_EQ(event.position, 10U);
    ASSERT_EQ(event.tokens.size(), 1U);
    const TokenOutput& token = event.tokens[0];
    ASSERT_EQ(token.num_candidates, 3U);
    EXPECT_EQ(event.candidates[token.first_candidate].token, token.token);
  }
}

}  // namespace
}  // namespace quire
