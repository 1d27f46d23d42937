// The tier on disk over a cache of 40 blocks of 4 tokens, without anybody who moves bytes.
#include "kv/disk_tier.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace quire {
namespace {

class DiskTierTest : public testing::Test {
 protected:
  static constexpr uint32_t kBlockSize = 4;

  // Caches the full blocks of a prompt of num_blocks blocks, all of them its own.
  std::vector<int32_t> CachePrompt(int32_t first_token, uint32_t num_blocks) {
    std::vector<int32_t> tokens(num_blocks * kBlockSize + 1);
    std::iota(tokens.begin(), tokens.end(), first_token);
    SequenceKv kv = kv_.MakeSequence();
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(kv.table(0).PrepareWrite(0, static_cast<uint32_t>(tokens.size()), copies));
    kv_.Commit(kv, {}, tokens);
    return tokens;
  }

  // What of a prompt can be loaded once memory has forgotten it.
  std::vector<KvManager::Load> Loads(const DiskTier& tier, std::span<const int32_t> tokens) {
    KvManager other({.num_blocks = 40, .block_size = kBlockSize});
    const KvManager::Match match = other.MatchPrefix({}, tokens, tier.index());
    EXPECT_EQ(match.num_blocks, match.loads.size());
    return {match.loads.begin(), match.loads.end()};
  }

  // Takes free blocks, so that cached ones are near eviction.
  void TakeFree() {
    const uint32_t num_free = kv_.pool().num_free();
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(taken_.table(0).PrepareWrite(taken_.num_slots(), taken_.num_slots() + num_free * kBlockSize, copies));
  }

  // One step's writes, all of which end well or badly.
  size_t Store(DiskTier& tier, bool completed = true, uint32_t num_kept = 0) {
    ++step_;
    const DiskTier::Writes writes = tier.PlanWrites(step_, true, num_kept);
    num_drops_ += writes.drops.size();
    const std::vector<BlockId> blocks(writes.stores.begin(), writes.stores.end());
    for (const BlockId block : blocks) tier.EndStore(kv_.index().DigestOf(block), completed, step_);
    for (size_t i = blocks.size(); i-- > 0;) tier.GiveBack(blocks[i], completed);
    tier.CheckInvariants();
    kv_.CheckInvariants();
    return blocks.size();
  }

  KvManager kv_{{.num_blocks = 40, .block_size = kBlockSize}};
  SequenceKv taken_ = kv_.MakeSequence();
  uint64_t step_ = 0;
  size_t num_drops_ = 0;
};

TEST_F(DiskTierTest, StoresWhatIsNearEvictionAndFindsItAgain) {
  DiskTier tier(kv_, {.max_blocks = 100, .max_transfers = 4}, {});
  const std::vector<int32_t> tokens = CachePrompt(100, 6);
  EXPECT_EQ(Store(tier), 0U) << "nothing is near eviction";
  TakeFree();
  EXPECT_EQ(Store(tier), 4U) << "so many at a time";
  EXPECT_EQ(Store(tier), 2U);
  EXPECT_EQ(Store(tier), 0U) << "all is there";
  EXPECT_EQ(tier.counters().num_stored, 6U);
  EXPECT_EQ(tier.num_blocks(), 6U);
  EXPECT_EQ(Loads(tier, tokens).size(), 6U);
  EXPECT_EQ(Loads(tier, std::span(tokens).first(12)).size(), 2U) << "never the last token";
}

TEST_F(DiskTierTest, HoldsNothingThatThoseWhoRunNeed) {
  DiskTier tier(kv_, {.max_blocks = 100, .max_transfers = 4}, {});
  CachePrompt(100, 6);
  TakeFree();
  EXPECT_EQ(Store(tier, true, 5), 1U);
  EXPECT_EQ(Store(tier, true, 6), 0U);
  EXPECT_EQ(tier.PlanWrites(++step_, false, 0).stores.size(), 0U) << "a step without rows evicts nothing";
}

TEST_F(DiskTierTest, RestsAfterAFailedStore) {
  DiskTier tier(kv_, {.max_blocks = 100, .max_transfers = 4}, {});
  CachePrompt(100, 3);
  TakeFree();
  EXPECT_EQ(Store(tier, false), 3U);
  EXPECT_EQ(tier.counters().num_store_failures, 3U);
  EXPECT_EQ(tier.num_blocks(), 0U);
  EXPECT_EQ(Store(tier), 0U);
  step_ += 1000;
  EXPECT_EQ(Store(tier), 3U);
}

TEST_F(DiskTierTest, WhatIsFullGivesUpWhatWasUsedLongestAgo) {
  DiskTier tier(kv_, {.max_blocks = 3, .max_transfers = 4}, {});
  const std::vector<int32_t> first = CachePrompt(100, 2);
  const std::vector<int32_t> second = CachePrompt(200, 2);
  TakeFree();
  while (Store(tier) > 0) {
  }
  Store(tier);
  EXPECT_EQ(num_drops_, 1U);
  EXPECT_LT(Loads(tier, first).size() + Loads(tier, second).size(), 4U);
  EXPECT_EQ(tier.num_blocks(), 3U);
}

TEST_F(DiskTierTest, AFailedLoadIsForgottenAndItsBlockGivenBack) {
  DiskTier tier(kv_, {.max_blocks = 100, .max_transfers = 1}, {});
  const std::vector<int32_t> tokens = CachePrompt(100, 1);
  TakeFree();
  Store(tier);
  const PrefixDigest digest = Loads(tier, tokens)[0].digest;
  const BlockId block = taken_.table(0).at(0);
  tier.BeginLoad(block);
  EXPECT_FALSE(tier.CanLoad());
  EXPECT_EQ(kv_.pool().references(block), 2U);
  tier.EndLoad(block, digest, false);
  EXPECT_TRUE(tier.CanLoad());
  EXPECT_EQ(kv_.pool().references(block), 1U);
  EXPECT_TRUE(Loads(tier, tokens).empty());
  EXPECT_EQ(tier.counters().num_load_failures, 1U);
}

TEST_F(DiskTierTest, StoresAllOnRequestUnlessAStoreFails) {
  DiskTier tier(kv_, {.max_blocks = 100, .max_transfers = 4}, {});
  CachePrompt(100, 6);
  tier.StoreAll();
  EXPECT_TRUE(tier.stores_all());
  for (int i = 0; i < 4; ++i) Store(tier);
  EXPECT_FALSE(tier.stores_all());
  EXPECT_TRUE(tier.all_stored());
  EXPECT_EQ(tier.counters().num_stored, 6U);
  CachePrompt(200, 1);
  tier.StoreAll();
  Store(tier, false);
  EXPECT_FALSE(tier.stores_all());
  EXPECT_FALSE(tier.all_stored());
}

TEST_F(DiskTierTest, WithoutCapacityDoesNothing) {
  DiskTier tier(kv_, {}, {});
  const std::vector<int32_t> tokens = CachePrompt(100, 3);
  TakeFree();
  EXPECT_FALSE(tier.enabled());
  EXPECT_EQ(Store(tier), 0U);
  EXPECT_TRUE(Loads(tier, tokens).empty());
}

}  // namespace
}  // namespace quire
