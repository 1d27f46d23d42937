#include "sched/step_times.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace quire {
namespace {

StepLoad Load(uint32_t num_rows, uint64_t num_pairs = 0) { return {.num_rows = num_rows, .num_pairs = num_pairs}; }

// Reads the weights, whatever the rows, and computes meanwhile.
double MemoryBound(uint32_t rows) { return std::max(80'000.0, 600.0 * rows); }
double ComputeBound(uint32_t rows) { return std::max(20'000.0, 18'000.0 * rows); }

TEST(StepTimesTest, KnowsNothingBeforeAStepWasTimed) {
  StepTimes times;
  times.Observe(Load(8), 0);
  EXPECT_FALSE(times.known());
  EXPECT_EQ(times.Us(Load(8)), 0);
}

TEST(StepTimesTest, GuessesThatTimeGrowsWithTheRowsUntilItIsMeasured) {
  StepTimes times;
  times.Observe(Load(16), 1000);
  EXPECT_DOUBLE_EQ(times.Us(Load(16)), 1000);
  EXPECT_DOUBLE_EQ(times.Us(Load(40)), 2500);
  times.Observe(Load(32), 1000);
  EXPECT_DOUBLE_EQ(times.Us(Load(24)), 1000);
  EXPECT_DOUBLE_EQ(times.Us(Load(4)), 1000) << "along the slope of the lowest two";
  EXPECT_DOUBLE_EQ(times.Us(Load(64)), 2000);
}

TEST(StepTimesTest, LearnsTheCurveOfAMachine) {
  for (const auto& machine : {MemoryBound, ComputeBound}) {
    StepTimes times;
    std::mt19937 random(5);
    for (int i = 0; i < 4000; ++i) {
      const auto rows = static_cast<uint32_t>(std::exp(std::uniform_real_distribution(0.0, 6.0)(random)));
      const double noise = std::uniform_real_distribution(0.95, 1.05)(random);
      times.Observe(Load(rows), static_cast<int64_t>(machine(rows) * noise));
    }
    for (const uint32_t rows : {1U, 5U, 16U, 37U, 100U, 300U}) {
      EXPECT_NEAR(times.Us(Load(rows)) / machine(rows), 1, 0.15) << rows << " rows";
    }
  }
}

TEST(StepTimesTest, LearnsWhatContextCosts) {
  StepTimes times;
  const auto machine = [](const StepLoad& load) {
    return 50'000.0 + 100.0 * load.num_rows + 0.5 * static_cast<double>(load.num_pairs);
  };
  std::mt19937 random(5);
  for (int i = 0; i < 2000; ++i) {
    const auto rows = static_cast<uint32_t>(8 + 8 * (random() % 4));
    const StepLoad load = Load(rows, rows * (100 + random() % 4000));
    times.Observe(load, static_cast<int64_t>(machine(load)));
  }
  EXPECT_NEAR(times.pair_us(), 0.5, 0.1);
  for (const uint64_t context : {200, 2000, 4000}) {
    const StepLoad load = Load(16, 16 * context);
    EXPECT_NEAR(times.Us(load) / machine(load), 1, 0.15) << context;
  }
}

TEST(StepTimesTest, DoesNotTakeNoiseForThePriceOfContextsThatHardlyDiffer) {
  StepTimes times;
  std::mt19937 random(5);
  for (uint64_t i = 0; i < 1000; ++i) {
    const double noise = std::uniform_real_distribution(0.9, 1.1)(random);
    times.Observe(Load(16, 16 * (1000 + i)), static_cast<int64_t>(50'000 * noise));
  }
  EXPECT_NEAR(times.Us(Load(16, 16 * 4000)) / 50'000, 1, 0.2);
}

TEST(StepTimesTest, OneLateStepHardlyCounts) {
  StepTimes times;
  for (int i = 0; i < 20; ++i) {
    times.Observe(Load(16), 50'000);
    times.Observe(Load(64), 100'000);
  }
  times.Observe(Load(16), 5'000'000);
  EXPECT_LT(times.Us(Load(16)), 60'000);
  times.Observe(Load(32), 5'000'000);  // never seen before
  EXPECT_LE(times.Us(Load(32)), 2 * times.Us(Load(16)));
  EXPECT_NEAR(times.Us(Load(64)), 100'000, 1000);
}

TEST(StepTimesTest, MoreRowsNeverTakeLessTimeAndARowIsNeverDearerInCompany) {
  StepTimes times;
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i) {
    const auto num_rows = static_cast<uint32_t>(1 + random() % 700);
    times.Observe(Load(num_rows), static_cast<int64_t>(1 + random() % 100'000));
    for (uint32_t rows = 1; rows < 1000; rows += 1 + rows / 3) {
      const double less = times.Us(Load(rows)), more = times.Us(Load(rows + 1));
      ASSERT_LE(less, more * (1 + 1e-9)) << rows;
      ASSERT_GE(less / rows, more / (rows + 1) * (1 - 1e-9)) << rows;
    }
  }
}

TEST(StepTimesTest, FollowsAMachineThatChangesItsSpeed) {
  StepTimes times;
  for (const double factor : {1.0, 3.0, 0.5}) {
    for (int i = 0; i < 25; ++i) {
      for (const uint32_t rows : {4U, 16U, 50U}) {
        times.Observe(Load(rows), static_cast<int64_t>(factor * ComputeBound(rows)));
      }
    }
    for (const uint32_t rows : {4U, 16U, 50U}) {
      EXPECT_NEAR(times.Us(Load(rows)) / (factor * ComputeBound(rows)), 1, 0.05) << factor;
    }
  }
}

}  // namespace
}  // namespace quire
