// Host time of one engine step: everything but the model. Decoding sequences on the fake runner, with a real tokenizer:
// plan, apply, detokenize, publish to the mailboxes. Prints medians over steady-state steps, in microseconds.
//   bench_engine_step [TOKENIZER_DIRECTORY]
#include <algorithm>
#include <cstdio>
#include <vector>

#include "base/log.h"
#include "engine/engine.h"
#include "sched/fake_runner.h"

namespace quire {
namespace {

// Adds up the time that is spent inside of the runner, which is not the host's.
class TimedRunner final : public StepRunner {
 public:
  explicit TimedRunner(const FakeRunnerOptions& options) : fake_(options) {}
  Status Submit(const StepPlan& plan) override {
    const TimeUs begin = Clock::Real().NowUs();
    Status status = fake_.Submit(plan);
    runner_us += Clock::Real().NowUs() - begin;
    return status;
  }
  Status Sample(std::span<const std::span<const uint32_t>> masks) override { return fake_.Sample(masks); }
  Status Collect(StepResult& result) override {
    const TimeUs begin = Clock::Real().NowUs();
    Status status = fake_.Collect(result);
    runner_us += Clock::Real().NowUs() - begin;
    return status;
  }
  TimeUs runner_us = 0;

 private:
  FakeRunner fake_;
};

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Microseconds of a step at num_seqs decoding sequences; `with_text`: detokenizing them too.
double HostTimeUs(uint32_t num_seqs, std::shared_ptr<const Tokenizer> tokenizer, bool with_text) {
  constexpr int32_t kPrompt = 32, kOutput = 700;
  EngineOptions options;
  options.scheduler.max_num_seqs = num_seqs;
  options.scheduler.max_model_len = 1024;
  options.scheduler.num_blocks = num_seqs * 64;
  options.vocab_size = tokenizer->vocab_size();
  auto owned = std::make_unique<TimedRunner>(FakeRunnerOptions{.num_slots = num_seqs,
                                                               .num_blocks = options.scheduler.num_blocks,
                                                               .vocab_size = options.vocab_size,
                                                               .verify = false});
  TimedRunner& runner = *owned;
  auto engine = *Engine::Create(options, std::move(owned), std::move(tokenizer));
  std::vector<RequestHandle> handles;
  for (uint32_t i = 0; i < num_seqs; ++i) {
    SubmitArgs args;
    args.prompt.assign(kPrompt, static_cast<int32_t>(i % 100));
    args.prompt[0] = static_cast<int32_t>(i);
    args.params.max_tokens = kOutput;
    args.params.ignore_eos = true;
    args.params.detokenize = with_text;
    args.params.seed = i;
    handles.push_back(*engine->Submit(std::move(args)));
  }
  for (int warm_up = 0; warm_up < 100; ++warm_up) engine->Step();
  std::vector<double> samples;
  for (int round = 0; round < 25; ++round) {
    constexpr int kSteps = 20;
    const TimeUs runner_before = runner.runner_us;
    const TimeUs begin = Clock::Real().NowUs();
    for (int step = 0; step < kSteps; ++step) {
      engine->Step();
    }
    const TimeUs spent = Clock::Real().NowUs() - begin - (runner.runner_us - runner_before);
    samples.push_back(static_cast<double>(spent) / kSteps);
    for (RequestHandle& handle : handles) handle.TryNext();  // clients read, off the clock
  }
  return Median(samples);
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
  std::printf("%-10s %16s %16s\n", "sequences", "with text, us", "without, us");
  for (const uint32_t num_seqs : {1U, 16U, 64U, 256U, 512U}) {
    std::printf("%-10u %16.1f %16.1f\n", num_seqs, HostTimeUs(num_seqs, tokenizer, true),
                HostTimeUs(num_seqs, tokenizer, false));
  }
  return 0;
}

}  // namespace
}  // namespace quire

int main(int argc, char** argv) { return quire::Main(argc, argv); }
