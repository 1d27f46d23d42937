#include "sched/chunk_budget.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

namespace quire {
namespace {

using StepCost = std::function<double(const StepLoad&)>;

StepLoad Decodes(uint32_t num_rows, uint32_t context = 0) {
  return {.num_rows = num_rows, .num_pairs = uint64_t{num_rows} * context};
}

// The weights are read once a step, which takes 80 ms; each row is computed, which takes row_us.
StepCost Reads80Ms(double row_us) {
  return [row_us](const StepLoad& load) { return std::max(80'000.0, row_us * load.num_rows); };
}

// One step of `num_decodes`, and as many prompt tokens as are allowed.
uint32_t RunStep(ChunkBudget& budget, const StepLoad& decodes, const PromptDemand& demand, double factor,
                 const StepCost& machine) {
  const ChunkLimit limit = budget.Limit(decodes, demand);
  const uint32_t chunk = std::min(limit.num_tokens, 2048U);
  StepLoad all = decodes;
  all.Add(chunk, demand.first_position());
  budget.Observe(decodes, all, limit, static_cast<int64_t>(factor * machine(all)));
  return chunk;
}

// The chunk once the machine is known: prompts come and go, and so much is wanted that time alone is the limit.
uint32_t SettledChunk(ChunkBudget& budget, const StepCost& machine, double noise = 0, uint32_t context = 0) {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    const double factor = 1 + noise * std::uniform_real_distribution(-1.0, 1.0)(random);
    if (i % 3 < 2) {
      budget.Observe(Decodes(16, context), Decodes(16, context), {},
                     static_cast<int64_t>(factor * machine(Decodes(16, context))));
    } else {
      RunStep(budget, Decodes(16, context), budget.NoDemand(), factor, machine);
    }
  }
  return budget.Limit(Decodes(16, context), budget.NoDemand()).num_tokens;
}

PromptDemand Waiting(const ChunkBudget& budget, int num_prompts, uint32_t num_tokens, uint64_t num_steps = 1) {
  PromptDemand demand = budget.NoDemand();
  for (int i = 0; i < num_prompts; ++i) demand.Add(num_tokens, 0, num_steps);
  return demand;
}

TEST(ChunkBudgetTest, NoLimitWhenNothingDecodesOrIsTimedOrWhenSwitchedOff) {
  ChunkBudget budget({});
  EXPECT_EQ(budget.Limit(Decodes(8), budget.NoDemand()).num_tokens, ChunkLimit::kUnlimited);
  budget.Observe(Decodes(8), Decodes(8), {}, 0);
  EXPECT_EQ(budget.Limit(Decodes(8), budget.NoDemand()).num_tokens, ChunkLimit::kUnlimited);
  budget.Observe(Decodes(8), Decodes(8), {}, 1000);
  EXPECT_LT(budget.Limit(Decodes(8), budget.NoDemand()).num_tokens, ChunkLimit::kUnlimited);
  EXPECT_EQ(budget.Limit({}, budget.NoDemand()).num_tokens, ChunkLimit::kUnlimited);
  ChunkBudget off({.target_ratio = 0});
  off.Observe(Decodes(8), Decodes(8), {}, 1000);
  EXPECT_EQ(off.Limit(Decodes(8), off.NoDemand()).num_tokens, ChunkLimit::kUnlimited);
}

TEST(ChunkBudgetTest, TheChunkIsLargeWhereRowsAreCheapAndSmallWhereTheyCostCompute) {
  for (const double noise : {0.0, 0.1}) {
    ChunkBudget cheap({.target_ratio = 2}), dear({.target_ratio = 2, .min_tokens = 1});
    // 16 decodes take 80 ms on one and 160 on the other.
    EXPECT_NEAR(SettledChunk(cheap, Reads80Ms(500), noise), 320 - 16, 40);
    EXPECT_NEAR(SettledChunk(dear, Reads80Ms(10'000), noise), 32 - 16, 3);
  }
}

TEST(ChunkBudgetTest, PromptsAlwaysProgressByTheMinimum) {
  ChunkBudget budget({.min_tokens = 24});
  EXPECT_EQ(SettledChunk(budget, Reads80Ms(1e6)), 24U);
}

TEST(ChunkBudgetTest, AttentionToALongContextMakesTheChunkSmaller) {
  const StepCost machine = [](const StepLoad& load) {
    return 1000.0 * load.num_rows + 2.0 * static_cast<double>(load.num_pairs);
  };
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1});
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    PromptDemand demand = budget.NoDemand();
    demand.Add(1000, static_cast<uint32_t>(random() % 2000), 1);
    RunStep(budget, Decodes(16, static_cast<uint32_t>(random() % 2000)), demand, 1, machine);
    budget.Observe(Decodes(16, 500), Decodes(16, 500), {}, static_cast<int64_t>(machine(Decodes(16, 500))));
  }
  PromptDemand begins = budget.NoDemand(), goes_on = budget.NoDemand();
  begins.Add(20, 0, 1);
  goes_on.Add(20, 2000, 1);
  // 16 decodes take 32 ms: another 32 are 28 rows at the beginning of a prompt, 6 behind 2,000 tokens.
  EXPECT_NEAR(budget.Limit(Decodes(16, 500), begins).num_tokens, 28, 7);
  EXPECT_NEAR(budget.Limit(Decodes(16, 500), goes_on).num_tokens, 6, 3);
}

TEST(ChunkBudgetTest, KnowsWhatTheDecodesCostAtAnyWidthWithoutAStepOfThemAlone) {
  const StepCost machine = Reads80Ms(10'000);
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1});
  for (int i = 0; i < 100; ++i) RunStep(budget, Decodes(16), budget.NoDemand(), 1, machine);
  for (int i = 0; i < 100; ++i) RunStep(budget, Decodes(40), budget.NoDemand(), 1, machine);
  EXPECT_NEAR(budget.Limit(Decodes(40), budget.NoDemand()).num_tokens, 40, 5);
}

TEST(ChunkBudgetTest, FollowsAMachineThatGetsSlower) {
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1});
  EXPECT_NEAR(SettledChunk(budget, Reads80Ms(1000)), 160 - 16, 20);
  EXPECT_NEAR(SettledChunk(budget, Reads80Ms(2000)), 80 - 16, 10);
}

