// Whose rows a step computes: decodes first, then prompts in chunks that share what is left of the budget.
#include <gtest/gtest.h>

#include <algorithm>

#include "sched/scheduler_testing.h"
#include "sched/step_driver_testing.h"

namespace quire {
namespace {

TEST(SchedulerChunkTest, ThreePromptsOf800ShareABudgetOf1024InChunksOf400) {
  SchedulerConfig config = TestConfig(200);
  config.max_num_batched_tokens = 1024;
  config.long_prefill_token_threshold = 400;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 3; ++id) h.Add(TestRequest(id, 800, 10));
  EXPECT_EQ(h.Step(), (Rows{400, 400, 224}));
  EXPECT_EQ(h.Step(), (Rows{400, 400, 224}));
  EXPECT_EQ(h.Step(), (Rows{1, 1, 352}));
  EXPECT_EQ(h.Step(), (Rows{1, 1, 1}));
}

TEST(SchedulerChunkTest, ALongHeadDoesNotBlockShortOnesBehindItWhenChunked) {
  SchedulerConfig config = TestConfig(200);
  config.max_num_batched_tokens = 64;
  config.long_prefill_token_threshold = 48;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 800, 10));
  h.Add(TestRequest(2, 10, 10));
  EXPECT_EQ(h.Step(), (Rows{48, 10}));
}

TEST(SchedulerChunkTest, TokenBudgetIsSharedSixtyAndFourOfSixtyFour) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_batched_tokens = 64;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 60, 10));
  h.Add(TestRequest(2, 60, 10));
  EXPECT_EQ(h.Step(), (Rows{60, 4}));
  EXPECT_EQ(h.Step(), (Rows{1, 56}));
}

TEST(SchedulerChunkTest, DecodesComeBeforePrompts) {
  SchedulerConfig config = TestConfig(100);
  config.max_num_batched_tokens = 64;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 500, 10));
  h.Add(TestRequest(2, 5, 10));
  for (int i = 0; i < 7; ++i) h.Step();
  EXPECT_EQ(h.Step(), (Rows{52, 5}));
  const StepPlan& plan = h.Plan();
  ASSERT_EQ(plan.spans.size(), 2U);
  EXPECT_EQ(plan.num_rows(), 2U);
}

TEST(SchedulerChunkTest, WithPrefixCachingChunksRoundDownToFullBlocksWhereThatLosesLittle) {
  const auto first_chunk = [](uint32_t threshold, bool caches) {
    SchedulerConfig config = TestConfig(100, 4);
    config.max_num_batched_tokens = 16;
    config.long_prefill_token_threshold = threshold;
    config.enable_prefix_caching = caches;
    SchedulerHarness h(config);
    h.Add(TestRequest(1, 40, 2));
    return h.Step();
  };
  EXPECT_EQ(first_chunk(13, true), (Rows{12}));
  EXPECT_EQ(first_chunk(14, true), (Rows{14})) << "two of 14 are too much";
  EXPECT_EQ(first_chunk(13, false), (Rows{13}));
}

TEST(SchedulerChunkTest, PacingByTimeChangesChunksButNotTokens) {
  std::vector<std::vector<int32_t>> said;
  for (const double ratio : {0.0, 2.0}) {
    SchedulerConfig config = TestConfig(400);
    config.chunk_budget.target_ratio = ratio;
    Scheduler scheduler(config);
    FakeRunner runner({.num_blocks = 400, .step_us = 1000, .prompt_row_us = 10});
    StepDriver driver(scheduler, runner);
    uint32_t largest = 0;
    std::vector<int32_t> tokens;
    ASSERT_TRUE(scheduler.Add(TestRequest(1, 20, 200)).ok());
    for (int step = 0; driver.HasWork(); ++step) {
      if (step == 10) {
        ASSERT_TRUE(scheduler.Add(TestRequest(2, 1000, 10)).ok());
      }
      for (const SchedulerEvent& event : driver.Step()) {
        for (const TokenOutput& token : event.tokens) tokens.push_back(token.token);
      }
      if (step >= 10) largest = std::max(largest, static_cast<uint32_t>(driver.plan().num_rows()));
    }
    EXPECT_EQ(largest > 500, ratio == 0.0);
    std::ranges::sort(tokens);
    said.push_back(tokens);
  }
  EXPECT_EQ(said[0], said[1]);
}

}  // namespace
}  // namespace quire
