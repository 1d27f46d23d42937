#include "kv/kv_policy.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

uint32_t Slots(KvPolicyKind kind, const KvDemand& demand) { return KvPolicy::Of(kind).SlotsAtAdmission(demand); }

// A prompt of 7 whose output may have 25 tokens.
constexpr KvDemand kDemand = {
    .num_prompt_tokens = 7, .num_known_tokens = 9, .max_total_tokens = 32, .max_model_len = 2048};

TEST(KvPolicyTest, PagedPromisesWhatIsKnown) {
  EXPECT_EQ(Slots(KvPolicyKind::kPaged, kDemand), 9U);
  EXPECT_FALSE(KvPolicy::Of(KvPolicyKind::kPaged).contiguous());
}

TEST(KvPolicyTest, TheReservationsAreTheModelsLongestThePowerOfTwoAndTheExactLength) {
  EXPECT_EQ(Slots(KvPolicyKind::kReserveMax, kDemand), 2048U);
  EXPECT_EQ(Slots(KvPolicyKind::kReservePow2, kDemand), 7U + 32U) << "25 is rounded up to 32";
  EXPECT_EQ(Slots(KvPolicyKind::kReserveExact, kDemand), 32U);
  for (const auto kind : {KvPolicyKind::kReserveMax, KvPolicyKind::kReservePow2, KvPolicyKind::kReserveExact}) {
    EXPECT_TRUE(KvPolicy::Of(kind).contiguous());
  }
}

TEST(KvPolicyTest, APowerOfTwoNeverExceedsTheModelsLongest) {
  const KvDemand demand = {
      .num_prompt_tokens = 1000, .num_known_tokens = 1000, .max_total_tokens = 1900, .max_model_len = 2000};
  EXPECT_EQ(Slots(KvPolicyKind::kReservePow2, demand), 2000U);
}

TEST(KvPolicyTest, AnOutputOfAPowerOfTwoIsNotRounded) {
  const KvDemand demand = {
      .num_prompt_tokens = 3, .num_known_tokens = 3, .max_total_tokens = 3 + 64, .max_model_len = 2048};
  EXPECT_EQ(Slots(KvPolicyKind::kReservePow2, demand), 67U);
}

TEST(KvPolicyTest, AChunkIsBlocksRoundedUpToAPowerOfTwo) {
  EXPECT_EQ(ChunkBlocks(1, 16), 1U);
  EXPECT_EQ(ChunkBlocks(16, 16), 1U);
  EXPECT_EQ(ChunkBlocks(33, 16), 4U);
  EXPECT_EQ(ChunkBlocks(2048, 16), 128U);
}

}  // namespace
}  // namespace quire
