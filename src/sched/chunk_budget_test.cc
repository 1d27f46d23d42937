#include "sched/chunk_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace quire {
namespace {

// A machine: decoding costs base_us whatever the batch; prompt tokens cost more, the first `free_tokens` nothing.
struct Machine {
  double base_us = 50'000;
  double token_us = 500;
  uint32_t free_tokens = 0;
  double noise = 0;
  std::mt19937 random{3};

  int64_t Time(uint32_t num_prompt) {
    const double extra = num_prompt > free_tokens ? token_us * (num_prompt - free_tokens) : 0;
    const double factor = 1 + noise * (std::uniform_real_distribution<double>(-1, 1)(random));
    return static_cast<int64_t>((base_us + extra) * factor);
  }
};

// Serves a stream of prompts of 1,000 tokens beside 8 decodes; returns the step times, in order.
std::vector<int64_t> Serve(ChunkBudget& budget, Machine& machine, int num_steps) {
  std::vector<int64_t> times;
  uint32_t waiting = 0;
  for (int step = 0; step < num_steps; ++step) {
    if (step % 60 == 20) waiting += 1000;
    const uint32_t chunk = std::min({waiting, budget.Limit(8), 2048U});
    waiting -= chunk;
    times.push_back(machine.Time(chunk));
    budget.Observe({8, chunk, times.back()});
  }
  return times;
}

double Ratio(std::vector<int64_t> times) {  // p99 over median
  std::ranges::sort(times);
  return static_cast<double>(times[times.size() * 99 / 100]) / static_cast<double>(times[times.size() / 2]);
}

TEST(ChunkBudgetTest, NoLimitWhenNothingDecodesOrWhenSwitchedOff) {
  ChunkBudget budget({});
  EXPECT_EQ(budget.Limit(0), ChunkBudget::kUnlimited);
  EXPECT_EQ(ChunkBudget({.target_ratio = 0}).Limit(8), ChunkBudget::kUnlimited);
}

TEST(ChunkBudgetTest, NoLimitWhenNothingIsTimed) {
  ChunkBudget budget({});
  budget.Observe({8, 0, 0});
  EXPECT_EQ(budget.Limit(8), ChunkBudget::kUnlimited);
}

TEST(ChunkBudgetTest, MeasuresTheBaseFirstAndThenAllowsAtLeastTheMinimum) {
  ChunkBudget budget({.min_tokens = 16});
  EXPECT_EQ(budget.Limit(8), 0U) << "one step without prompts tells what a step costs";
  budget.Observe({8, 0, 1000});
  EXPECT_GE(budget.Limit(8), 16U);
  budget.Observe({8, 16, 1'000'000'000});
  EXPECT_EQ(budget.Limit(8), 16U) << "however slow: prompts always progress";
}

TEST(ChunkBudgetTest, LearnsTheChunkThatDoublesAStep) {
  ChunkBudget budget({.target_ratio = 2.0});
  Machine machine;
  Serve(budget, machine, 300);
  EXPECT_EQ(budget.base_us(), 50'000);
  EXPECT_NEAR(budget.prompt_token_us(), 500, 1);
  EXPECT_NEAR(budget.Limit(8), 100, 1);
}

TEST(ChunkBudgetTest, TakesTheMedianOfDecodeStepsSoThatOneHiccupDoesNotCount) {
  ChunkBudget budget({});
  for (int i = 0; i < 8; ++i) budget.Observe({8, 0, 1000});
  budget.Observe({8, 0, 90'000});
  EXPECT_EQ(budget.base_us(), 1000);
}

TEST(ChunkBudgetTest, TailOfStepTimesStaysUnderThreeMediansWhilePromptsArrive) {
  for (const uint32_t free_tokens : {0U, 30U}) {
    for (const double noise : {0.0, 0.1}) {
      ChunkBudget budget({});
      Machine machine{.free_tokens = free_tokens, .noise = noise};
      EXPECT_LT(Ratio(Serve(budget, machine, 3000)), 3.0) << free_tokens << " free, noise " << noise;
    }
  }
}

TEST(ChunkBudgetTest, WithoutALimitTheTailWouldBeLong) {
  ChunkBudget budget({.target_ratio = 0});
  Machine machine;
  EXPECT_GT(Ratio(Serve(budget, machine, 3000)), 3.0);
}

TEST(ChunkBudgetTest, FollowsAMachineThatGetsSlower) {
  ChunkBudget budget({.target_ratio = 2.0});
  Machine machine;
  Serve(budget, machine, 300);
  machine.token_us = 1000;
  Serve(budget, machine, 300);
  EXPECT_NEAR(budget.Limit(8), 50, 1);
}

TEST(ChunkBudgetTest, MeasuresTheBaseAgainThoughPromptsNeverPause) {
  ChunkBudget budget({.refresh_interval = 32});
  Machine machine;
  int num_pauses = 0;
  for (int step = 0; step < 330; ++step) {
    const uint32_t chunk = std::min(budget.Limit(8), 2048U);
    if (chunk == 0) ++num_pauses;
    budget.Observe({8, chunk, machine.Time(chunk)});
  }
  EXPECT_EQ(num_pauses, 10);
}

}  // namespace
}  // namespace quire
