#include "base/inline_first.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace quire {
namespace {

TEST(InlineFirstTest, CountsAndWalksTheFirstAndTheOthers) {
  InlineFirst<int> one(7), three(1, {2, 3});
  EXPECT_EQ(one.size(), 1U);
  EXPECT_EQ(three.size(), 3U);
  for (int& value : three) value *= 10;
  EXPECT_EQ(three[0], 10);
  EXPECT_EQ(three[2], 30);
  EXPECT_EQ(one.front(), 7);
  const InlineFirst<int>& read = three;
  EXPECT_TRUE(std::ranges::equal(read, std::vector<int>{10, 20, 30}));
  EXPECT_TRUE(std::ranges::any_of(read, [](int value) { return value == 20; }));
}

TEST(InlineFirstTest, HoldsWhatOnlyMoves) {
  InlineFirst<std::unique_ptr<int>> from(std::make_unique<int>(5));
  const InlineFirst<std::unique_ptr<int>> to = std::move(from);
  EXPECT_EQ(*to[0], 5);
}

}  // namespace
}  // namespace quire
