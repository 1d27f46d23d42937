// The prefix cache as a whole: pool, tables and index together. Blocks of 16 and a pool of 10 unless a test says else.
#include "kv/kv_manager.h"

#include <gtest/gtest.h>

#include "kv/kv_testing.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

std::vector<uint32_t> Numbers(std::span<const BlockId> blocks) {
  std::vector<uint32_t> numbers;
  for (const BlockId block : blocks) numbers.push_back(static_cast<uint32_t>(block));
  return numbers;
}

// A sequence as the scheduler drives it: match, reserve, compute, commit.
struct Sequence {
  Sequence(KvManager& kv, const Tokens& tokens, PrefixScope scope = {})
      : kv(kv), scope(scope), tokens(tokens), held(kv.MakeSequence()), table(held.table(0)) {
    const KvManager::Match match = kv.MatchPrefix(scope, tokens);
    fits = kv.CanStart(BlocksForTokens(tokens.size(), kv.block_size()), match, true);
    if (fits != KvFit::kNow) return;
    num_hit = match.num_blocks;
    EXPECT_TRUE(kv.Take(match, held));
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
    kv.Commit(held, scope, tokens);
  }

  KvManager& kv;
  PrefixScope scope;
  Tokens tokens;
  SequenceKv held;
  BlockTable& table;
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
  sequences.reserve(5);
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

TEST(KvManagerTest, DecodingFillsTheBlockWithoutAllocationThenANewOneAndTheFilledOneIsIndexed) {
  KvManager kv({.num_blocks = 10});
  Sequence sequence(kv, Count(55));
  sequence.Append(Count(4, 100));
  EXPECT_EQ(sequence.table.num_blocks(), 4U);
  EXPECT_EQ(kv.index().size(), 3U);
  sequence.Append(Count(19, 200));
  EXPECT_EQ(sequence.table.num_blocks(), 5U);
  EXPECT_EQ(kv.index().size(), 4U);
}

TEST(KvManagerTest, ReusingACachedBlockForOtherContentMakesItUnreachable) {
  KvManager kv({.num_blocks = 3});
  { const Sequence old(kv, Count(48)); }
  EXPECT_EQ(kv.pool().num_cached(), 3U);
  const Sequence other(kv, Count(48, 700));
  EXPECT_EQ(other.num_hit, 0U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(48)).num_blocks, 0U);
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
  EXPECT_EQ(kv.MatchPrefix({}, Count(48)).num_blocks, 2U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(49)).num_blocks, 3U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(1)).num_blocks, 0U);
}

TEST(KvManagerTest, ADifferentSaltOrAdapterMisses) {
  KvManager kv({.num_blocks = 10});
  { const Sequence old(kv, Count(48), {"mine", 0}); }
  EXPECT_EQ(kv.MatchPrefix({"mine", 0}, Count(48)).num_blocks, 2U);
  EXPECT_EQ(kv.MatchPrefix({"yours", 0}, Count(48)).num_blocks, 0U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(48)).num_blocks, 0U);
  EXPECT_EQ(kv.MatchPrefix({"mine", 3}, Count(48)).num_blocks, 0U);
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
  EXPECT_EQ(kv.MatchPrefix({}, Count(48)).num_blocks, 0U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, EvictionOrderIsOldestAccessFirstThenTheChainsTail) {
  KvManager kv({.num_blocks = 6});
  { const Sequence a(kv, Count(32)); }
  { const Sequence b(kv, Count(32, 500)); }
  { const Sequence a_again(kv, Count(33)); }  // touches a's chain, and takes a free block
  const Sequence hog(kv, Count(64, 2000));
  EXPECT_EQ(kv.MatchPrefix({}, Count(33)).num_blocks, 2U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(33, 500)).num_blocks, 0U);
  EXPECT_EQ(Numbers(hog.table.blocks()), (std::vector<uint32_t>{5, 4, 3, 2}));
}

