#include "kv/block_pool.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

std::vector<BlockId> Ids(std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> blocks;
  for (const uint32_t id : ids) blocks.push_back(BlockId{id});
  return blocks;
}

std::vector<BlockId> Take(BlockPool& pool, uint32_t count) {
  std::vector<BlockId> blocks;
  EXPECT_TRUE(pool.Allocate(count, blocks));
  return blocks;
}

struct Evictions final : EvictionListener {
  void OnEvict(BlockId block) override { blocks.push_back(block); }
  std::vector<BlockId> blocks;
};

TEST(BlockPoolTest, FreeCountDropsByOneEachTimeAndAnExhaustedPoolGivesNothing) {
  BlockPool pool(4);
  for (uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(pool.num_free(), 4 - i);
    Take(pool, 1);
    pool.CheckInvariants();
  }
  std::vector<BlockId> more;
  EXPECT_FALSE(pool.Allocate(1, more));
  EXPECT_TRUE(more.empty());
  EXPECT_EQ(pool.num_used(), 4U);
}

TEST(BlockPoolTest, ABatchIsAllOrNothingAndABatchOfNoneDoesNothing) {
  BlockPool pool(4);
  std::vector<BlockId> blocks;
  EXPECT_FALSE(pool.Allocate(5, blocks));
  EXPECT_EQ(pool.num_free(), 4U);
  EXPECT_TRUE(pool.Allocate(0, blocks));
  EXPECT_TRUE(blocks.empty());
  EXPECT_TRUE(pool.Allocate(3, blocks));
  EXPECT_EQ(blocks, Ids({0, 1, 2}));
}

TEST(BlockPoolDeathTest, DoubleFreeIsADefect) {
  BlockPool pool(2);
  const BlockId block = Take(pool, 1).front();
  pool.Release(block);
  EXPECT_DEATH(pool.Release(block), "double free");
}

TEST(BlockPoolDeathTest, AFreeBlockCannotBeShared) {
  BlockPool pool(2);
  EXPECT_DEATH(pool.AddReference(BlockId{1}), "no content to share");
}

TEST(BlockPoolTest, FreedThenAllocatedUnderAFullPoolReturnsTheSameIdAHundredTimes) {
  BlockPool pool(8);
  const std::vector<BlockId> blocks = Take(pool, 8);
  for (int i = 0; i < 100; ++i) {
    pool.Release(blocks[3]);
    EXPECT_EQ(Take(pool, 1).front(), blocks[3]);
  }
  pool.CheckInvariants();
}

TEST(BlockPoolTest, PoolsAreIndependent) {
  BlockPool a(3), b(3);
  Take(a, 3);
  EXPECT_EQ(b.num_free(), 3U);
  EXPECT_EQ(Take(b, 1), Ids({0}));
}

TEST(BlockPoolTest, AReusableBlockIsCachedWhenReleasedAndComesBackByReference) {
  BlockPool pool(3);
  const BlockId block = Take(pool, 1).front();
  pool.SetReusable(block, true);
  EXPECT_EQ(pool.num_used(), 1U);
  pool.Release(block);
  EXPECT_EQ(pool.num_cached(), 1U);
  EXPECT_EQ(pool.num_free(), 2U);
  pool.AddReference(block);
  EXPECT_EQ(pool.num_cached(), 0U);
  EXPECT_EQ(pool.references(block), 1U);
  pool.CheckInvariants();
}

TEST(BlockPoolTest, TakesFreeBlocksBeforeCachedOnesAndCachedOnesByLastAccessOldestFirst) {
  Evictions evictions;
  BlockPool pool(4, &evictions);
  Take(pool, 3);
  for (const uint32_t id : {1U, 0U, 2U}) {
    pool.SetReusable(BlockId{id}, true);
    pool.Release(BlockId{id});
  }
  // A hit on block 1 makes it the one that was used last.
  pool.AddReference(BlockId{1});
  pool.Release(BlockId{1});
  EXPECT_EQ(Take(pool, 4), Ids({3, 0, 2, 1}));
  EXPECT_EQ(evictions.blocks, Ids({0, 2, 1}));
  EXPECT_FALSE(pool.reusable(BlockId{0}));
  pool.CheckInvariants();
}

TEST(BlockPoolTest, ACachedBlockThatIsNoLongerWorthKeepingIsFree) {
  Evictions evictions;
  BlockPool pool(2, &evictions);
  Take(pool, 1);
  pool.SetReusable(BlockId{0}, true);
  pool.Release(BlockId{0});
  pool.SetReusable(BlockId{0}, false);
  EXPECT_EQ(pool.num_free(), 2U);
  EXPECT_TRUE(evictions.blocks.empty());
  pool.CheckInvariants();
}

}  // namespace
}  // namespace quire
