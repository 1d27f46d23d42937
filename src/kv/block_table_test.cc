#include "kv/block_table.h"

#include <gtest/gtest.h>

#include <tuple>

#include "kv/kv_testing.h"

namespace quire {
namespace {

// Makes a new pool give out its blocks in this order.
void SetOrder(BlockPool& pool, std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> all;
  ASSERT_TRUE(pool.Allocate(static_cast<uint32_t>(ids.size()), all));
  for (const BlockId block : Ids(ids)) pool.Release(block);
}

BlockTable TableOf(BlockPool& pool, uint32_t block_size, uint32_t num_tokens) {
  BlockTable table(pool, block_size);
  std::vector<CopyOnWrite> copies;
  EXPECT_TRUE(table.PrepareWrite(0, num_tokens, copies));
  EXPECT_TRUE(copies.empty());
  return table;
}

TEST(BlockTableTest, TakesTheTokensDividedByTheBlockSizeRoundedUp) {
  BlockPool pool(50);
  for (int round = 0; round < 5; ++round) {
    std::vector<BlockTable> tables;
    for (uint32_t i = 1; i <= 5; ++i) {
      tables.push_back(TableOf(pool, 4, 17));
      EXPECT_EQ(tables.back().num_blocks(), 5U);
      EXPECT_EQ(pool.num_used(), 5 * i);
    }
    tables.clear();
    EXPECT_EQ(pool.num_free(), 50U) << "the count is conserved";
  }
}

class BlockTableAppendTest : public testing::TestWithParam<std::tuple<uint32_t, uint32_t, uint32_t>> {};

TEST_P(BlockTableAppendTest, AppendingAddsTheDifferenceOfRoundedUpBlockCountsThenFillsWithoutNewBlocks) {
  const auto [block_size, n, m] = GetParam();
  BlockPool pool(300);
  BlockTable table = TableOf(pool, block_size, n);
  const uint32_t before = table.num_blocks();
  std::vector<CopyOnWrite> copies;
  const uint32_t expected = BlocksForTokens(n + m, block_size) - BlocksForTokens(n, block_size);
  EXPECT_EQ(table.NumBlocksToWrite(n, n + m), expected);
  ASSERT_TRUE(table.PrepareWrite(n, n + m, copies));
  EXPECT_EQ(table.num_blocks() - before, expected);
  EXPECT_EQ(pool.num_used(), table.num_blocks());
  const uint32_t reserved = table.num_blocks();
  for (uint32_t i = n + m; i < table.num_slots(); ++i) ASSERT_TRUE(table.PrepareWrite(i, i + 1, copies));
  EXPECT_EQ(table.num_blocks(), reserved);
  EXPECT_TRUE(copies.empty());
}

INSTANTIATE_TEST_SUITE_P(Sizes, BlockTableAppendTest,
                         testing::Combine(testing::Values(1U, 8U), testing::Values(1U, 16U, 129U),
                                          testing::Values(1U, 16U, 129U)));

TEST(BlockTableTest, GrowsTheSameUnderAnyChunking) {
  for (const uint32_t chunk : {1U, 3U, 8U, 50U}) {
    BlockPool pool(20);
    BlockTable table(pool, 8);
    std::vector<CopyOnWrite> copies;
    for (uint32_t i = 0; i < 100; i += chunk) {
      ASSERT_TRUE(table.PrepareWrite(i, std::min(i + chunk, 100U), copies));
    }
    EXPECT_EQ(table.num_blocks(), 13U);
  }
}

TEST(BlockTableTest, Figure6APromptOfSevenTokensFillsItsLastBlockThenTakesANewOne) {
  BlockPool pool(9);
  SetOrder(pool, {7, 1, 3, 0, 2, 4, 5, 6, 8});
  BlockTable table = TableOf(pool, 4, 7);
  std::vector<CopyOnWrite> copies;
  EXPECT_EQ(Blocks(table), Ids({7, 1})) << "4 tokens in block 7, 3 in block 1";
  ASSERT_TRUE(table.PrepareWrite(7, 8, copies));
  EXPECT_EQ(Blocks(table), Ids({7, 1})) << "block 1 has 4 now";
  ASSERT_TRUE(table.PrepareWrite(8, 9, copies));
  EXPECT_EQ(Blocks(table), Ids({7, 1, 3}));
  EXPECT_TRUE(copies.empty());
}

TEST(BlockTableTest, ForkSharesTheSameIdsAndAllocatesNothing) {
  BlockPool pool(10);
  auto parent = std::make_unique<BlockTable>(TableOf(pool, 4, 10));
  auto child = std::make_unique<BlockTable>(parent->Fork());
  EXPECT_EQ(Blocks(*child), Blocks(*parent));
  EXPECT_EQ(pool.num_used(), 3U);
  parent.reset();
  EXPECT_EQ(pool.num_used(), 3U) << "freeing the parent frees nothing";
  child.reset();
  EXPECT_EQ(pool.num_used(), 0U) << "freeing the child frees all";
}

class CopyOnWriteTest : public testing::TestWithParam<bool> {};

TEST_P(CopyOnWriteTest, WhoeverAppendsToAPartialBlockGetsOneCopyAndTheOtherKeepsItsTable) {
  const bool child_writes = GetParam();
  BlockPool pool(10);
  BlockTable parent = TableOf(pool, 4, 7);
  BlockTable child = parent.Fork();
  BlockTable& writer = child_writes ? child : parent;
  const BlockTable& other = child_writes ? parent : child;
  const std::vector<BlockId> before = Blocks(other);
  std::vector<CopyOnWrite> copies;
  EXPECT_EQ(writer.NumBlocksToWrite(7, 8), 1U);
  ASSERT_TRUE(writer.PrepareWrite(7, 8, copies));
  ASSERT_EQ(copies.size(), 1U);
  EXPECT_EQ(copies[0].table_index, 1U);
  EXPECT_EQ(copies[0].source, before[1]);
  EXPECT_NE(copies[0].destination, copies[0].source);
  EXPECT_EQ(writer.blocks()[1], copies[0].destination);
  EXPECT_EQ(writer.blocks()[0], before[0]) << "full blocks stay shared";
  EXPECT_EQ(Blocks(other), before);
  EXPECT_EQ(pool.num_used(), 3U);
  EXPECT_EQ(pool.references(copies[0].source), 1U);
  pool.CheckInvariants();
}

INSTANTIATE_TEST_SUITE_P(ForkOrOriginal, CopyOnWriteTest, testing::Bool());

TEST(BlockTableTest, Figure8TheFirstToWriteCopiesTheSecondWritesInPlace) {
  BlockPool pool(9);
  SetOrder(pool, {7, 1, 3, 0, 2, 4, 5, 6, 8});
  BlockTable a1 = TableOf(pool, 4, 7);
  BlockTable a2 = a1.Fork();
  EXPECT_EQ(pool.references(BlockId{7}), 2U);
  EXPECT_EQ(pool.references(BlockId{1}), 2U);
  std::vector<CopyOnWrite> copies;
  ASSERT_TRUE(a1.PrepareWrite(7, 8, copies));
  EXPECT_EQ(copies, (std::vector<CopyOnWrite>{{.table_index = 1, .source = BlockId{1}, .destination = BlockId{3}}}));
  EXPECT_EQ(Blocks(a1), Ids({7, 3}));
  EXPECT_EQ(pool.references(BlockId{1}), 1U);
  EXPECT_EQ(a1.NumShared(), 1U);
  ASSERT_TRUE(a2.PrepareWrite(7, 8, copies));
  EXPECT_EQ(copies.size(), 1U) << "in place";
  EXPECT_EQ(Blocks(a2), Ids({7, 1}));
}

void Append(BlockTable& table) {
  std::vector<CopyOnWrite> copies;
  ASSERT_TRUE(table.PrepareWrite(table.num_slots(), table.num_slots() + 1, copies));
  EXPECT_TRUE(copies.empty());
}

TEST(BlockTableTest, Figure9TheBeamsThatLiveOnShareTheirParentsBlocksAndTheOthersAreFreed) {
  BlockPool pool(13);
  // Four candidates: all share block 0, 0 to 2 share blocks 1 and 3, and candidate 3 has digressed after block 0.
  BlockTable candidate0 = TableOf(pool, 1, 1);
  BlockTable candidate3 = candidate0.Fork();
  for (int block = 0; block < 2; ++block) {
    Append(candidate0);
    Append(candidate3);
  }
  BlockTable candidate1 = candidate0.Fork(), candidate2 = candidate0.Fork();
  for (BlockTable* candidate : {&candidate0, &candidate1, &candidate2, &candidate3}) Append(*candidate);
  ASSERT_EQ(Blocks(candidate0), Ids({0, 1, 3, 5}));
  ASSERT_EQ(Blocks(candidate1), Ids({0, 1, 3, 6}));
  ASSERT_EQ(Blocks(candidate2), Ids({0, 1, 3, 7}));
  ASSERT_EQ(Blocks(candidate3), Ids({0, 2, 4, 8}));

  // The four best continuations come from candidates 1 and 2.
  candidate0 = candidate1.Fork();
  candidate3 = candidate2.Fork();
  for (const uint32_t freed : {2U, 4U, 5U, 8U}) EXPECT_EQ(pool.references(BlockId{freed}), 0U);
  EXPECT_EQ(pool.num_used(), 5U);
  for (BlockTable* candidate : {&candidate0, &candidate1, &candidate2, &candidate3}) Append(*candidate);
  EXPECT_EQ(Blocks(candidate0), Ids({0, 1, 3, 6, 9}));
  EXPECT_EQ(Blocks(candidate1), Ids({0, 1, 3, 6, 10}));
  EXPECT_EQ(Blocks(candidate2), Ids({0, 1, 3, 7, 11}));
  EXPECT_EQ(Blocks(candidate3), Ids({0, 1, 3, 7, 12}));
  for (const uint32_t by_all : {0U, 1U, 3U}) EXPECT_EQ(pool.references(BlockId{by_all}), 4U);
  for (const uint32_t by_two : {6U, 7U}) EXPECT_EQ(pool.references(BlockId{by_two}), 2U);
}

TEST(BlockTableTest, AForkOfAPrefixSharesItsBlocksOnly) {
  BlockPool pool(10);
  const BlockTable table = TableOf(pool, 4, 12);
  {
    const BlockTable prefix = table.ForkPrefix(2);
    EXPECT_EQ(Blocks(prefix), Ids({0, 1}));
    EXPECT_EQ(table.NumShared(), 2U);
    EXPECT_EQ(table.ForkPrefix(0).num_blocks(), 0U);
  }
  EXPECT_EQ(table.NumShared(), 0U);
}

TEST(BlockTableTest, AReservedChunkIsConsecutiveAndNeverGrows) {
  BlockPool pool(8, nullptr, 8);
  BlockTable a(pool, 4), b(pool, 4);
  ASSERT_TRUE(a.ReserveChunk(9)) << "3 blocks, rounded up to 4";
  EXPECT_EQ(Blocks(a), Ids({0, 1, 2, 3}));
  EXPECT_FALSE(b.ReserveChunk(17)) << "no chunk of 8 is left";
  EXPECT_EQ(b.num_blocks(), 0U);
  ASSERT_TRUE(b.ReserveChunk(16));
  EXPECT_EQ(Blocks(b), Ids({4, 5, 6, 7}));
  std::vector<CopyOnWrite> copies;
  EXPECT_EQ(a.NumBlocksToWrite(0, 16), 0U);
  ASSERT_TRUE(a.PrepareWrite(0, 16, copies));
  EXPECT_TRUE(copies.empty());
  a.Clear();
  b.Clear();
  ASSERT_TRUE(a.ReserveChunk(32)) << "the buddies have merged";
  pool.CheckInvariants();
}

TEST(BlockTableTest, NoCopyWhenTheLastBlockIsFull) {
  BlockPool pool(10);
  BlockTable parent = TableOf(pool, 4, 8);
  BlockTable child = parent.Fork();
  std::vector<CopyOnWrite> copies;
  ASSERT_TRUE(child.PrepareWrite(8, 9, copies));
  EXPECT_TRUE(copies.empty());
  EXPECT_EQ(child.num_blocks(), 3U);
  EXPECT_EQ(parent.num_blocks(), 2U);
}

TEST(BlockTableTest, ACopyAndNewBlocksComeTogetherAndOnlyAllAtOnce) {
  BlockPool pool(5);
  BlockTable parent = TableOf(pool, 4, 6);
  BlockTable child = parent.Fork();
  std::vector<CopyOnWrite> copies;
  EXPECT_EQ(child.NumBlocksToWrite(6, 20), 4U);
  EXPECT_FALSE(child.PrepareWrite(6, 20, copies)) << "three are free";
  EXPECT_TRUE(copies.empty());
  EXPECT_EQ(Blocks(child), Blocks(parent));
  ASSERT_TRUE(child.PrepareWrite(6, 16, copies));
  EXPECT_EQ(copies.size(), 1U);
  EXPECT_EQ(child.num_blocks(), 4U);
  EXPECT_EQ(pool.num_free(), 0U);
  child.CheckInvariants();
  pool.CheckInvariants();
}

TEST(BlockTableTest, AMovedTableTakesItsReferencesAlong) {
  BlockPool pool(10);
  BlockTable a = TableOf(pool, 4, 10);
  BlockTable b = std::move(a);
  EXPECT_EQ(b.num_blocks(), 3U);
  EXPECT_EQ(pool.num_used(), 3U);
  b = TableOf(pool, 4, 1);
  EXPECT_EQ(pool.num_used(), 1U);
  b.Clear();
  EXPECT_EQ(pool.num_used(), 0U);
}

}  // namespace
}  // namespace quire
