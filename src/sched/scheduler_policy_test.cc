// The baselines: memory reserved for the longest answer, batches that run to their end. Pools are tiny.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sched/scheduler_testing.h"

namespace quire {
namespace {

TEST(SchedulerPolicyTest, ReservingForTheLongestSequenceLeavesTheRestInternal) {
  SchedulerConfig config = TestConfig(64);
  config.max_model_len = 512;
  config.kv_policy = KvPolicyKind::kReserveMax;
  SchedulerHarness h(config);
  for (uint64_t id = 1; id <= 3; ++id) h.Add(TestRequest(id, 20, 12));
  EXPECT_EQ(h.Step(), (Rows{20, 20})) << "two chunks of 512 tokens fill the pool";
  const SlotAccount slots = h.scheduler.Stats().slots;
  EXPECT_EQ(slots[SlotState::kToken], 2U * 21U);
  EXPECT_EQ(slots[SlotState::kReserved], 2U * 11U);
  EXPECT_EQ(slots[SlotState::kInternal], 2U * (512U - 32U));
  h.RunAll();
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_EQ(h.of(id).tokens, Alone(TestRequest(id, 20, 12)));
}

TEST(SchedulerPolicyTest, ReservingAPowerOfTwoOrExactlyTakesSmallerChunks) {
  for (const auto& [policy, num_slots] :
       {std::pair(KvPolicyKind::kReservePow2, 20U + 32U), std::pair(KvPolicyKind::kReserveExact, 20U + 25U)}) {
    SchedulerConfig config = TestConfig(64, 4);
    config.max_model_len = 128;
    config.kv_policy = policy;
    SchedulerHarness h(config);
    h.Add(TestRequest(1, 20, 25));
    h.Step();
    EXPECT_EQ(h.scheduler.Stats().num_blocks_used, ChunkBlocks(num_slots, 4)) << KvPolicyName(policy);
  }
}

TEST(SchedulerPolicyTest, FreeChunksTooSmallForTheHeadAreExternalFragmentation) {
  SchedulerConfig config = TestConfig(48, 4);  // chunks of 32 and 16 blocks
  config.max_model_len = 128;
  config.kv_policy = KvPolicyKind::kReserveExact;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 60, 60));
  h.Add(TestRequest(2, 60, 60));
  h.Step();
  const SlotAccount slots = h.scheduler.Stats().slots;
  EXPECT_EQ(slots[SlotState::kExternal], 16U * 4U);
  EXPECT_EQ(slots[SlotState::kFree], 0U);
}

TEST(SchedulerPolicyTest, EveryStreamHasAChunkOfItsOwnAndAForkCopiesBlocks) {
  SchedulerConfig config = TestConfig(64, 4);
  config.max_model_len = 64;
  config.kv_policy = KvPolicyKind::kReserveExact;
  SchedulerHarness h(config);
  h.Add(GroupRequest(1, 10, 20, 3));
  h.Step();
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 3U * 8U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kShared], 0U);
  EXPECT_EQ(h.Plan().copies.size(), 2U * 3U);
  SchedulerHarness beams(config);
  beams.Add(BeamRequest(1, 10, 20, 3));
  beams.RunAll();
  EXPECT_EQ(beams.of(1).transcript, TranscriptAlone(BeamRequest(1, 10, 20, 3)));
}

TEST(SchedulerPolicyTest, AStaticBatchRunsToCompletionAndKeepsItsMemoryUntilThen) {
  SchedulerConfig config = TestConfig(30);
  config.batching = Batching::kStatic;
  config.max_num_seqs = 2;
  SchedulerHarness h(config);
  h.Add(TestRequest(1, 20, 3));
  h.Add(TestRequest(2, 20, 10));
  h.Add(TestRequest(3, 20, 3));
  for (int i = 0; i < 6; ++i) h.Step();
  EXPECT_EQ(h.of(1).reason, FinishReason::kLength);
  EXPECT_EQ(h.scheduler.Stats().num_running, 1U) << "nobody joins a batch that runs";
  EXPECT_EQ(h.scheduler.Stats().num_blocks_used, 4U);
  EXPECT_EQ(h.scheduler.Stats().slots[SlotState::kInternal], 2U * 16U + 2U);
  h.RunAll();
  EXPECT_EQ(h.of(3).tokens, Alone(TestRequest(3, 20, 3)));
}

}  // namespace
}  // namespace quire
