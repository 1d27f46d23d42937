#include "llm/scheduling_options.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(SchedulingOptions, DefaultsArePagedContinuousAndSwapWhenItPays) {
  const LoadOptions options;
  ASSERT_TRUE(CheckSchedulingOptions(options).ok());
  EXPECT_EQ(*SwapBytes(options), size_t{4} << 30);
  EXPECT_EQ(*DiskBytes(options), 0U) << "no directory";
  const SchedulerConfig config = MakeSchedulerConfig(options, {.num_blocks = 7, .num_swap_blocks = 3});
  EXPECT_EQ(config.kv_policy, KvPolicyKind::kPaged);
  EXPECT_EQ(config.batching, Batching::kContinuous);
  EXPECT_EQ(config.policy, QueuePolicy::kFcfs);
  EXPECT_EQ(config.preemption_mode, PreemptionMode::kAuto);
  EXPECT_FALSE(config.fair);
  EXPECT_EQ(config.num_blocks, 7U);
  EXPECT_EQ(config.num_swap_blocks, 3U);
}

TEST(SchedulingOptions, ReadsEveryName) {
  const LoadOptions options = {.kv_policy = "reserve-pow2",
                               .batching = "static",
                               .scheduling_policy = "priority",
                               .fair = true,
                               .preemption_mode = "recompute"};
  ASSERT_TRUE(CheckSchedulingOptions(options).ok());
  const SchedulerConfig config = MakeSchedulerConfig(options, {});
  EXPECT_EQ(config.kv_policy, KvPolicyKind::kReservePow2);
  EXPECT_EQ(config.batching, Batching::kStatic);
  EXPECT_EQ(config.policy, QueuePolicy::kPriority);
  EXPECT_EQ(config.preemption_mode, PreemptionMode::kRecompute);
  EXPECT_TRUE(config.fair);
}

TEST(SchedulingOptions, NothingIsSwappedByRecomputeOrWithoutPaging) {
  EXPECT_EQ(*SwapBytes({.preemption_mode = "recompute"}), 0U);
  EXPECT_EQ(*SwapBytes({.kv_policy = "reserve-max"}), 0U);
  EXPECT_EQ(*SwapBytes({.swap_space = "0"}), 0U);
  EXPECT_EQ(*SwapBytes({.swap_space = "512MiB"}), size_t{512} << 20);
  EXPECT_EQ(*SwapBytes({.swap_space = "0.5"}), size_t{512} << 20);
}

TEST(SchedulingOptions, RefusesNonsenseNamingTheOption) {
  const auto message = [](const LoadOptions& options) {
    const Status status = CheckSchedulingOptions(options);
    return status.ok() ? std::string() : status.error().message;
  };
  EXPECT_NE(message({.kv_policy = "huge"}).find("--kv-policy huge"), std::string::npos);
  EXPECT_NE(message({.batching = "none"}).find("--batching"), std::string::npos);
  EXPECT_NE(message({.scheduling_policy = "x"}).find("--scheduling-policy"), std::string::npos);
  EXPECT_NE(message({.preemption_mode = "x"}).find("--preemption-mode"), std::string::npos);
  EXPECT_NE(message({.preemption_mode = "swap", .swap_space = "0"}).find("--swap-space"), std::string::npos);
  EXPECT_NE(message({.swap_space = "lots"}).find("--swap-space"), std::string::npos);
  EXPECT_NE(message({.kv_policy = "reserve-max", .shared_prefixes = {"f"}}).find("--shared-prefix"), std::string::npos);
  EXPECT_NE(message({.enable_prefix_caching = false, .prefix_cache_dir = "d"}).find("--prefix-cache-dir"),
            std::string::npos);
}

}  // namespace
}  // namespace quire
