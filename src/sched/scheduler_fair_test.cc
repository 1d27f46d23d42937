// Seats and tokens shared between clients. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

// Of one client: requests first, first + 1, ...
struct ClientLoad {
  std::string client;
  uint64_t first_id = 1;
  uint64_t num_requests = 1;
  uint32_t num_prompt = 20;
  int32_t num_output = 10;
  int32_t n = 1;
};

void Add(SchedulerHarness& h, const ClientLoad& load) {
  for (uint64_t id = load.first_id; id < load.first_id + load.num_requests; ++id) {
    Request request = GroupRequest(id, load.num_prompt, load.num_output, load.n);
    request.client_key = load.client;
    h.Add(request);
  }
}

SchedulerConfig FairConfig(uint32_t num_blocks, uint32_t max_num_seqs) {
  SchedulerConfig config = TestConfig(num_blocks);
  config.max_num_seqs = max_num_seqs;
  config.fair = true;
  return config;
}

TEST(SchedulerFairTest, AClientWithAHundredRequestsDoesNotStarveAnother) {
  SchedulerHarness h(FairConfig(40, 2));
  Add(h, {.client = "many", .num_requests = 100});
  for (int i = 0; i < 15; ++i) h.Step();
  Add(h, {.client = "one", .first_id = 200});
  for (int i = 0; i < 25; ++i) h.Step();
  EXPECT_EQ(h.of(200).reason, FinishReason::kLength) << "next but for those who run";
}

TEST(SchedulerFairTest, TokensAreSharedEquallyThoughRequestsDiffer) {
  SchedulerHarness h(FairConfig(100, 2));
  for (uint64_t id = 1; id <= 60; id += 2) {
    Add(h, {.client = "long", .first_id = id, .num_prompt = 50, .num_output = 50});
    Add(h, {.client = "short", .first_id = id + 1, .num_prompt = 10, .num_output = 10});
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
    SchedulerConfig config = FairConfig(by_memory ? 64 : 1000, 32);
    config.max_num_batched_tokens = 256;
    config.max_model_len = 256;
    SchedulerHarness h(config);
    Add(h, {.client = "greedy", .num_requests = 200, .num_output = 200});
    for (int i = 0; i < 50; ++i) h.Step();
    Add(h, {.client = "patient", .first_id = 300, .num_requests = 3});
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
  SchedulerHarness h(FairConfig(100, 6));
  for (uint64_t id = 1; id <= 9; ++id) {
    const std::string client(1, static_cast<char>('a' + id % 3));
    Add(h, {.client = client, .first_id = id, .num_output = 20, .n = 5});
  }
  for (int i = 0; i < 1000 && h.scheduler.HasWork(); ++i) h.Step();
  EXPECT_FALSE(h.scheduler.HasWork());
}

// The other client's requests are no reason to preempt for who has its share already.
TEST(SchedulerFairTest, NobodyGivesWayToWhoHoldsItsShare) {
  SchedulerHarness h(FairConfig(1000, 8));
  Add(h, {.client = "a", .num_requests = 20, .num_output = 50});
  Add(h, {.client = "b", .first_id = 21, .num_requests = 20, .num_output = 50});
  for (int i = 0; i < 40; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_preemptions(), 0U);
  EXPECT_EQ(h.scheduler.Stats().num_running, 8U);
}

// Whoever gave way could not be replaced before the batch has ended.
TEST(SchedulerFairTest, AStaticBatchLetsNobodyGiveWay) {
  SchedulerConfig config = FairConfig(1000, 4);
  config.batching = Batching::kStatic;
  SchedulerHarness h(config);
  Add(h, {.client = "greedy", .num_requests = 8, .num_output = 50});
  for (int i = 0; i < 10; ++i) h.Step();
  Add(h, {.client = "patient", .first_id = 300});
  for (int i = 0; i < 10; ++i) h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_preemptions(), 0U);
  EXPECT_EQ(h.scheduler.Stats().num_running, 4U);
  h.RunAll();
  EXPECT_EQ(h.of(300).reason, FinishReason::kLength);
}

}  // namespace
}  // namespace quire
