#include "kv/swap_space.h"

#include <gtest/gtest.h>

#include "kv/kv_testing.h"

namespace quire {
namespace {

BlockTable TableOf(BlockPool& pool, uint32_t num_tokens) {
  BlockTable table(pool, kBlockSize);
  std::vector<CopyOnWrite> copies;
  EXPECT_TRUE(table.PrepareWrite(0, num_tokens, copies));
  return table;
}

TEST(SwapSpaceTest, TakesTheFirstPlacesFirstAndTheLastGivenNext) {
  SwapSpace space(3);
  EXPECT_EQ(space.Take(), SwapPlace{0});
  EXPECT_EQ(space.Take(), SwapPlace{1});
  space.Give(SwapPlace{0});
  EXPECT_EQ(space.Take(), SwapPlace{0});
  EXPECT_EQ(space.num_used(), 2U);
  EXPECT_EQ(space.num_free(), 1U);
}

TEST(SwapSpaceDeathTest, TakingFromAFullSpaceAndDoubleFreeAreDefects) {
  SwapSpace space(1);
  const SwapPlace place = space.Take();
  EXPECT_DEATH(space.Take(), "are taken");
  space.Give(place);
  EXPECT_DEATH(space.Give(place), "double free of swap place 0");
}

// Two tables of a fork: blocks 0 and 1 are shared, then 2 and 3 are one's own.
struct ForkedTables {
  ForkedTables() {
    std::vector<CopyOnWrite> copies;
    EXPECT_TRUE(a.PrepareWrite(8, 9, copies));
    EXPECT_TRUE(b.PrepareWrite(8, 9, copies));
  }
  std::vector<BlockTable*> all() { return {&a, &b}; }

  BlockPool pool{6};
  BlockTable a = TableOf(pool, 8);
  BlockTable b = a.Fork();
};

TEST(SwappedTablesTest, MovesEachDistinctBlockOnceAndKeepsTheSharing) {
  ForkedTables tables;
  SwapSpace space(10);
  const std::vector<const BlockTable*> read = {&tables.a, &tables.b};
  EXPECT_EQ(SwappedTables::CountDistinct(read), 4U);

  SwappedTables swapped;
  std::vector<SwapMove> out, in;
  ASSERT_TRUE(swapped.Out(space, tables.all(), out));
  EXPECT_EQ(out, (std::vector<SwapMove>{{BlockId{0}, SwapPlace{0}},
                                        {BlockId{1}, SwapPlace{1}},
                                        {BlockId{2}, SwapPlace{2}},
                                        {BlockId{3}, SwapPlace{3}}}));
  EXPECT_EQ(tables.pool.num_used(), 0U);
  EXPECT_EQ(space.num_used(), 4U);
  EXPECT_EQ(swapped.num_blocks(), 4U);
  EXPECT_EQ(tables.a.num_blocks(), 0U);

  ASSERT_TRUE(swapped.In(tables.pool, tables.all(), in));
  ASSERT_EQ(in.size(), 4U);
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(in[i].place, out[i].place);
  EXPECT_EQ(Blocks(tables.a), (std::vector{in[0].block, in[1].block, in[2].block}));
  EXPECT_EQ(Blocks(tables.b), (std::vector{in[0].block, in[1].block, in[3].block}));
  EXPECT_EQ(tables.a.NumShared(), 2U);
  EXPECT_EQ(tables.pool.num_used(), 4U);
  EXPECT_EQ(space.num_used(), 4U) << "until the moves have been carried out";
  swapped.Clear();
  EXPECT_EQ(space.num_used(), 0U);
  EXPECT_TRUE(swapped.empty());
  tables.a.Clear();
  tables.b.Clear();
  EXPECT_EQ(tables.pool.num_used(), 0U);
  tables.pool.CheckInvariants();
}

TEST(SwappedTablesTest, ASpaceThatIsTooSmallChangesNothing) {
  ForkedTables tables;
  SwapSpace space(3);
  SwappedTables swapped;
  std::vector<SwapMove> moves;
  const std::vector<BlockId> before = Blocks(tables.b);
  EXPECT_FALSE(swapped.Out(space, tables.all(), moves));
  EXPECT_TRUE(moves.empty());
  EXPECT_TRUE(swapped.empty());
  EXPECT_EQ(space.num_free(), 3U);
  EXPECT_EQ(Blocks(tables.b), before);
}

TEST(SwappedTablesTest, APoolThatIsTooFullChangesNothing) {
  ForkedTables tables;
  SwapSpace space(4);
  SwappedTables swapped;
  std::vector<SwapMove> moves;
  ASSERT_TRUE(swapped.Out(space, tables.all(), moves));
  moves.clear();
  BlockTable hog = TableOf(tables.pool, 3 * kBlockSize);
  EXPECT_FALSE(swapped.In(tables.pool, tables.all(), moves));
  EXPECT_TRUE(moves.empty());
  EXPECT_EQ(tables.pool.num_free(), 3U);
  hog.Clear();
  EXPECT_TRUE(swapped.In(tables.pool, tables.all(), moves));
}

TEST(SwappedTablesTest, WhatASequenceOutsideTheGroupSharesStaysInThePool) {
  ForkedTables tables;
  const BlockTable other = tables.a.ForkPrefix(1);
  SwapSpace space(4);
  SwappedTables swapped;
  std::vector<SwapMove> moves;
  ASSERT_TRUE(swapped.Out(space, tables.all(), moves));
  EXPECT_EQ(tables.pool.num_used(), 1U);
  EXPECT_EQ(tables.pool.references(BlockId{0}), 1U);
}

TEST(SwappedTablesTest, GivesItsPlacesBackWhenItGoes) {
  ForkedTables tables;
  SwapSpace space(4);
  std::vector<SwapMove> moves;
  {
    SwappedTables swapped;
    ASSERT_TRUE(swapped.Out(space, tables.all(), moves));
    const SwappedTables moved = std::move(swapped);
    EXPECT_EQ(moved.num_blocks(), 4U);
  }
  EXPECT_EQ(space.num_free(), 4U);
}

}  // namespace
}  // namespace quire
