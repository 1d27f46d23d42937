// The prefix cache on disk: what is stored, when it comes back, and what fails. Pools are tiny.
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "sched/scheduler_testing.h"
#include "sched/step_driver_testing.h"

namespace quire {
namespace {

SchedulerConfig DiskConfig(uint32_t num_blocks) {
  SchedulerConfig config = TestConfig(num_blocks);
  config.num_disk_blocks = 100;
  config.max_disk_transfers = 4;
  return config;
}

std::vector<PrefixDigest> Contents(const FakeDisk& disk) {
  std::vector<PrefixDigest> digests;
  for (const auto& [digest, entry] : disk.entries) digests.push_back(digest);
  return digests;
}

// More than a pool of ten blocks holds, one after the other.
void EvictToDisk(SchedulerHarness& h) {
  for (uint64_t id = 1; id <= 4; ++id) {
    h.Add(TestRequest(id, 100, 40));
    h.RunAll();
  }
}

TEST(SchedulerDiskTest, EvictedBlocksGoToDiskAndComeBackOnAHit) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  options.disk_delay_steps = 3;
  SchedulerHarness h(DiskConfig(10), options);
  h.Add(TestRequest(1, 100, 5));
  h.RunAll();
  for (uint64_t id = 2; id <= 4; ++id) {
    h.Add(TestRequest(id, 100, 40));
    h.RunAll();
  }
  ASSERT_GT(options.disk->entries.size(), 6U);
  Request again = TestRequest(1, 100, 5);
  again.id = RequestId{9};
  h.Add(again);
  h.RunAll();
  EXPECT_GT(h.of(9).cached_tokens.at(0), 0U);
  EXPECT_GT(h.scheduler.Stats().transfers[Transfer::Kind::kLoad].completed, 0U);
  EXPECT_EQ(h.of(9).tokens, h.of(1).tokens);
}

TEST(SchedulerDiskTest, AtTheEndEveryCachedBlockGoesToDisk) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  options.disk_delay_steps = 3;
  SchedulerHarness h(DiskConfig(100), options);
  for (uint64_t id = 1; id <= 3; ++id) h.Add(TestRequest(id, 100, 40));
  h.RunAll();
  EXPECT_TRUE(options.disk->entries.empty()) << "memory had room";
  h.scheduler.StorePrefixCache();
  for (int step = 0; step < 100 && h.scheduler.stores_prefix_cache(); ++step) h.Step();
  EXPECT_FALSE(h.scheduler.stores_prefix_cache());
  EXPECT_EQ(options.disk->entries.size(), 3U * (139 / 16));
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 0U);
  EXPECT_FALSE(h.scheduler.HasWork());
}

TEST(SchedulerDiskTest, AtTheEndASmallDiskGetsWhatWouldBeEvictedLast) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  options.disk_delay_steps = 2;
  SchedulerConfig config = DiskConfig(100);
  config.num_disk_blocks = 7;
  SchedulerHarness h(config, options);
  for (uint64_t id = 1; id <= 4; ++id) {
    h.Add(TestRequest(id, 100, 2));
    h.RunAll();
  }
  h.scheduler.StorePrefixCache();
  for (int step = 0; step < 100 && h.scheduler.stores_prefix_cache(); ++step) h.Step();
  EXPECT_EQ(h.scheduler.Stats().transfers[Transfer::Kind::kStore].completed, 7U)
      << "nothing is stored to be given up again";
  config.max_disk_transfers = 10;
  Scheduler next(config, Contents(*options.disk));
  ASSERT_TRUE(next.Add(TestRequest(4, 100, 2)).ok());
  size_t num_loads = 0;
  for (const Transfer& transfer : next.Plan().transfers) num_loads += transfer.kind == Transfer::Kind::kLoad ? 1 : 0;
  EXPECT_EQ(num_loads, 6U) << "of the last request, all that can be used";
}

TEST(SchedulerDiskTest, AtTheEndAFailedStoreIsTheLast) {
  SchedulerHarness h(DiskConfig(100));  // the runner has no disk
  h.Add(TestRequest(1, 1000, 2));
  h.RunAll();
  h.scheduler.StorePrefixCache();
  for (int step = 0; step < 10 && h.scheduler.stores_prefix_cache(); ++step) h.Step();
  EXPECT_FALSE(h.scheduler.stores_prefix_cache());
  EXPECT_FALSE(h.scheduler.HasWork());
}

