// Counts heap allocations by replacing the global operators; sanitizers replace them themselves, so there this file is
// empty.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "runner/plan_driver_testing.h"
#include "runner/tiny_model_testing.h"

namespace {

std::atomic<int64_t> num_allocations = 0;

void* Allocate(size_t bytes, size_t alignment) {
  num_allocations.fetch_add(1, std::memory_order_relaxed);
  const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  if (void* memory = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t alignment) { return Allocate(bytes, static_cast<size_t>(alignment)); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace quire {
namespace {

TEST(Allocations, ASteadyDecodeStepMakesNone) {
  for (const int num_threads : {1, 2}) {
    const TestModel model = LoadTestModel(GoldenDirectory("qwen2"), num_threads);
    const auto runner = model.MakeRunner({.max_num_seqs = 8,
                                          .max_num_batched_tokens = 256,
                                          .max_model_len = 512,
                                          .num_blocks = 512,
                                          .block_size = 4,
                                          .kv_dtype = DType::kBf16});
    PlanDriver driver(*runner, 512, 4);
    for (int i = 0; i < 8; ++i) {
      SamplingParams params;
      params.seed = 1;
      params.temperature = i % 2 == 0 ? 0.0F : 1.0F;
      if (i % 3 == 0) params.logprobs = 5;
      if (i >= 4) params.frequency_penalty = 0.5F;
      if (i >= 6) params.top_p = 0.9F;
      if (i == 5) params.top_k = 10;
      if (i == 1) params.logit_bias = {{4, 1.5F}};
      params.max_tokens = 60;
      driver.Add({1, 2, 3, i}, params);
    }
    for (int step = 0; step < 10; ++step) driver.Step(100);
    for (int step = 0; step < 40; ++step) {
      const StepPlan& plan = driver.MakePlan(1);
      ASSERT_EQ(plan.num_rows(), 8U);
      const int64_t before = num_allocations.load();
      ASSERT_TRUE(runner->Run(plan, driver.result()).ok());
      ASSERT_EQ(num_allocations.load() - before, 0) << "step " << step;
      driver.Take();
    }
  }
}

// Beams that fork over each other every step, with a block table that moves and tokens that are transcript.
TEST(Allocations, SteadyForksAndBestTokensMakeNone) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"), 2);
  const auto runner = model.MakeRunner({.max_num_seqs = 4,
                                        .max_num_batched_tokens = 64,
                                        .max_model_len = 256,
                                        .num_blocks = 64,
                                        .block_size = 4,
                                        .kv_dtype = DType::kBf16});
  Admission admission = {.seat = SeatId{0}, .stop_token_ids = {7}, .history = {1}, .num_prompt_tokens = 1};
  admission.params.frequency_penalty = 1;
  admission.params.stop = {"a stop string that is too long for a small string"};
  admission.params.logit_bias = {{4, 1.0F}};
  admission.params.min_tokens = 200;
  StepPlan plan;
  StepResult result;
  plan.admissions = {admission};
  for (uint32_t step = 0; step < 60; ++step) {
    // Seats 1 and 2 become copies of 0, or 0 and 2 of 1; each then has its own last block.
    const SeatId parent{step < 4 ? 0 : step % 2}, other{1 - static_cast<uint32_t>(parent)};
    if (step > 0) plan.forks = {{parent, other, 1}, {parent, SeatId{2}, 2}};
    plan.spans.clear();
    plan.tasks.clear();
    plan.tokens.clear();
    for (uint32_t seat = 0; seat < (step == 0 ? 1U : 3U); ++seat) {
      if (step % 4 == 0) {
        plan.appended_blocks.push_back({SeatId{seat}, 0, step / 4, BlockId{step / 4 * 3 + seat}});
      } else if (SeatId{seat} != parent) {
        const uint32_t first = step / 4 * 3;
        plan.copies.push_back(
            {SeatId{seat}, 0, step / 4, BlockId{first + static_cast<uint32_t>(parent)}, BlockId{first + seat}});
      }
      plan.spans.push_back({SeatId{seat}, seat, 1, step});
      plan.tokens.push_back(static_cast<int32_t>(step + seat));
      plan.tasks.push_back(
          {.kind = RowTask::Kind::kBest, .row = seat, .seat = SeatId{seat}, .position = step + 1, .draws = 12});
    }
    const int64_t before = num_allocations.load();
    ASSERT_TRUE(runner->Run(plan, result).ok());
    const int64_t made = num_allocations.load() - before;
    ASSERT_TRUE(step < 10 || made == 0) << made << " in step " << step;
    ASSERT_EQ(result.tasks.back().num_tokens, 12U);
    plan.Clear();
  }
}

}  // namespace
}  // namespace quire

#endif
