#include "base/thread_team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace quire {
namespace {

TEST(ThreadTeam, EveryMemberRunsOncePerCall) {
  for (const int num_threads : {1, 2, 3, 8}) {
    ThreadTeam team = *ThreadTeam::Start(num_threads);
    std::vector<std::atomic<int>> counts(static_cast<size_t>(num_threads));
    for (int call = 0; call < 200; ++call) team.Run([&](int index) { ++counts[static_cast<size_t>(index)]; });
    for (const auto& count : counts) EXPECT_EQ(count, 200);
  }
}

TEST(ThreadTeam, ParallelForCoversTheRangeExactlyOnce) {
  ThreadTeam team = *ThreadTeam::Start(3);
  for (const int64_t size : {0, 1, 2, 3, 100}) {
    std::vector<std::atomic<int>> hits(static_cast<size_t>(size));
    team.ParallelFor(size, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
    });
    for (const auto& hit : hits) EXPECT_EQ(hit, 1);
  }
}

TEST(ThreadTeam, WakesMembersThatHaveGoneToSleep) {
  ThreadTeam team = *ThreadTeam::Start(2);
  std::atomic<int> calls = 0;
  for (int round = 0; round < 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // long past the spinning
    team.Run([&](int) { ++calls; });
  }
  EXPECT_EQ(calls, 6);
}

}  // namespace
}  // namespace quire
