// KvManager under a contiguous policy: chunks, and what they leave free in pieces. Blocks of 16.
#include <gtest/gtest.h>

#include "kv/kv_manager.h"
#include "kv/kv_testing.h"

namespace quire {
namespace {

KvConfig Contiguous() { return {.num_blocks = 16 + 4, .policy = KvPolicyKind::kReserveExact, .max_model_len = 256}; }

TEST(ContiguousKvManagerTest, ReservesChunksAndCachesNothing) {
  KvManager kv(Contiguous());
  SequenceKv held = kv.MakeSequence();
  ASSERT_TRUE(held.table(0).ReserveChunk(100));
  EXPECT_EQ(held.num_held(), 8U);
  kv.Commit(held, {}, Count(64));
  EXPECT_EQ(held.chain, PrefixChain{});
  EXPECT_EQ(kv.MatchPrefix({}, Count(64)).num_blocks, 0U);
  held.Clear();
  EXPECT_EQ(kv.pool().num_free(), 20U);
  kv.CheckInvariants();
}

TEST(ContiguousKvManagerTest, AGroupFitsWhenAllItsChunksDo) {
  KvManager kv(Contiguous());
  EXPECT_TRUE(kv.CanReserveChunks(1, 256));
  EXPECT_FALSE(kv.CanReserveChunks(2, 256));
  EXPECT_TRUE(kv.CanReserveChunks(5, 64));
  EXPECT_FALSE(kv.CanReserveChunks(6, 64));
  EXPECT_TRUE(kv.CanReserveChunks(20, 16));
}

TEST(ContiguousKvManagerTest, FreeSlotsInPiecesTooSmallForWhoWaitsAreExternalFragmentation) {
  KvManager kv(Contiguous());
  EXPECT_EQ(kv.NumExternalSlots(256), 4U * 16);
  SequenceKv held = kv.MakeSequence();
  ASSERT_TRUE(held.table(0).ReserveChunk(8 * 16));
  EXPECT_EQ(kv.NumExternalSlots(256), (8U + 4U) * 16);
  EXPECT_EQ(kv.NumExternalSlots(128), 4U * 16);
  EXPECT_EQ(kv.NumExternalSlots(64), 0U);
  EXPECT_EQ(KvManager({.num_blocks = 4}).NumExternalSlots(256), 0U) << "paged memory has none";
}

}  // namespace
}  // namespace quire