TEST(KvManagerTest, ABlockThatFillsToExistingContentIsKeptAsADuplicate) {
  KvManager kv({.num_blocks = 10});
  Sequence a(kv, Count(15)), b(kv, Count(15));
  a.Append(Count(1, 15));
  b.Append(Count(1, 15));
  EXPECT_NE(a.table.blocks()[0], b.table.blocks()[0]);
  EXPECT_EQ(kv.index().size(), 2U);
  EXPECT_EQ(a.held.chain, b.held.chain);
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
    kv.Forget(bad.held);
    kv.CheckInvariants();
  }
  EXPECT_EQ(kv.MatchPrefix({}, Count(64)).num_blocks, 2U) << "what another one holds stays";
  kv.CheckInvariants();
}

TEST(KvManagerTest, ResetForgetsAllButPinnedBlocks) {
  KvManager kv({.num_blocks = 10});
  SequenceKv pinned = kv.MakeSequence();
  {
    const Sequence sequence(kv, Count(48));
    pinned = sequence.held.ForkPrefix(2);
    EXPECT_FALSE(kv.ResetPrefixCache(2)) << "another block is in use";
  }
  EXPECT_FALSE(kv.ResetPrefixCache());
  EXPECT_EQ(kv.pool().num_cached(), 1U);
  EXPECT_TRUE(kv.ResetPrefixCache(2));
  EXPECT_EQ(kv.pool().num_free(), 8U);
  EXPECT_EQ(kv.MatchPrefix({}, Count(64)).num_blocks, 2U);
  pinned.Clear();
  EXPECT_EQ(kv.pool().num_cached(), 2U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, ABlockThatIsIndexedThroughAnotherTableIsNotIndexedAgain) {
  KvManager kv({.num_blocks = 10});
  Sequence sequence(kv, Count(40));
  SequenceKv fork = sequence.held.ForkPrefix(3);
  kv.Commit(fork, {}, sequence.tokens);
  EXPECT_EQ(fork.chain, sequence.held.chain);
  EXPECT_EQ(kv.index().size(), 2U);
  kv.CheckInvariants();
}

TEST(KvManagerTest, NamesWhatMayFollowOnDiskTheSameInEveryProcess) {
  KvManager one({.num_blocks = 10, .hash_seed = 7}), two({.num_blocks = 20, .hash_seed = 7});
  const PrefixScope scope = {"salt", 1};
  const Tokens tokens = Count(49);
  const Sequence sequence(one, tokens, scope);
  const PrefixDigest after_one_block = one.index().DigestOf(sequence.table.blocks()[0]);
  PrefixDigest digest = two.NoMatch(scope).chain.digest;
  for (size_t begin = 0; begin < 48; begin += 16) {
    digest = NextDigest(digest, std::span(tokens).subspan(begin, 16));
    EXPECT_EQ(digest, one.index().DigestOf(sequence.table.blocks()[begin / 16]));
  }
  EXPECT_EQ(digest, one.MatchPrefix(scope, tokens).chain.digest);
  EXPECT_EQ(one.index().ParentDigestOf(sequence.table.blocks()[1]), after_one_block);
}

TEST(KvManagerTest, ABlockIsHeldWhileItIsStoredAndThenIsAsNearToEvictionAsBefore) {
  KvManager kv({.num_blocks = 4});
  { const Sequence old(kv, Count(48)); }
  const BlockId next = *kv.pool().first_cached();
  EXPECT_FALSE(kv.pool().stored(next));
  kv.BeginStore(next);
  EXPECT_NE(kv.pool().first_cached(), next);
  EXPECT_FALSE(kv.ResetPrefixCache());
  kv.EndStore(next, true);
  EXPECT_EQ(kv.pool().first_cached(), next);
  EXPECT_TRUE(kv.pool().stored(next));
  kv.CheckInvariants();
  EXPECT_TRUE(kv.ResetPrefixCache());
  EXPECT_FALSE(kv.pool().stored(next));
}

}  // namespace
}  // namespace quire
