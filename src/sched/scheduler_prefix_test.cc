// Prefixes that stay: pinned ones, who reads and writes the cache, and names that collide. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

using testing::ElementsAre;

TEST(SchedulerPinTest, ASharedPrefixStaysWhateverComesAndIsComputedOnce) {
  SchedulerHarness h(TestConfig(8));
  Request prefix = TestRequest(1, 40, 1);
  prefix.pins_prompt = true;
  h.Add(prefix);
  h.RunAll();
  EXPECT_EQ(h.scheduler.num_pinned_blocks(), 2U);
  h.Add(TestRequest(2, 80, 10));  // evicts whatever it can
  h.RunAll();
  Request task = TestRequest(1, 40, 4);
  task.id = RequestId{3};
  h.Add(task);
  h.RunAll();
  EXPECT_THAT(h.of(3).cached_tokens, ElementsAre(32U));
  EXPECT_TRUE(h.scheduler.ResetPrefixCache());
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 2U);
  EXPECT_FALSE(h.scheduler.Add(TestRequest(4, 100, 10)).ok()) << "six blocks are left";
}

TEST(SchedulerPinTest, APrefixBesideWhichARequestThatIsHereWouldNotFitIsNotPinned) {
  SchedulerHarness h(TestConfig(10));
  Request prefix = TestRequest(1, 32, 1);
  prefix.pins_prompt = true;
  h.Add(TestRequest(2, 100, 50));
  h.Add(prefix);
  h.RunAll();
  EXPECT_NE(h.of(1).error.find("would not fit"), std::string::npos);
  EXPECT_EQ(h.scheduler.num_pinned_blocks(), 0U);
  EXPECT_EQ(h.of(2).tokens, Alone(TestRequest(2, 100, 50)));
  prefix.id = RequestId{3};
  h.Add(prefix);
  h.RunAll();
  EXPECT_EQ(h.scheduler.num_pinned_blocks(), 2U);
}

TEST(SchedulerPrefixTest, ARequestMayOptOutOfReadingOrWriting) {
  SchedulerHarness h(TestConfig(30));
  Request request = TestRequest(1, 48, 2);
  request.writes_prefix_cache = false;
  h.Add(request);
  h.RunAll();
  EXPECT_EQ(h.scheduler.Stats().num_blocks_cached, 0U);
  request.writes_prefix_cache = true;
  request.id = RequestId{2};
  h.Add(request);
  h.RunAll();
  request.id = RequestId{3};
  request.reads_prefix_cache = false;
  h.Add(request);
  h.RunAll();
  EXPECT_THAT(h.of(3).cached_tokens, ElementsAre(0U));
}

// All prefixes of one length have one name: only the comparison of tokens tells them apart.
PrefixDigest DigestOfTheLength(const PrefixDigest& parent, std::span<const int32_t> /*tokens*/) {
  return {.high = parent.high, .low = parent.low + 1};
}

TEST(SchedulerCollisionTest, PrefixesWithOneNameAreToldApartInMemory) {
  SchedulerConfig config = TestConfig(100);
  config.next_digest = DigestOfTheLength;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 4; ++id) {
    h.Add(TestRequest(id, 80, 20));
    h.RunAll();
    EXPECT_EQ(h.of(id).tokens, Alone(TestRequest(id, 80, 20)));
    EXPECT_EQ(h.of(id).cached_tokens, std::vector<uint32_t>{0}) << "not another one's";
  }
  Request again = TestRequest(2, 80, 20);
  again.id = RequestId{9};
  h.Add(again);
  h.RunAll();
  EXPECT_EQ(h.of(9).tokens, Alone(again));
  EXPECT_EQ(h.of(9).cached_tokens, std::vector<uint32_t>{64}) << "but its own";
}

TEST(SchedulerCollisionTest, PrefixesWithOneNameAreToldApartOnDisk) {
  SchedulerConfig config = TestConfig(20);
  config.num_disk_blocks = 100;
  config.next_digest = DigestOfTheLength;
  FakeRunnerOptions options;
  options.disk = std::make_shared<FakeDisk>();
  SchedulerHarness h(config, options);
  for (const uint64_t id : {1, 2, 3, 1, 2, 3}) {
    Request request = TestRequest(id, 160, 20);
    request.id = RequestId{id + 10 * h.records.size()};
    h.Add(request);
    h.RunAll();
    EXPECT_EQ(h.records.at(request.id).tokens, Alone(request));
    h.scheduler.StorePrefixCache();
    while (h.scheduler.stores_prefix_cache()) h.Step();
  }
  EXPECT_GT(h.scheduler.Stats().transfers[Transfer::Kind::kLoad].failed, 0U) << "what was there was another one's";
}

}  // namespace
}  // namespace quire
