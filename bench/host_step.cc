// Host time of a step: what the scheduler costs while sequences decode, without a model. Medians over steps, and heap
// allocations per step. Goal: under 50 us a step at 64 running sequences, detokenizing included.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <numeric>
#include <vector>

#include "sched/fake_runner.h"
#include "sched/scheduler.h"

namespace {
uint64_t num_allocations = 0;
}  // namespace

void* operator new(size_t size) {
  ++num_allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace quire {
namespace {

constexpr uint32_t kPromptTokens = 256;
constexpr uint32_t kSteps = 2000;

double Now() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Samples {
  std::vector<double> us;
  uint64_t num_allocations = 0;

  double Quantile(double q) {
    const auto rank = static_cast<ptrdiff_t>(q * static_cast<double>(us.size() - 1));
    std::ranges::nth_element(us, us.begin() + rank);
    return us[static_cast<size_t>(rank)];
  }
};

template <typename F>
void Measure(Samples& samples, F call) {
  const uint64_t allocations = num_allocations;
  const double begin = Now();
  call();
  samples.us.push_back(Now() - begin);
  samples.num_allocations += num_allocations - allocations;
}

SchedulerConfig Config(uint32_t num_running) {
  SchedulerConfig config;
  config.max_num_seqs = num_running;
  config.max_model_len = kPromptTokens + 2 * kSteps;
  config.num_blocks = num_running * (config.max_model_len / config.block_size + 1);
  config.chunk_budget.target_ratio = 0;
  return config;
}

void Fill(Scheduler& scheduler, uint32_t num_running) {
  for (uint32_t i = 0; i < num_running; ++i) {
    Request request;
    request.id = RequestId{i};
    request.prompt.resize(kPromptTokens - i % 16);
    std::iota(request.prompt.begin(), request.prompt.end(), static_cast<int32_t>(i) * 1000);
    request.params.max_tokens = 2 * kSteps;
    request.params.seed = i;
    request.eos_token_ids = {-1};
    if (!scheduler.Add(std::move(request)).ok()) std::abort();
  }
}

void Report(const char* name, Samples& samples) {
  std::printf("  %-6s median %7.2f us   p99 %7.2f us   allocations/step %.3f\n", name, samples.Quantile(0.5),
              samples.Quantile(0.99),
              static_cast<double>(samples.num_allocations) / static_cast<double>(samples.us.size()));
}

void Bench(uint32_t num_running) {
  const SchedulerConfig config = Config(num_running);
  Scheduler scheduler(config);
  FakeRunner runner({.num_slots = num_running, .num_blocks = config.num_blocks, .verify = false});
  StepResult result;
  Fill(scheduler, num_running);
  Samples plan_samples, apply_samples, both;
  for (uint32_t measured = 0; measured < kSteps;) {
    const bool steady = scheduler.Stats().num_waiting == 0 && scheduler.Stats().num_running == num_running;
    Samples warmup;
    const StepPlan* plan = nullptr;
    Measure(steady ? plan_samples : warmup, [&] { plan = &scheduler.Plan(0); });
    if (!runner.Submit(*plan).ok() || !runner.Collect(result).ok()) std::abort();
    const bool decodes = plan->num_rows() == num_running;
    Measure(steady ? apply_samples : warmup, [&] { scheduler.Apply(result); });
    if (!steady) continue;
    if (!decodes) {  // the last prompts were still under way
      plan_samples = {};
      apply_samples = {};
      continue;
    }
    both.us.push_back(plan_samples.us.back() + apply_samples.us.back());
    ++measured;
  }
  both.num_allocations = plan_samples.num_allocations + apply_samples.num_allocations;
  std::printf("%u running, decode only, %u steps\n", num_running, kSteps);
  Report("plan", plan_samples);
  Report("apply", apply_samples);
  Report("both", both);
}

}  // namespace
}  // namespace quire

int main() {
  for (const uint32_t num_running : {64U, 512U}) quire::Bench(num_running);
}
