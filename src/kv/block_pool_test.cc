#include "kv/block_pool.h"

#include <gtest/gtest.h>

#include "kv/kv_testing.h"

namespace quire {
namespace {

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

TEST(BlockPoolTest, ListsCachedBlocksInTheOrderOfTheirEviction) {
  BlockPool pool(4);
  EXPECT_EQ(pool.first_cached(), std::nullopt);
  Take(pool, 3);
  for (const uint32_t id : {1U, 0U, 2U}) {
    pool.SetReusable(BlockId{id}, true);
    pool.Release(BlockId{id});
  }
  std::vector<BlockId> listed;
  for (auto block = pool.first_cached(); block; block = pool.next_cached(*block)) listed.push_back(*block);
  EXPECT_EQ(listed, Ids({1, 0, 2}));
}

TEST(BlockPoolTest, ReadingABlockDoesNotSaveItFromEviction) {
  BlockPool pool(2);
  for (const BlockId block : Take(pool, 2)) {
    pool.SetReusable(block, true);
    pool.Release(block);
  }
  pool.AddReference(BlockId{0});
  pool.ReleaseUnused(BlockId{0});
  EXPECT_EQ(pool.first_cached(), BlockId{0});
  pool.AddReference(BlockId{0});
  pool.AddReference(BlockId{0});
  pool.ReleaseUnused(BlockId{0});
  EXPECT_EQ(pool.references(BlockId{0}), 1U);
  pool.Release(BlockId{0});
  EXPECT_EQ(pool.first_cached(), BlockId{1}) << "somebody has used it";
  pool.CheckInvariants();
}

TEST(BlockPoolTest, TheStoredMarkGoesWithTheContentAndWhatGoesUnstoredIsCounted) {
  BlockPool pool(2);
  for (const BlockId block : Take(pool, 2)) {
    pool.SetReusable(block, true);
    pool.Release(block);
  }
  pool.SetStored(BlockId{0}, true);
  pool.AddReference(BlockId{0});
  EXPECT_TRUE(pool.stored(BlockId{0}));
  pool.Release(BlockId{0});
  EXPECT_EQ(Take(pool, 2), Ids({1, 0}));
  EXPECT_FALSE(pool.stored(BlockId{0}));
  EXPECT_EQ(pool.num_evicted_unstored(), 1U);
}

std::vector<BlockId> TakeChunk(BlockPool& pool, uint32_t size) {
  std::vector<BlockId> blocks;
  EXPECT_TRUE(pool.AllocateChunk(size, blocks));
  return blocks;
}

TEST(ContiguousBlockPoolTest, GivesConsecutiveBlocksAndTakesThemBackOneByOne) {
  BlockPool pool(6, nullptr, 4);
  const std::vector<BlockId> two = TakeChunk(pool, 2), four = TakeChunk(pool, 4);
  EXPECT_EQ(two, Ids({4, 5}));
  EXPECT_EQ(four, Ids({0, 1, 2, 3}));
  EXPECT_EQ(pool.num_used(), 6U);
  std::vector<BlockId> more;
  EXPECT_FALSE(pool.AllocateChunk(1, more));
  EXPECT_TRUE(more.empty());
  for (const BlockId block : Ids({2, 0, 3})) pool.Release(block);
  pool.CheckInvariants();
  EXPECT_EQ(pool.num_free(), 3U);
  EXPECT_EQ(pool.num_free_below(4), 3U);
  EXPECT_EQ(pool.num_free_below(2), 1U);
  EXPECT_EQ(pool.num_chunks(2), 1U);
  pool.Release(BlockId{1});
  EXPECT_EQ(pool.num_chunks(4), 1U);
  pool.CheckInvariants();
}

TEST(ContiguousBlockPoolDeathTest, HasNoSingleBlocksAndCachesNothing) {
  BlockPool pool(4, nullptr, 4);
  const std::vector<BlockId> blocks = TakeChunk(pool, 2);
  std::vector<BlockId> more;
  EXPECT_DEATH(pool.Allocate(1, more), "contiguous");
  EXPECT_DEATH(pool.SetReusable(blocks[0], true), "caches nothing");
  pool.Release(blocks[0]);
  EXPECT_DEATH(pool.Release(blocks[0]), "double free");
  BlockPool single(4);
  EXPECT_DEATH(single.AllocateChunk(1, more), "single blocks");
}

}  // namespace
}  // namespace quire
