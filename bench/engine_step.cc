// Host time of one engine step: everything but the model. Decoding sequences on the fake runner, with a real tokenizer.
// Prints medians over steady-state steps, in microseconds:
//   plan      the inbox and the scheduler's plan
//   apply     the scheduler's apply, stop rules, the account of slots, publishing to the mailboxes
//   text      detokenizing: what the same steps take longer with it than without
// with and without requests that wait for a seat.
//   bench_engine_step [TOKENIZER_DIRECTORY]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "base/log.h"
#include "engine/engine.h"
#include "sched/fake_runner_testing.h"

namespace quire {
namespace {

using Instant = std::chrono::steady_clock::time_point;

Instant Now() { return std::chrono::steady_clock::now(); }
double MicrosBetween(Instant begin, Instant end) {
  return std::chrono::duration<double, std::micro>(end - begin).count();
}

// Knows when the host handed over and got back.
class TimedRunner final : public StepRunner {
 public:
  explicit TimedRunner(const FakeRunnerOptions& options) : fake_(options) {}
  Status Submit(const StepPlan& plan) override {
    submitted = Now();
    return fake_.Submit(plan);
  }
  Status Sample(const StepMasks& masks) override { return fake_.Sample(masks); }
  Status Collect(StepResult& result) override {
    Status status = fake_.Collect(result);
    collected = Now();
    return status;
  }
  Instant submitted, collected;

 private:
  FakeRunner fake_;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

struct HostTime {
  double plan_us = 0, apply_us = 0;
};

// Of a step at num_seqs decoding sequences, while num_waiting requests wait; `with_text`: detokenizing them too.
HostTime Measure(uint32_t num_seqs, uint32_t num_waiting, std::shared_ptr<const Tokenizer> tokenizer, bool with_text) {
  constexpr int32_t kPrompt = 32, kOutput = 700;
  EngineOptions options;
  options.scheduler.max_num_seqs = num_seqs;
  options.scheduler.max_model_len = 1024;
  options.scheduler.num_blocks = num_seqs * 64;
  options.max_queued_requests = num_seqs + num_waiting;
  options.vocab_size = tokenizer->vocab_size();
  auto owned = std::make_unique<TimedRunner>(FakeRunnerOptions{.num_seats = num_seqs,
                                                               .num_blocks = options.scheduler.num_blocks,
                                                               .vocab_size = options.vocab_size,
                                                               .verify = false});
  TimedRunner& runner = *owned;
  auto engine = *Engine::Create(options, std::move(owned), std::move(tokenizer));
  std::vector<RequestHandle> handles;
  for (uint32_t i = 0; i < num_seqs + num_waiting; ++i) {
    Request args;
    args.prompt.assign(kPrompt, static_cast<int32_t>(i % 100));
    args.prompt[0] = static_cast<int32_t>(i % 1000);
    args.params.max_tokens = kOutput;
    args.params.ignore_eos = true;
    args.params.detokenize = with_text;
    args.params.seed = i;
    handles.push_back(*engine->Submit(std::move(args)));
  }
  for (int warm_up = 0; warm_up < 100; ++warm_up) engine->Step();
  std::vector<double> plan_us, apply_us;
  for (int step = 0; step < 500; ++step) {
    const Instant begin = Now();
    engine->Step();
    apply_us.push_back(MicrosBetween(runner.collected, Now()));
    plan_us.push_back(MicrosBetween(begin, runner.submitted));
    if (step % 4 == 3) {
      for (RequestHandle& handle : handles) handle.TryNext();  // clients read, off the clock
    }
  }
  return {Median(plan_us), Median(apply_us)};
}

int Main(int argc, char** argv) {
  SetLogLevel(LogLevel::kOff);
  const std::string directory = argc > 1 ? argv[1] : QUIRE_SOURCE_DIR "/models/tiny";
  Result<std::unique_ptr<Tokenizer>> loaded = Tokenizer::Load(directory);
  if (!loaded.ok()) {
    std::fprintf(stderr, "%s\n", loaded.error().message.c_str());
    return 1;
  }
  const std::shared_ptr<const Tokenizer> tokenizer = *std::move(loaded);
  std::printf("%-10s %8s %10s %10s %10s %10s\n", "sequences", "waiting", "plan, us", "apply, us", "text, us",
              "all, us");
  const auto print = [&](uint32_t num_seqs, uint32_t num_waiting) {
    const HostTime silent = Measure(num_seqs, num_waiting, tokenizer, false);
    const HostTime whole = Measure(num_seqs, num_waiting, tokenizer, true);
    std::printf("%-10u %8u %10.1f %10.1f %10.1f %10.1f\n", num_seqs, num_waiting, whole.plan_us, silent.apply_us,
                whole.apply_us - silent.apply_us, whole.plan_us + whole.apply_us);
  };
  for (const uint32_t num_seqs : {1U, 16U, 64U, 256U, 512U}) print(num_seqs, 0);
  print(64, 1000);
  print(512, 1000);
  return 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) { return quire::Main(argc, argv); }
