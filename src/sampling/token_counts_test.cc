#include "sampling/token_counts.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace quire {
namespace {

TEST(TokenCounts, CountsLikeAMapThroughGrowthAndReset) {
  const unsigned seed = 7;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  TokenCounts counts;
  for (int round = 0; round < 20; ++round) {
    counts.Reset();
    std::map<int32_t, std::pair<bool, int32_t>> expected;
    const int distinct = 1 + static_cast<int>(random() % 2000);
    for (int i = 0; i < 3000; ++i) {
      const auto token = static_cast<int32_t>(random() % static_cast<unsigned>(distinct)) * 64;
      if (random() % 3 == 0) {
        counts.AddPrompt(token);
        expected[token].first = true;
      } else {
        counts.AddOutput(token);
        ++expected[token].second;
      }
    }
    ASSERT_EQ(counts.entries().size(), expected.size());
    for (const TokenCounts::Entry& entry : counts.entries()) {
      EXPECT_EQ(entry.in_prompt, expected[entry.token].first);
      EXPECT_EQ(entry.output_count, expected[entry.token].second);
    }
  }
}

TEST(TokenCounts, KeepsEntriesThroughReserve) {
  TokenCounts counts;
  counts.AddOutput(5);
  counts.Reserve(1000);
  counts.AddOutput(5);
  ASSERT_EQ(counts.entries().size(), 1U);
  EXPECT_EQ(counts.entries()[0].output_count, 2);
}

}  // namespace
}  // namespace quire
