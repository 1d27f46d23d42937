// The prefix cache as a whole: pool, tables and index together. Blocks of 16 and a pool of 10 unless a test says else.
#include "kv/kv_manager.h"

#include <gtest/gtest.h>

#include <numeric>

#include "kv/kv_policy.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

Tokens Count(int32_t n, int32_t first = 0) {
  Tokens tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

std::vector<uint32_t> Numbers(std::span<const BlockId> blocks) {
  std::vector<uint32_t> numbers;
  for (const BlockId block : blocks) numbers.push_back(static_cast<uint32_t>(block));
  return numbers;
}

// A sequence as the scheduler drives it: match, reserve, compute, commit.
struct Sequence {
  Sequence(KvManager& kv, const Tokens& tokens, PrefixScope scope = {})
      : kv(kv), scope(scope), tokens(tokens), table(kv.MakeTable()) {
    const KvManager::Match match = kv.MatchPrefix(scope, tokens);
    fits = kv.CanStart(BlocksForTokens(tokens.size(), kv.block_size()), match, true);
    if (fits != KvFit::kNow) return;
    num_hit = static_cast<uint32_t>(match.blocks.size());
    table.Share(match.blocks);
    chain = match.chain;
    Compute(num_hit * kv.block_size());
  }
  void Append(const Tokens& more) {
    const auto begin = static_cast<uint32_t>(tokens.size());
    tokens.insert(tokens.end(), more.begin(), more.end());
    Compute(begin);
  }
  void Compute(uint32_t begin) {
    std::vector<CopyOnWrite> copies;
    ASSERT_TRUE(table.PrepareWrite(begin, static_cast<uint32_t>(tokens.size()), copies));
    chain = kv.Commit(table, scope, chain, tokens);
  }

  KvManager& kv;
  PrefixScope scope;
  Tokens tokens;
  BlockTable table;
  PrefixChain chain;
  uint32_t num_hit = 0;
  KvFit fits = KvFit::kNow;
};

Tokens PrefixThen(int32_t num_shared, int32_t num_own, int32_t first_own) {
  Tokens tokens = Count(num_shared);
  const Tokens own = Count(num_own, first_own);
  tokens.insert(tokens.end(), own.begin(), own.end());
  return tokens;
}

TEST(KvManagerTest, WatermarkLeavesExactlyItsBlocksUnusableForAdmissionExceptToOneAlone) {
  KvManager kv({.num_blocks = 10, .num_watermark_blocks = 1});
  EXPECT_EQ(kv.CanStart(9, {}, false), KvFit::kNow);
  EXPECT_EQ(kv.CanStart(10, {}, false), KvFit::kLater);
  EXPECT_EQ(kv.CanStart(10, {}, true), KvFit::kNow);
}

TEST(KvManagerTest, SaysNowOrLaterOrNever) {
  KvManager kv({.num_blocks = 10});
  const Sequence one(kv, Count(100));
  EXPECT_EQ(kv.CanStart(3, {}, false), KvFit::kNow);
  EXPECT_EQ(kv.CanStart(4, {}, false), KvFit::kLater);
  EXPECT_EQ(kv.CanStart(11, {}, false), KvFit::kNever);
}

TEST(KvManagerTest, FullBlocksAreSharedByAllAndOnlyThePartialBlockIsPerSequence) {
  KvManager kv({.num_blocks = 10});
  std::vector<Sequence> sequences;
  for (int32_t i = 0; i < 5; ++i) sequences.emplace_back(kv, PrefixThen(32, 5, 1000 + i));
  EXPECT_EQ(kv.pool().num_used(), 2U + 5U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, SecondRequestHitsFullBlocksAndFreedTailsAreEvictedFirst) {
  KvManager kv({.num_blocks = 10});
  {
    const Sequence first(kv, Count(55));
    EXPECT_EQ(Numbers(first.table.blocks()), (std::vector<uint32_t>{0, 1, 2, 3}));
    EXPECT_EQ(kv.index().size(), 3U) << "the last block is not full";
    const Sequence second(kv, PrefixThen(48, 7, 500));
    EXPECT_EQ(second.num_hit, 3U);
    EXPECT_EQ(Numbers(second.table.blocks()), (std::vector<uint32_t>{0, 1, 2, 4}));
    EXPECT_EQ(kv.pool().references(BlockId{0}), 2U);
    EXPECT_EQ(kv.pool().num_free(), 5U);
  }
  EXPECT_EQ(kv.pool().num_cached(), 3U);
  { const Sequence third(kv, Count(5, 900)); }
  // Never used, then those freed without content, then the chain from its tail.
  const Sequence miss(kv, Count(160, 2000));
  EXPECT_EQ(Numbers(miss.table.blocks()), (std::vector<uint32_t>{6, 7, 8, 9, 4, 3, 5, 2, 1, 0}));
  kv.CheckInvariants();
}

TEST(KvManagerTest, DecodingFillsTheBlockWithoutAllocationThenANewOneAndTheFilledOneIsHashed) {
  KvManager kv({.num_blocks = 10});
  Sequence sequence(kv, Count(55));
  sequence.Append(Count(4, 100));
  EXPECT_EQ(sequence.table.num_blocks(), 4U);
  EXPECT_EQ(kv.index().size(), 3U);
  sequence.Append(Count(19, 200));
  EXPECT_EQ(sequence.table.num_blocks(), 5U);
  EXPECT_EQ(kv.index().size(), 4U);
}

TEST(KvManagerTest, ReusingACachedBlockForOtherContentClearsItsHash) {
  KvManager kv({.num_blocks = 3});
  { const Sequence old(kv, Count(48)); }
  EXPECT_EQ(kv.pool().num_cached(), 3U);
  const Sequence other(kv, Count(48, 700));
  EXPECT_EQ(other.num_hit, 0U);
  EXPECT_TRUE(kv.MatchPrefix({}, Count(48)).blocks.empty());
  kv.CheckInvariants();
}

TEST(KvManagerTest, HitBlocksAreNotEvictedToServeTheSameRequest) {
  KvManager kv({.num_blocks = 4});
  { const Sequence old(kv, Count(48)); }
  const Sequence longer(kv, Count(64));
  EXPECT_EQ(longer.num_hit, 3U);
  EXPECT_EQ(Numbers(longer.table.blocks()), (std::vector<uint32_t>{0, 1, 2, 3}));
}

TEST(KvManagerTest, ARequestThatDoesNotFitChangesNoReferenceOfItsHits) {
  KvManager kv({.num_blocks = 10});
  const Sequence first(kv, Count(48));
  { const Sequence cached(kv, PrefixThen(48, 32, 300)); }
  const Sequence hog(kv, Count(80, 1000));
  const Sequence denied(kv, PrefixThen(48, 64, 300));
  EXPECT_EQ(denied.fits, KvFit::kLater) << "its own hits must not count as available";
  for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(kv.pool().references(BlockId{i}), 1U);
  EXPECT_EQ(kv.pool().num_used(), 8U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, CachingOffNeverHitsAndStillRunsOutOfBlocks) {
  KvManager kv({.num_blocks = 10, .enable_prefix_caching = false});
  { const Sequence old(kv, Count(64)); }
  const Sequence same(kv, Count(64));
  EXPECT_EQ(same.num_hit, 0U);
  EXPECT_EQ(kv.pool().num_cached(), 0U);
  EXPECT_EQ(kv.CanStart(7, kv.NoMatch({}), false), KvFit::kLater);
  kv.CheckInvariants();
}

TEST(KvManagerTest, NeverHitsTheWholePrompt) {
  KvManager kv({.num_blocks = 10});
  { const Sequence old(kv, Count(48)); }
  EXPECT_EQ(kv.MatchPrefix({}, Count(48)).blocks.size(), 2U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(49)).blocks.size(), 3U);
  EXPECT_TRUE(kv.MatchPrefix({}, Count(1)).blocks.empty());
}

TEST(KvManagerTest, ADifferentSaltOrAdapterMisses) {
  KvManager kv({.num_blocks = 10});
  { const Sequence old(kv, Count(48), {"mine", 0}); }
  EXPECT_EQ(kv.MatchPrefix({"mine", 0}, Count(48)).blocks.size(), 2U);
  EXPECT_TRUE(kv.MatchPrefix({"yours", 0}, Count(48)).blocks.empty());
  EXPECT_TRUE(kv.MatchPrefix({}, Count(48)).blocks.empty());
  EXPECT_TRUE(kv.MatchPrefix({"mine", 3}, Count(48)).blocks.empty());
}

TEST(KvManagerTest, ResetFailsWhileAnyBlockIsInUseElseClearsAll) {
  KvManager kv({.num_blocks = 10});
  { const Sequence old(kv, Count(48)); }
  {
    const Sequence user(kv, Count(5, 800));
    EXPECT_FALSE(kv.ResetPrefixCache());
    EXPECT_EQ(kv.pool().num_cached(), 3U);
  }
  EXPECT_TRUE(kv.ResetPrefixCache());
  EXPECT_EQ(kv.pool().num_free(), 10U);
  EXPECT_TRUE(kv.MatchPrefix({}, Count(48)).blocks.empty());
  kv.CheckInvariants();
}

TEST(KvManagerTest, EvictionOrderIsOldestAccessFirstThenTheChainsTail) {
  KvManager kv({.num_blocks = 6});
  { const Sequence a(kv, Count(32)); }
  { const Sequence b(kv, Count(32, 500)); }
  { const Sequence a_again(kv, Count(33)); }  // touches a's chain, and takes a free block
  const Sequence hog(kv, Count(64, 2000));
  EXPECT_EQ(kv.MatchPrefix({}, Count(33)).blocks.size(), 2U);
  EXPECT_TRUE(kv.MatchPrefix({}, Count(33, 500)).blocks.empty());
  EXPECT_EQ(Numbers(hog.table.blocks()), (std::vector<uint32_t>{5, 4, 3, 2}));
}

TEST(KvManagerTest, ABlockThatFillsToExistingContentIsKeptAsADuplicate) {
  KvManager kv({.num_blocks = 10});
  Sequence a(kv, Count(15)), b(kv, Count(15));
  a.Append(Count(1, 15));
  b.Append(Count(1, 15));
  EXPECT_NE(a.table.blocks()[0], b.table.blocks()[0]);
  EXPECT_EQ(kv.index().size(), 2U);
  EXPECT_EQ(a.chain, b.chain);
  const Sequence next(kv, Count(20));
  EXPECT_EQ(next.num_hit, 1U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, TheNextTurnOfAConversationHitsPromptAndAnswer) {
  KvManager kv({.num_blocks = 10});
  {
    Sequence turn(kv, Count(20));
    turn.Append(Count(20, 20));
  }
  const Sequence next(kv, Count(50));
  EXPECT_EQ(next.num_hit, 2U);
}

TEST(KvManagerTest, WhatIsForgottenIsNotReused) {
  KvManager kv({.num_blocks = 10});
  {
    const Sequence shared(kv, Count(32));
    const Sequence bad(kv, Count(64));
    kv.Forget(bad.table.blocks());
    kv.CheckInvariants();
  }
  EXPECT_EQ(kv.MatchPrefix({}, Count(64)).blocks.size(), 2U) << "what another one holds stays";
  kv.CheckInvariants();
}

TEST(KvPolicyTest, PagedPromisesWhatIsKnown) {
  EXPECT_EQ(KvPolicy::Of(KvPolicyKind::kPaged).SlotsAtAdmission({.num_known_tokens = 7, .max_total_tokens = 100}), 7U);
}

}  // namespace
}  // namespace quire