TEST(PromptDemandTest, NeedsWhatComputesEachPromptInTimeWithAllThatWaitBeforeIt) {
  PromptDemand demand(8);
  demand.Add(160, 32, 1);
  EXPECT_EQ(demand.needed_tokens(), 20U);
  demand.Add(80, 0, 1);
  EXPECT_EQ(demand.needed_tokens(), 30U);
  EXPECT_EQ(demand.first_position(), 32U);
  EXPECT_EQ(demand.num_prompts(), 2U);
  PromptDemand late(8);
  late.Add(160, 0, 7);
  EXPECT_EQ(late.needed_tokens(), 80U);
  late.Add(50, 0, 100);
  EXPECT_EQ(late.needed_tokens(), 210U) << "put off long enough";
}

TEST(ChunkBudgetTest, HurriesWhenPromptsQueueUpAndNoMoreThanNeeded) {
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1, .patience_steps = 8, .first_late_gaps = 0, .late_share = 0});
  const StepCost machine = Reads80Ms(10'000);
  const uint32_t ordinary = SettledChunk(budget, machine);
  EXPECT_EQ(budget.Limit(Decodes(16), Waiting(budget, 1, 50)).num_tokens, ordinary);
  EXPECT_EQ(budget.Limit(Decodes(16), Waiting(budget, 1, 8 * (ordinary + 1))).num_tokens, ordinary + 1);
  // 24 decode soon: twice their step is 48 rows.
  EXPECT_NEAR(budget.Limit(Decodes(16), Waiting(budget, 8, 1000)).num_tokens, 48 - 16, 4);
}