TEST(SchedulerDiskTest, TheNextProcessHitsWhatThisOneStored) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  SchedulerConfig config = DiskConfig(10);
  {
    SchedulerHarness h(config, options);
    for (uint64_t id = 1; id <= 4; ++id) {
      h.Add(TestRequest(id, 100, 40));
      h.RunAll();
    }
  }
  Scheduler scheduler(config, Contents(*options.disk));
  options.num_seats = config.max_num_seqs;
  options.num_blocks = config.num_blocks;
  FakeRunner runner(options);
  ASSERT_TRUE(scheduler.Add(TestRequest(1, 100, 5)).ok());
  StepDriver driver(scheduler, runner);
  uint32_t num_cached = 0;
  std::vector<int32_t> tokens;
  while (driver.HasWork()) {
    for (const SchedulerEvent& event : driver.Step()) {
      if (event.kind == SchedulerEvent::Kind::kAdmitted) num_cached = event.num_cached_tokens;
      for (const TokenOutput& token : event.tokens) tokens.push_back(token.token);
    }
  }
  EXPECT_GT(num_cached, 0U);
  EXPECT_EQ(tokens, Alone(TestRequest(1, 100, 5)));
}

TEST(SchedulerDiskTest, AFileThatIsGoneMeansComputingAndIsNotAskedForAgain) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  SchedulerHarness h(DiskConfig(10), options);
  EvictToDisk(h);
  options.disk->entries.clear();
  for (uint64_t id : {11, 12}) {
    Request again = TestRequest(1, 100, 5);
    again.id = RequestId{id};
    h.Add(again);
    h.RunAll();
    EXPECT_EQ(h.of(id).tokens, Alone(TestRequest(1, 100, 5)));
  }
  EXPECT_GT(h.scheduler.Stats().transfers[Transfer::Kind::kLoad].failed, 0U);
}

TEST(SchedulerDiskTest, AResetForgetsTheDiskToo) {
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  SchedulerHarness h(DiskConfig(10), options);
  EvictToDisk(h);
  ASSERT_TRUE(h.scheduler.ResetPrefixCache());
  for (int i = 0; i < 5; ++i) h.Step();
  EXPECT_TRUE(options.disk->entries.empty());
  EXPECT_EQ(h.scheduler.Stats().num_disk_blocks, 0U);
}

// A prompt of 40 blocks is on disk and not in memory.
class SchedulerLoads : public testing::Test {
 protected:
  static constexpr uint32_t kNumBlocks = 60, kLoads = 8;

  SchedulerLoads() {
    config_ = TestConfig(kNumBlocks);
    config_.num_disk_blocks = 200;
    config_.max_disk_transfers = kLoads;
    options_.disk = std::make_shared<FakeDisk>();
    harness_.emplace(config_, options_);
    harness_->Add(kPrompt);
    harness_->RunAll();
    harness_->scheduler.StorePrefixCache();
    while (harness_->scheduler.stores_prefix_cache()) harness_->Step();
    harness_->Add(TestRequest(2, 59 * 16, 10));
    harness_->RunAll();
  }

  const Request kPrompt = TestRequest(1, 41 * 16, 10);
  SchedulerConfig config_;
  FakeRunnerOptions options_;
  std::optional<SchedulerHarness> harness_;
};

TEST_F(SchedulerLoads, AreIssuedAFewAtATimeAndCountAsCached) {
  Request again = kPrompt;
  again.id = RequestId{3};
  harness_->Add(again);
  uint32_t num_loads = 0;
  while (harness_->driver.HasWork()) {
    harness_->Step();
    const auto loads = std::ranges::count(harness_->driver.plan().transfers, Transfer::Kind::kLoad, &Transfer::kind);
    EXPECT_LE(loads, kLoads);
    num_loads += static_cast<uint32_t>(loads);
  }
  EXPECT_GT(num_loads, 2 * kLoads);
  EXPECT_EQ(harness_->of(3).cached_tokens, (std::vector<uint32_t>{40 * 16}));
  EXPECT_EQ(harness_->of(3).tokens, Alone(kPrompt));
}

TEST_F(SchedulerLoads, OfARequestThatIsAbortedHoldFewBlocksAndEnd) {
  Request again = kPrompt;
  again.id = RequestId{3};
  harness_->Add(again);
  harness_->Plan();
  harness_->Run();
  harness_->scheduler.Abort(RequestId{3});
  harness_->scheduler.CheckInvariants();
  EXPECT_LE(harness_->scheduler.Stats().num_blocks_used, kLoads);
  harness_->Apply();
  harness_->Add(TestRequest(4, 50 * 16, 10));
  harness_->RunAll();
  EXPECT_EQ(harness_->of(4).tokens, Alone(TestRequest(4, 50 * 16, 10)));
  EXPECT_EQ(harness_->scheduler.Stats().num_blocks_used, 0U);
}

}  // namespace
}  // namespace quire
