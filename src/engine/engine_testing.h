// What the tests of the engine share: a small one over the fake runner, and requests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>
#include <vector>

#include "base/log.h"
#include "engine/engine.h"
#include "engine/number_tokenizer_testing.h"
#include "sched/fake_runner_testing.h"

namespace quire {

inline constexpr int32_t kVocab = NumberTokenizer::kVocab;

inline EngineOptions SmallOptions() {
  EngineOptions options;
  options.scheduler.max_num_seqs = 4;
  options.scheduler.max_num_batched_tokens = 32;
  options.scheduler.max_model_len = 64;
  options.scheduler.block_size = 4;
  options.scheduler.num_blocks = 32;
  options.vocab_size = kVocab;
  options.max_queued_requests = 4;
  return options;
}

inline std::unique_ptr<FakeRunner> SmallRunner() {
  return std::make_unique<FakeRunner>(
      FakeRunnerOptions{.num_seats = 4, .num_blocks = 32, .block_size = 4, .vocab_size = kVocab});
}

inline std::unique_ptr<Engine> MakeEngine(EngineOptions options = SmallOptions(),
                                          std::unique_ptr<StepRunner> runner = SmallRunner()) {
  SetLogLevel(LogLevel::kOff);
  Result<std::unique_ptr<Engine>> engine = Engine::Create(std::move(options), std::move(runner), nullptr);
  EXPECT_TRUE(engine.ok());
  return *std::move(engine);
}

inline Request Ask(std::vector<int32_t> prompt, int32_t max_tokens, uint64_t seed = 1) {
  Request args;
  args.prompt = std::move(prompt);
  args.params.max_tokens = max_tokens;
  args.params.seed = seed;
  return args;
}

inline void RunDry(Engine& engine) {
  for (int step = 0; step < 10000 && engine.HasWork(); ++step) engine.Step();
  EXPECT_FALSE(engine.HasWork());
}

}  // namespace quire