TEST(ChunkBudgetTest, WhatTheLoadNeedsBecomesTypicalAndIsForgottenAgain) {
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1});
  const StepCost machine = Reads80Ms(10'000);
  const uint32_t ordinary = SettledChunk(budget, machine);
  EXPECT_NEAR(budget.typical_stretch(), 1, 0.05);
  const auto serve = [&](int num_steps) {
    for (int i = 0; i < num_steps; ++i) RunStep(budget, Decodes(16), Waiting(budget, 1, 1000), 1, machine);
  };
  serve(10);
  EXPECT_LT(budget.Limit(Decodes(16), Waiting(budget, 1, 1000)).num_tokens, ordinary + 8) << "a burst is not typical";
  serve(500);
  EXPECT_GT(budget.Limit(Decodes(16), Waiting(budget, 1, 1000)).num_tokens, 2 * ordinary);
  for (int i = 0; i < 800; ++i) {
    budget.Observe(Decodes(16), Decodes(16), {}, static_cast<int64_t>(machine(Decodes(16))));
  }
  EXPECT_LT(budget.Limit(Decodes(16), Waiting(budget, 1, 1000)).num_tokens, ordinary + 8);
}

// Three steps of five prompts each make 1 + 6 + 11 gaps late; four would make more than 24.
TEST(ChunkBudgetTest, ACrowdIsComputedInAsManyLateStepsAsTheAllowancePaysFor) {
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1, .first_late_gaps = 24, .late_share = 0});
  const StepCost machine = Reads80Ms(10'000);
  SettledChunk(budget, machine);
  uint32_t num_waiting = 15, num_decoding = 1;
  for (const double gaps_left : {23.0, 17.0, 6.0}) {
    EXPECT_EQ(
        RunStep(budget, Decodes(num_decoding), Waiting(budget, static_cast<int>(num_waiting), 100, 20), 1, machine),
        500U);
    num_waiting -= 5;
    num_decoding += 5;
    EXPECT_EQ(budget.late_gaps_left(), gaps_left);
  }
  const ChunkLimit spent = budget.Limit(Decodes(16), Waiting(budget, 8, 100, 20));
  EXPECT_EQ(spent.num_tokens, spent.num_in_time);
}

TEST(ChunkBudgetTest, NobodyIsLateForOnePromptBesideMany) {
  ChunkBudget budget({.target_ratio = 2, .min_tokens = 1});
  SettledChunk(budget, Reads80Ms(10'000));
  const ChunkLimit one = budget.Limit(Decodes(16), Waiting(budget, 1, 10'000, 100));
  EXPECT_EQ(one.num_tokens, one.num_in_time);
  const ChunkLimit four = budget.Limit(Decodes(16), Waiting(budget, 4, 10'000, 100));
  EXPECT_GT(four.num_tokens, 100 * four.num_in_time);
}

TEST(ChunkBudgetTest, TheAllowanceGrowsByAShareOfTheGapsUpToABound) {
  ChunkBudget budget({.first_late_gaps = 8, .late_share = 0.01, .max_late_gaps = 30});
  const auto decode = [&](int num_steps) {
    for (int i = 0; i < num_steps; ++i) budget.Observe(Decodes(16), Decodes(16), {}, 1000);
  };
  decode(50);
  EXPECT_NEAR(budget.late_gaps_left(), 16, 1e-9);
  decode(1000);
  EXPECT_EQ(budget.late_gaps_left(), 30);
}

TEST(ChunkBudgetTest, APromptIsPricedBesideWhatDecodes) {
  ChunkBudget budget({});
  EXPECT_EQ(budget.PromptUs(Decodes(16), 100), 0) << "not known";
  SettledChunk(budget, Reads80Ms(500));
  EXPECT_NEAR(budget.PromptUs(Decodes(16), 100), 0, 2000) << "the weights are read anyway";
  EXPECT_NEAR(budget.PromptUs(Decodes(16), 1000), 1016 * 500 - 80'000, 60'000);
}

}  // namespace
}  // namespace quire
