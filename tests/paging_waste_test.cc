// What the paper's Figure 2 says of memory: with its workload, paging wastes less than 4 % of what is in use, and
// reserving contiguous chunks most of it.
#include <gtest/gtest.h>

#include "sched/fake_runner_testing.h"
#include "sched/scheduler.h"
#include "sched/step_driver_testing.h"
#include "sim/workload.h"

namespace quire {
namespace {

constexpr uint32_t kNumBlocks = 984, kBlockSize = 16;  // 15,744 slots, as the paper's OPT-13B has

// Mean over the steps of a run while requests wait, so that it is memory that binds.
double MeanWastePct(KvPolicyKind policy) {
  SchedulerConfig config;
  config.num_blocks = kNumBlocks;
  config.block_size = kBlockSize;
  config.kv_policy = policy;
  config.chunk_budget.target_ratio = 0;
  Scheduler scheduler(config);
  FakeRunner runner(
      {.num_seats = config.max_num_seqs, .num_blocks = kNumBlocks, .block_size = kBlockSize, .verify = false});
  const auto workload = MakeWorkload({.kind = WorkloadKind::kShareGpt, .num_requests = 300});
  EXPECT_TRUE(workload.ok());
  for (size_t i = 0; i < workload->size(); ++i) {
    Request request;
    request.id = RequestId{i};
    request.prompt.assign((*workload)[i].num_prompt_tokens, static_cast<int32_t>(i));
    request.params.max_tokens = static_cast<int32_t>((*workload)[i].num_output_tokens);
    request.params.ignore_eos = true;
    request.params.seed = i;
    EXPECT_TRUE(scheduler.Add(std::move(request)).ok());
  }
  StepDriver driver(scheduler, runner);
  double sum = 0, num_steps = 0;
  while (driver.HasWork()) {
    driver.Step();
    const SchedulerStats stats = scheduler.Stats();
    EXPECT_EQ(stats.slots.total(), uint64_t{kNumBlocks} * kBlockSize);
    if (stats.num_waiting == 0) continue;
    sum += stats.slots.waste_pct();
    ++num_steps;
  }
  EXPECT_GT(num_steps, 500);
  return sum / num_steps;
}

TEST(PagingWaste, IsBelowFourPercentUnderPressureAndFarBelowEveryReservation) {
  const double paged = MeanWastePct(KvPolicyKind::kPaged);
  const double exact = MeanWastePct(KvPolicyKind::kReserveExact);
  const double pow2 = MeanWastePct(KvPolicyKind::kReservePow2);
  const double max = MeanWastePct(KvPolicyKind::kReserveMax);
  EXPECT_LT(paged, 4);
  EXPECT_GT(exact, 50);
  EXPECT_GT(pow2, exact);
  EXPECT_GT(max, pow2);
}

}  // namespace
}  // namespace quire
