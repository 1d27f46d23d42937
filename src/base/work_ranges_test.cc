#include "base/work_ranges.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "base/thread_team.h"

namespace quire {
namespace {

TEST(WorkRangesTest, ThreadTakesItsRangeInOrderThenFromTheEndOfTheLongest) {
  WorkRanges ranges(3);
  ranges.Deal(9);
  EXPECT_EQ(ranges.Take(1), 3);
  EXPECT_EQ(ranges.Take(1), 4);
  EXPECT_EQ(ranges.Take(1), 5);
  EXPECT_EQ(ranges.Take(0), 0);
  EXPECT_EQ(ranges.Take(1), 8);  // of 1, 2 and 6, 7, 8
  EXPECT_EQ(ranges.Take(1), 2);
  EXPECT_EQ(ranges.Take(2), 6);
  std::vector<int64_t> rest = {ranges.Take(1), ranges.Take(2)};
  std::sort(rest.begin(), rest.end());
  EXPECT_EQ(rest, (std::vector<int64_t>{1, 7}));
  for (int thread = 0; thread < 3; ++thread) EXPECT_EQ(ranges.Take(thread), -1);
}

TEST(WorkRangesTest, EachUnitIsTakenOnceByThreadsInARace) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadTeam team = *ThreadTeam::Start(threads);
    WorkRanges ranges(threads);
    for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
      for (int round = 0; round < 20; ++round) {
        std::vector<std::atomic<int>> taken(static_cast<size_t>(count));
        ranges.Deal(count);
        team.Run([&](int thread) {
          for (int64_t unit; (unit = ranges.Take(thread)) >= 0;) taken[static_cast<size_t>(unit)].fetch_add(1);
        });
        for (const auto& times : taken) ASSERT_EQ(times.load(), 1) << threads << " threads, " << count << " units";
      }
    }
  }
}

}  // namespace
}  // namespace quire
