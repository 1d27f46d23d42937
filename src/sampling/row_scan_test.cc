#include "sampling/row_scan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "sampling/sampling_testing.h"

namespace quire {
namespace {

std::vector<float> RandomRow(std::mt19937& random, size_t size) {
  std::normal_distribution<float> normal(0, 4);
  std::vector<float> row(size);
  for (float& x : row) x = std::round(normal(random) * 8) / 8;  // coarse: many ties
  return row;
}

TEST(RowScan, FindsTheFirstMaximumAtEveryLength) {
  std::mt19937 random(1);
  for (size_t size = 1; size < 300; ++size) {
    const std::vector<float> row = RandomRow(random, size);
    std::vector<float> block_max(NumScanBlocks(size));
    const RowScan scan = ScanRow(row, block_max);
    const auto best = std::max_element(row.begin(), row.end());
    EXPECT_TRUE(scan.is_valid);
    EXPECT_EQ(scan.max, *best);
    EXPECT_EQ(scan.argmax, best - row.begin());
  }
}

TEST(RowScan, FindsNanAndInfinityAtEveryPlace) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(), kInf}) {
    for (size_t at = 0; at < 150; ++at) {
      std::vector<float> row(150, -1.0F);
      std::vector<float> block_max(NumScanBlocks(row.size()));
      EXPECT_TRUE(ScanRow(row, block_max).is_valid);
      row[at] = bad;
      EXPECT_FALSE(ScanRow(row, block_max).is_valid) << at;
    }
  }
}

TEST(RowScan, AllMinusInfinityIsNoDistribution) {
  std::vector<float> row(100, -kInf);
  std::vector<float> block_max(NumScanBlocks(row.size()));
  EXPECT_FALSE(ScanRow(row, block_max).is_valid);
  row[99] = -3;
  const RowScan scan = ScanRow(row, block_max);
  EXPECT_TRUE(scan.is_valid);
  EXPECT_EQ(scan.argmax, 99);
}

TEST(RowScan, WeightsAreExponentialsAndVanishFarBelow) {
  std::vector<float> logits;
  for (float x = 0; x > -86.9F; x -= 0.0137F) logits.push_back(x);
  std::vector<float> weights(logits.size());
  ComputeWeights(logits, 0, 1, weights.data());
  for (size_t i = 0; i < logits.size(); ++i) {
    const double exact = std::exp(static_cast<double>(logits[i]));
    EXPECT_NEAR(weights[i] / exact, 1, 2e-7) << logits[i];
  }
  EXPECT_EQ(weights[0], 1.0F);
  const std::vector<float> far = {-88, -1000, -kInf, std::numeric_limits<float>::lowest()};
  weights.resize(far.size());
  ComputeWeights(far, 0, 1e5F, weights.data());
  for (const float weight : weights) EXPECT_EQ(weight, 0.0F);
}

TEST(RowScan, WeightOfATokenDoesNotDependOnItsPlace) {
  std::mt19937 random(2);
  const std::vector<float> row = RandomRow(random, 203);
  std::vector<float> all(row.size());
  ComputeWeights(row, 40, 0.7F, all.data());
  for (size_t i = 0; i < row.size(); ++i) {
    float alone = 0;
    ComputeWeights(std::span(row).subspan(i, 1), 40, 0.7F, &alone);
    EXPECT_EQ(alone, all[i]);
  }
}

TEST(RowScan, SumsBlocksAndCountsRanks) {
  std::mt19937 random(3);
  for (const size_t size : {1U, 63U, 64U, 65U, 1000U}) {
    const std::vector<float> row = RandomRow(random, size);
    std::vector<double> sums(NumScanBlocks(size));
    const float max = *std::max_element(row.begin(), row.end());
    double exact = 0;
    for (const float x : row) exact += std::exp(static_cast<double>(x - max));
    EXPECT_NEAR(SumWeights(row, max, 1, sums) / exact, 1, 1e-6);
    std::vector<int32_t> order(size);
    for (size_t i = 0; i < size; ++i) order[i] = static_cast<int32_t>(i);
    std::stable_sort(order.begin(), order.end(),
                     [&](int32_t a, int32_t b) { return row[static_cast<size_t>(a)] > row[static_cast<size_t>(b)]; });
    for (size_t i = 0; i < size; ++i) EXPECT_EQ(CountBefore(row, order[i]), i);
  }
}

TEST(RowScan, TheFloorOfTopKIsReachedByAtLeastK) {
  std::mt19937 random(4);
  const std::vector<float> row = RandomRow(random, 5000);
  std::vector<float> block_max(NumScanBlocks(row.size())), work(block_max.size()), logits(row.size());
  std::vector<int32_t> ids(row.size());
  ScanRow(row, block_max);
  for (const size_t k : {1U, 2U, 20U, 79U, 80U, 4000U}) {
    const float floor = FloorOfTopK(block_max, k, work);
    const size_t count = GatherAtLeast(row, block_max, floor, ids.data(), logits.data());
    EXPECT_GE(count, k);
    EXPECT_TRUE(std::is_sorted(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count)));
    EXPECT_EQ(count, static_cast<size_t>(std::count_if(row.begin(), row.end(), [&](float x) { return x >= floor; })));
  }
}

}  // namespace
}  // namespace quire
