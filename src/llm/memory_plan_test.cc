#include "llm/memory_plan.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

MemoryPlanInput SmallModel() {
  return {.weight_bytes = 1000,
          .scratch_bytes = 200,
          .kv_bytes_per_token = 10,
          .block_size = 4,
          .max_num_seqs = 8,
          .model_max_len = 100,
          .available_bytes = 9200};
}

TEST(PlanMemory, GivesTheKvCacheAShareOfWhatIsFree) {
  const Result<MemoryPlan> plan = PlanMemory(SmallModel());
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->num_blocks, 100);  // half of 8,000 bytes in blocks of 40
  EXPECT_EQ(plan->kv_tokens, 400);
  EXPECT_EQ(plan->max_model_len, 100);
  EXPECT_DOUBLE_EQ(plan->full_length_sequences, 4.0);
}

// Six groups of a sixth of the layers each, five of them windows of 1,024, beside all layers in one.
TEST(PlanMemory, AModelOfWindowsServesTheMoreSequences) {
  MemoryPlanInput input = {.kv_bytes_per_token = 600,
                           .block_size = 16,
                           .max_num_seqs = 256,
                           .model_max_len = 32'768,
                           .kv_cache_bytes = size_t{600} * 10 * 32'768,
                           .available_bytes = size_t{1} << 40};
  const Result<MemoryPlan> all_full = PlanMemory(input);
  EXPECT_DOUBLE_EQ(all_full->full_length_sequences, 10.0);
  input.kv_bytes_per_token = 100;
  input.kv_groups.assign(6, KvGroup{.window = 1024});
  input.kv_groups[0].window = 0;
  const Result<MemoryPlan> mostly_windows = PlanMemory(input);
  EXPECT_EQ(mostly_windows->num_blocks, 6 * all_full->num_blocks);
  EXPECT_EQ(mostly_windows->max_model_len, 32'768);
  EXPECT_NEAR(mostly_windows->full_length_sequences, 51.7, 0.05);
  EXPECT_NE(FormatMemoryPlan(*mostly_windows).find("in one of 6 KV groups"), std::string::npos);
}

TEST(PlanMemory, AWindowAloneFitsAnyContext) {
  MemoryPlanInput input = SmallModel();
  input.num_blocks = 40;
  EXPECT_EQ(PlanMemory(input)->max_model_len, 100);
  input.model_max_len = 100'000;
  EXPECT_EQ(PlanMemory(input)->max_model_len, 160);
  input.kv_groups = {KvGroup{.window = 8}};
  input.max_num_batched_tokens = 64;
  EXPECT_EQ(PlanMemory(input)->max_model_len, 100'000);
}

TEST(PlanMemory, TakesNoMoreThanEverySlotAtFullLengthCanUse) {
  MemoryPlanInput input = SmallModel();
  input.max_num_seqs = 2;
  EXPECT_EQ(PlanMemory(input)->num_blocks, 50);
}

TEST(PlanMemory, ExactBlocksWinAndCapTheContext) {
  MemoryPlanInput input = SmallModel();
  input.num_blocks = 5;
  EXPECT_EQ(PlanMemory(input)->num_blocks, 5);
  EXPECT_EQ(PlanMemory(input)->max_model_len, 20);
  input.max_model_len = 21;
  EXPECT_NE(PlanMemory(input).error().message.find("--max-model-len 21"), std::string::npos);
}

TEST(PlanMemory, RefusesWhatCannotFitWithTheNumbers) {
  MemoryPlanInput input = SmallModel();
  input.available_bytes = 1100;
  EXPECT_NE(PlanMemory(input).error().message.find("do not fit"), std::string::npos);
  input = SmallModel();
  input.kv_cache_bytes = 9000;
  EXPECT_NE(PlanMemory(input).error().message.find("--kv-cache-memory"), std::string::npos);
  input.kv_cache_bytes = 39;
  EXPECT_EQ(PlanMemory(input).error().code, ErrorCode::kResourceExhausted);
  input = SmallModel();
  input.num_blocks = 200;  // all that is free
  EXPECT_TRUE(PlanMemory(input).ok());
  input.num_blocks = 201;
  EXPECT_NE(PlanMemory(input).error().message.find("--num-gpu-blocks-override"), std::string::npos);
  input.available_bytes = 1100;
  EXPECT_NE(PlanMemory(input).error().message.find("weights"), std::string::npos);
}

TEST(PlanMemory, SwapSpaceIsNoLargerThanThePoolAndDiskCountsWholeFiles) {
  MemoryPlanInput input = SmallModel();  // 100 blocks of 40 bytes
  EXPECT_EQ(PlanMemory(input)->num_swap_blocks, 0);
  EXPECT_EQ(FormatMemoryPlan(*PlanMemory(input)).find("swap"), std::string::npos);
  input.swap_bytes = 2000;
  input.disk_bytes = 3 * 4096 + 100;
  EXPECT_EQ(PlanMemory(input)->num_swap_blocks, 50);
  EXPECT_EQ(PlanMemory(input)->num_disk_blocks, 3);
  EXPECT_NE(FormatMemoryPlan(*PlanMemory(input)).find("50 blocks of preempted"), std::string::npos);
  input.swap_bytes = 1'000'000;
  EXPECT_EQ(PlanMemory(input)->num_swap_blocks, 100);
  EXPECT_EQ(BytesOnDisk(4096, 16), 8192U);
}

TEST(ParseGibibytes, ANumberAloneCountsGibibytes) {
  EXPECT_EQ(*ParseGibibytes("2"), size_t{2} << 30);
  EXPECT_EQ(*ParseGibibytes("0.5"), size_t{1} << 29);
  EXPECT_EQ(*ParseGibibytes("0"), 0U);
  EXPECT_EQ(*ParseGibibytes("3MiB"), size_t{3} << 20);
  for (const char* bad : {"", "-1", "nan", "1e99", "many"}) EXPECT_FALSE(ParseGibibytes(bad).ok()) << bad;
}

TEST(ParseByteSize, ReadsUnitsAndRefusesNonsense) {
  EXPECT_EQ(*ParseByteSize("4GiB"), size_t{4} << 30);
  EXPECT_EQ(*ParseByteSize("1.5 GB"), 1500000000U);
  EXPECT_EQ(*ParseByteSize("1000"), 1000U);
  EXPECT_EQ(*ParseByteSize("2T"), size_t{2} << 40);
  for (const char* bad : {"", "GiB", "4XB", "-1GiB", "nan", "1e30GiB", "0"})
    EXPECT_FALSE(ParseByteSize(bad).ok()) << bad;
  EXPECT_EQ(FormatBytes(size_t{3} << 29), "1.50 GiB");
}

}  // namespace
}  // namespace quire
