#include "llm/scheduling_options.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(SchedulingOptions, DefaultsArePagedContinuousAndSwapWhenItPays) {
  const LoadOptions options;
  EXPECT_EQ(SwapBytes(options), size_t{4} << 30);
  EXPECT_EQ(DiskBytes(options), 0U) << "no directory";
  const SchedulerConfig config = MakeSchedulerConfig(options, {.num_blocks = 7, .num_swap_blocks = 3});
  EXPECT_EQ(config.kv_policy, KvPolicyKind::kPaged);
  EXPECT_EQ(config.batching, Batching::kContinuous);
  EXPECT_EQ(config.policy, QueuePolicy::kFcfs);
  EXPECT_EQ(config.preemption_mode, PreemptionMode::kAuto);
  EXPECT_FALSE(config.fair);
  EXPECT_EQ(config.num_blocks, 7U);
  EXPECT_EQ(config.num_swap_blocks, 3U);
}

TEST(SchedulingOptions, ReachTheScheduler) {
  const LoadOptions options = {.kv_policy = KvPolicyKind::kReservePow2,
                               .scheduling_policy = QueuePolicy::kPriority,
                               .fair = true,
                               .batching = Batching::kStatic,
                               .preemption_mode = PreemptionMode::kRecompute};
  const SchedulerConfig config = MakeSchedulerConfig(options, {});
  EXPECT_EQ(config.kv_policy, KvPolicyKind::kReservePow2);
  EXPECT_EQ(config.batching, Batching::kStatic);
  EXPECT_EQ(config.policy, QueuePolicy::kPriority);
  EXPECT_EQ(config.preemption_mode, PreemptionMode::kRecompute);
  EXPECT_TRUE(config.fair);
}

TEST(SchedulingOptions, NothingIsSwappedByRecomputeOrWithoutPaging) {
  EXPECT_EQ(SwapBytes({.preemption_mode = PreemptionMode::kRecompute}), 0U);
  EXPECT_EQ(SwapBytes({.kv_policy = KvPolicyKind::kReserveMax}), 0U);
  EXPECT_EQ(SwapBytes({.swap_space = "0"}), 0U);
  EXPECT_EQ(SwapBytes({.swap_space = "512MiB"}), size_t{512} << 20);
  EXPECT_EQ(SwapBytes({.swap_space = "0.5"}), size_t{512} << 20);
}

TEST(SchedulingOptions, ADirectoryMakesRoomOnDisk) {
  EXPECT_EQ(DiskBytes({.prefix_cache_dir = "d"}), size_t{8} << 30);
  EXPECT_EQ(DiskBytes({.prefix_cache_dir = "d", .prefix_cache_disk = "1MiB"}), size_t{1} << 20);
}

}  // namespace
}  // namespace quire
