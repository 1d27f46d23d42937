#include "kv/prefix_index.h"

#include <gtest/gtest.h>

#include <optional>

#include "kv/kv_testing.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

constexpr PrefixIndex::Options kOptions = {.num_blocks = 8, .block_size = kBlockSize, .seed = 1};

// Indexes the full blocks of `tokens` in `blocks`; returns the chain after each.
std::vector<PrefixChain> InsertAll(PrefixIndex& index, const PrefixScope& scope, const Tokens& tokens,
                                   std::initializer_list<uint32_t> blocks) {
  std::vector<PrefixChain> chains;
  PrefixChain chain = index.Root(scope);
  for (const uint32_t block : blocks) {
    const auto part = std::span(tokens).subspan(chain.depth * kBlockSize, kBlockSize);
    index.Extend(chain, scope, part);
    index.Insert(chain, 0, BlockId{block});
    chains.push_back(chain);
  }
  return chains;
}

std::vector<uint32_t> FindAll(const PrefixIndex& index, const PrefixScope& scope, const Tokens& tokens) {
  std::vector<uint32_t> found;
  PrefixChain chain = index.Root(scope);
  while ((chain.depth + 1) * kBlockSize <= tokens.size()) {
    const auto part = std::span(tokens).subspan(chain.depth * kBlockSize, kBlockSize);
    if (!index.Find(chain, index.DigestAfter(chain.digest, part), part)) break;
    const std::optional<BlockId> block = index.BlockOf(chain, 0);
    if (!block) break;
    found.push_back(static_cast<uint32_t>(*block));
  }
  return found;
}

TEST(PrefixIndexTest, EqualChainsHaveEqualDigests) {
  PrefixIndex a(kOptions), b(kOptions);
  const auto x = InsertAll(a, {}, Count(12), {0, 1, 2});
  const auto y = InsertAll(b, {}, Count(12), {5, 3, 4});
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(x[i].digest, y[i].digest);
}

TEST(PrefixIndexTest, AChangedEarlyBlockChangesAllLaterDigests) {
  PrefixIndex index(kOptions);
  Tokens changed = Count(12);
  changed[1] = 77;
  const auto x = InsertAll(index, {}, Count(12), {0, 1, 2});
  const auto y = InsertAll(index, {}, changed, {3, 4, 5});
  for (size_t i = 0; i < 3; ++i) EXPECT_NE(x[i].digest, y[i].digest);
}

TEST(PrefixIndexTest, TheSeedAndTheSaltAndTheAdapterSetTheRoot) {
  PrefixIndex one(kOptions), two({.num_blocks = 8, .block_size = kBlockSize, .seed = 2});
  EXPECT_EQ(one.Root({}).digest, PrefixIndex({.num_blocks = 4, .block_size = kBlockSize, .seed = 1}).Root({}).digest);
  EXPECT_NE(one.Root({}).digest, two.Root({}).digest);
  EXPECT_NE(one.Root({"a", 0}).digest, one.Root({}).digest);
  EXPECT_NE(one.Root({"", 1}).digest, one.Root({}).digest);
}

TEST(PrefixIndexTest, SaltAndAdapterIsolate) {
  PrefixIndex index(kOptions);
  InsertAll(index, {"a", 0}, Count(8), {0, 1});
  InsertAll(index, {"", 7}, Count(8), {2, 3});
  EXPECT_EQ(FindAll(index, {"a", 0}, Count(8)), (std::vector<uint32_t>{0, 1}));
  EXPECT_EQ(FindAll(index, {"", 7}, Count(8)), (std::vector<uint32_t>{2, 3}));
  EXPECT_TRUE(FindAll(index, {}, Count(8)).empty());
  EXPECT_TRUE(FindAll(index, {"b", 0}, Count(8)).empty());
  EXPECT_TRUE(FindAll(index, {"a", 7}, Count(8)).empty());
  index.CheckInvariants();
}

TEST(PrefixIndexTest, FindsTheLongestIndexedPrefixInFullBlocks) {
  PrefixIndex index(kOptions);
  InsertAll(index, {}, Count(12), {4, 5, 6});
  Tokens branch = Count(12);
  branch[9] = 99;
  EXPECT_EQ(FindAll(index, {}, branch), (std::vector<uint32_t>{4, 5}));
  EXPECT_EQ(FindAll(index, {}, Count(7)), (std::vector<uint32_t>{4}));
  EXPECT_TRUE(FindAll(index, {}, Count(8, 100)).empty());
}

TEST(PrefixIndexTest, ABlockIsNotFoundBehindAnotherParentThoughItsTokensAreEqual) {
  PrefixIndex index(kOptions);
  const Tokens x = {1, 1, 1, 1, 5, 5, 5, 5}, y = {2, 2, 2, 2, 5, 5, 5, 5};
  InsertAll(index, {}, x, {0, 1});
  InsertAll(index, {}, y, {2});
  EXPECT_EQ(FindAll(index, {}, y), (std::vector<uint32_t>{2}));
}

TEST(PrefixIndexTest, AHitIsProvenByTokensNotByTheDigest) {
  // A forged chain with the parent's digest but another identity finds nothing.
  PrefixIndex index(kOptions);
  const auto chains = InsertAll(index, {}, Count(8), {0, 1});
  PrefixChain forged = {.digest = chains[0].digest, .id = chains[0].id + 1000, .depth = 1};
  const Tokens next = Count(4, 4);
  EXPECT_FALSE(index.Find(forged, chains[1].digest, next));
  PrefixChain true_one = chains[0];
  EXPECT_TRUE(index.Find(true_one, chains[1].digest, next));
}

