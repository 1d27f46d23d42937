// Seats and tokens shared between clients. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

TEST(SchedulerFairTest, AClientWithAHundredRequestsDoesNotStarveAnother) {
  SchedulerConfig config = TestConfig(40);
  config.max_num_seqs = 2;
  config.fair = true;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 100; ++id) {
    Request request = TestRequest(id, 20, 10);
    request.client_key = "many";
    h.Add(request);
  }
  for (int i = 0; i < 15; ++i) h.Step();
  Request lone = TestRequest(200, 20, 10);
  lone.client_key = "one";
  h.Add(lone);
  for (int i = 0; i < 25; ++i) h.Step();
  EXPECT_EQ(h.of(200).reason, FinishReason::kLength) << "next but for those who run";
}

TEST(SchedulerFairTest, TokensAreSharedEquallyThoughRequestsDiffer) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_seqs = 2;
  config.fair = true;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 60; ++id) {
    Request request = TestRequest(id, id % 2 == 0 ? 10 : 50, id % 2 == 0 ? 10 : 50);
    request.client_key = id % 2 == 0 ? "short" : "long";
    h.Add(request);
  }
  for (int i = 0; i < 300; ++i) h.Step();
  uint64_t num_short = 0, num_long = 0;
  for (const auto& [id, record] : h.records) {
    const uint64_t tokens = record.tokens.empty() ? 0 : record.num_prompt_tokens + record.tokens.size();
    (static_cast<uint64_t>(id) % 2 == 0 ? num_short : num_long) += tokens;
  }
  EXPECT_NEAR(static_cast<double>(num_short), static_cast<double>(num_long), 150.0);
}

// Tokens alone would leave every seat to who came first until its requests end.
TEST(SchedulerFairTest, ANewClientHasItsFirstTokenWithinThreeStepsBesideAGreedyOne) {
  for (const bool by_memory : {false, true}) {
    SchedulerConfig config = TestConfig(by_memory ? 64 : 1000);
    config.max_num_seqs = 32;
    config.max_num_batched_tokens = 256;
    config.max_model_len = 256;
    config.fair = true;
    SchedulerHarness h(config);
    for (uint64_t id = 1; id <= 200; ++id) {
      Request request = TestRequest(id, 20, 200);
      request.client_key = "greedy";
      h.Add(request);
    }
    for (int i = 0; i < 50; ++i) h.Step();
    for (uint64_t id = 300; id < 303; ++id) {
      Request lone = TestRequest(id, 20, 10);
      lone.client_key = "patient";
      h.Add(lone);
    }
    for (uint64_t id = 300; id < 303; ++id) {  // one gives way in each step
      for (int i = 0; i < (id == 300 ? 3 : 1); ++i) h.Step();
      EXPECT_FALSE(h.of(id).tokens.empty()) << id << " " << by_memory;
    }
    h.RunAll();
    for (const auto& [id, record] : h.records) EXPECT_EQ(record.reason, FinishReason::kLength);
  }
}

// Each has more than its share as soon as it runs: they would take each other's memory for ever.
TEST(SchedulerFairTest, RequestsWiderThanAShareComeToAnEnd) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_seqs = 6;
  config.fair = true;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 9; ++id) {
    Request request = TestRequest(id, 20, 20);
    request.params.n = 5;
    request.client_key = std::string(1, static_cast<char>('a' + id % 3));
    h.Add(request);
  }
  for (int i = 0; i < 1000 && h.scheduler.HasWork(); ++i) h.Step();
  EXPECT_FALSE(h.scheduler.HasWork());
}

// The other client's requests are no reason to preempt for who has its share already.
TEST(SchedulerFairTest, NobodyGivesWayToWhoHoldsItsShare) {
  SchedulerConfig config = TestConfig(1000);
  config.max_num_seqs = 8;
  config.fair = true;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 40; ++id) {
    Request request = TestRequest(id, 20, 50);
    request.client_key = id <= 20 ? "a" : "b";
    h.Add(request);
  }
  for (int i = 0; i < 40; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_preemptions(), 0U);
  EXPECT_EQ(h.scheduler.Stats().num_running, 8U);
}

}  // namespace
}  // namespace quire