TEST(PrefixIndexTest, DuplicatesAreAllowedAndEvictingOneLeavesTheOtherReachable) {
  PrefixIndex index(kOptions);
  InsertAll(index, {}, Count(8), {0, 1});
  InsertAll(index, {}, Count(8), {2, 3});
  EXPECT_EQ(index.size(), 4U);
  const std::vector<uint32_t> first = FindAll(index, {}, Count(8));
  ASSERT_EQ(first.size(), 2U);
  for (const uint32_t block : first) index.Erase(BlockId{block});
  const std::vector<uint32_t> second = FindAll(index, {}, Count(8));
  ASSERT_EQ(second.size(), 2U);
  EXPECT_NE(second, first);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, AChildComputedBehindOneDuplicateIsFoundBehindTheOther) {
  PrefixIndex index(kOptions);
  InsertAll(index, {}, Count(4), {0});
  InsertAll(index, {}, Count(8), {2, 3});
  index.Erase(BlockId{2});
  EXPECT_EQ(FindAll(index, {}, Count(8)), (std::vector<uint32_t>{0, 3}));
}

TEST(PrefixIndexTest, ErasingABlockThatIsNotIndexedIsANoOp) {
  PrefixIndex index(kOptions);
  InsertAll(index, {}, Count(4), {0});
  index.Erase(BlockId{5});
  index.Erase(BlockId{0});
  index.Erase(BlockId{0});
  EXPECT_EQ(index.size(), 0U);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, ABlockKnowsItsTokensItsDigestAndItsParents) {
  PrefixIndex index(kOptions);
  const auto chains = InsertAll(index, {"s", 5}, Count(8), {6, 2});
  EXPECT_EQ(index.ParentDigestOf(BlockId{6}), RootDigest(1, "s", 5));
  EXPECT_EQ(index.ParentDigestOf(BlockId{2}), index.DigestOf(BlockId{6}));
  EXPECT_EQ(index.DigestOf(BlockId{2}), chains[1].digest);
  EXPECT_TRUE(index.IsOf(BlockId{2}, chains[1]));
  const auto tokens = index.TokensOf(BlockId{2});
  EXPECT_EQ(Tokens(tokens.begin(), tokens.end()), Count(4, 4));
}

TEST(PrefixIndexTest, ANodeStaysForWhatStandsOnItAndTheBlockThatComesBackServesAgain) {
  PrefixIndex index(kOptions);
  const auto chains = InsertAll(index, {}, Count(12), {0, 1, 2});
  index.Erase(BlockId{0});
  index.Erase(BlockId{1});
  EXPECT_EQ(index.num_nodes(), 3U);
  EXPECT_TRUE(FindAll(index, {}, Count(12)).empty());
  index.CheckInvariants();
  EXPECT_EQ(InsertAll(index, {}, Count(8), {5, 6}).back(), chains[1]);
  EXPECT_EQ(FindAll(index, {}, Count(12)), (std::vector<uint32_t>{5, 6, 2}));
  for (const uint32_t block : {5U, 6U, 2U}) index.Erase(BlockId{block});
  EXPECT_EQ(index.num_nodes(), 0U);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, GroupsHaveBlocksOfTheirOwnUnderNamesOfTheirOwn) {
  PrefixIndex index({.num_blocks = 8, .num_groups = 2, .block_size = kBlockSize, .seed = 1});
  PrefixChain chain = index.Root({});
  index.Extend(chain, {}, Count(4));
  index.Insert(chain, 1, BlockId{3});
  EXPECT_EQ(index.BlockOf(chain, 0), std::nullopt);
  EXPECT_EQ(index.BlockOf(chain, 1), BlockId{3});
  index.Insert(chain, 0, BlockId{4});
  EXPECT_EQ(index.DigestOf(BlockId{4}), chain.digest);
  EXPECT_NE(index.DigestOf(BlockId{3}), chain.digest);
  index.Erase(BlockId{4});
  EXPECT_EQ(index.BlockOf(chain, 0), std::nullopt);
  index.CheckInvariants();
}

TEST(PrefixIndexTest, NodesAreBoundedByTheBlocks) {
  PrefixIndex index({.num_blocks = 1, .block_size = 1, .seed = 1});
  PrefixChain chain = index.Root({});
  const int32_t token = 7;
  for (uint32_t i = 0; i < PrefixIndex::kNodesPerBlock; ++i) EXPECT_TRUE(index.Extend(chain, {}, {&token, 1}));
  const PrefixChain longest = chain;
  EXPECT_FALSE(index.Extend(chain, {}, {&token, 1}));
  EXPECT_EQ(chain, longest);
  EXPECT_TRUE(index.Prune(chain));
  EXPECT_FALSE(index.Extend(chain, {}, {&token, 1})) << "it is not there any more";
}

TEST(PrefixIndexTest, WhatNothingStandsOnIsPruned) {
  PrefixIndex index(kOptions);
  PrefixChain chain = index.Root({});
  index.Extend(chain, {}, Count(4));
  index.Extend(chain, {}, Count(4, 4));
  EXPECT_TRUE(index.Prune(chain));
  EXPECT_EQ(index.num_nodes(), 0U);
  const PrefixChain kept = InsertAll(index, {}, Count(4), {0}).back();
  EXPECT_FALSE(index.Prune(kept));
  index.CheckInvariants();
}

TEST(PrefixIndexTest, ErasingEveryBlockForgetsEverything) {
  PrefixIndex index(kOptions);
  InsertAll(index, {"s", 0}, Count(12), {0, 1, 2});
  for (uint32_t block = 0; block < 8; ++block) index.Erase(BlockId{block});
  EXPECT_EQ(index.size(), 0U);
  EXPECT_EQ(index.Root({"s", 0}).id, 0U);
  EXPECT_TRUE(FindAll(index, {"s", 0}, Count(12)).empty());
  index.CheckInvariants();
}

}  // namespace
}  // namespace quire
