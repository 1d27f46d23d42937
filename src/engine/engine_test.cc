#include "engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "sched/fake_runner.h"
#include "sched/step_trace.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 100;

// Token id i is the text "i,".
class NumberTokenizer final : public Tokenizer {
 public:
  Result<std::vector<int32_t>> Encode(std::string_view, bool) const override { return std::vector<int32_t>{}; }
  std::string Decode(std::span<const int32_t> ids, bool) const override {
    std::string text;
    for (const int32_t id : ids) text += std::to_string(id) + ',';
    return text;
  }
  int32_t vocab_size() const override { return kVocab; }
  bool IsSpecial(int32_t) const override { return false; }
  std::string_view TokenText(int32_t) const override { return {}; }
  std::optional<int32_t> TokenId(std::string_view) const override { return {}; }
};

EngineOptions SmallOptions() {
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

std::unique_ptr<FakeRunner> SmallRunner() {
  return std::make_unique<FakeRunner>(
      FakeRunnerOptions{.num_slots = 4, .num_blocks = 32, .block_size = 4, .vocab_size = kVocab});
}

std::unique_ptr<Engine> MakeEngine(EngineOptions options = SmallOptions(),
                                   std::unique_ptr<StepRunner> runner = SmallRunner()) {
  SetLogLevel(LogLevel::kOff);
  Result<std::unique_ptr<Engine>> engine = Engine::Create(std::move(options), std::move(runner), nullptr);
  EXPECT_TRUE(engine.ok());
  return *std::move(engine);
}

SubmitArgs Ask(std::vector<int32_t> prompt, int32_t max_tokens, uint64_t seed = 1) {
  SubmitArgs args;
  args.prompt = std::move(prompt);
  args.params.max_tokens = max_tokens;
  args.params.seed = seed;
  return args;
}

void RunDry(Engine& engine) {
  for (int step = 0; step < 10000 && engine.HasWork(); ++step) engine.Step();
  EXPECT_FALSE(engine.HasWork());
}

TEST(Engine, DeliversWhatTheRequestSaysAlone) {
  const auto engine = MakeEngine();
  std::vector<RequestHandle> handles;
  for (int32_t i = 0; i < 6; ++i) handles.push_back(*engine->Submit(Ask({i, 2, 3, 4, 5}, 10 + i)));
  RunDry(*engine);
  for (int32_t i = 0; i < 6; ++i) {
    const std::optional<OutputDelta> delta = handles[static_cast<size_t>(i)].TryNext();
    ASSERT_TRUE(delta);
    EXPECT_EQ(delta->token_ids, FakeRunner::Continue({i, 2, 3, 4, 5}, 1, static_cast<uint32_t>(10 + i), kVocab));
    EXPECT_EQ(delta->finish_reason, FinishReason::kLength);
    EXPECT_EQ(delta->num_prompt_tokens, 5U);
  }
  const StatsSnapshot stats = engine->Stats();
  EXPECT_EQ(stats.requests_length, 6U);
  EXPECT_EQ(stats.generation_tokens, 75U);
  EXPECT_EQ(stats.blocks_used, 0U);
}

TEST(Engine, StopStringEndsAcrossTokensAndFreesTheSequence) {
  SetLogLevel(LogLevel::kOff);
  const auto engine = *Engine::Create(SmallOptions(), SmallRunner(), std::make_shared<NumberTokenizer>());
  const std::vector<int32_t> says = FakeRunner::Continue({1, 2, 3}, 1, 20, kVocab);
  NumberTokenizer tokenizer;
  const std::string stop = std::to_string(says[4]) + "," + std::to_string(says[5]);
  SubmitArgs args = Ask({1, 2, 3}, 20);
  args.params.stop = {stop};
  RequestHandle handle = *engine->Submit(std::move(args));
  RunDry(*engine);
  const std::optional<OutputDelta> delta = handle.TryNext();
  ASSERT_TRUE(delta);
  const std::string whole = tokenizer.Decode(says, false);
  EXPECT_EQ(delta->text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(delta->stop_string, stop);
  EXPECT_EQ(delta->finish_reason, FinishReason::kStop);
  EXPECT_LT(delta->token_ids.size(), 20U);
  EXPECT_EQ(engine->Stats().blocks_used, 0U);
}

TEST(Engine, RefusesWhatCanNeverFitWithTheNumbers) {
  const auto engine = MakeEngine();
  const auto message = [&](SubmitArgs args) { return engine->Submit(std::move(args)).error().message; };
  EXPECT_NE(message(Ask(std::vector<int32_t>(64, 1), 1)).find("64 tokens, but the prompt has 64"), std::string::npos);
  EXPECT_NE(message(Ask({1, 2}, 63)).find("at most 62 fit"), std::string::npos);
  EXPECT_NE(message(Ask({}, 1)).find("no tokens"), std::string::npos);
  EXPECT_NE(message(Ask({kVocab}, 1)).find("from 0 to 99"), std::string::npos);
  EXPECT_FALSE(engine->HasWork());
}

TEST(Engine, FullQueueIsResourceExhausted) {
  const auto engine = MakeEngine();
  std::vector<RequestHandle> handles;
  for (int i = 0; i < 8; ++i) handles.push_back(*engine->Submit(Ask({1}, 4)));
  EXPECT_EQ(engine->Submit(Ask({1}, 4)).error().code, ErrorCode::kResourceExhausted);
  RunDry(*engine);
  EXPECT_TRUE(engine->Submit(Ask({1}, 4)).ok());
}

TEST(Engine, DestroyingAHandleFreesItsSequenceWithinOneStep) {
  const auto engine = MakeEngine();
  RequestHandle kept = *engine->Submit(Ask({1, 2, 3}, 40));
  {
    const RequestHandle dropped = *engine->Submit(Ask({4, 5, 6}, 40));
    for (int i = 0; i < 5; ++i) engine->Step();
    EXPECT_EQ(engine->Stats().num_running, 2U);
  }
  engine->Step();
  EXPECT_EQ(engine->Stats().num_running, 1U);
  EXPECT_EQ(engine->Stats().requests_abort, 1U);
  RunDry(*engine);
  EXPECT_EQ(kept.TryNext()->token_ids, FakeRunner::Continue({1, 2, 3}, 1, 40, kVocab));
}

TEST(Engine, ANanEndsItsRequestAndNoOther) {
  auto runner = SmallRunner();
  FakeRunner& fake = *runner;
  const auto engine = MakeEngine(SmallOptions(), std::move(runner));
  RequestHandle bad = *engine->Submit(Ask({1, 2, 3}, 10));
  RequestHandle good = *engine->Submit(Ask({4, 5, 6}, 10));
  fake.InjectNan(bad.id(), 5);
  RunDry(*engine);
  const std::optional<OutputDelta> failed = bad.TryNext();
  EXPECT_EQ(failed->finish_reason, FinishReason::kError);
  ASSERT_TRUE(failed->error);
  EXPECT_NE(failed->error->message.find("NaN"), std::string::npos);
  EXPECT_EQ(good.TryNext()->token_ids, FakeRunner::Continue({4, 5, 6}, 1, 10, kVocab));
}

class ThrowingRunner final : public StepRunner {
 public:
  Status Submit(const StepPlan&) override { throw std::runtime_error("the device is gone"); }
  Status Sample(std::span<const std::span<const uint32_t>>) override { return {}; }
  Status Collect(StepResult&) override { return {}; }
};

TEST(EngineThread, AnExceptionFailsHealthAndEveryClientWithTheReason) {
  const auto engine = MakeEngine(SmallOptions(), std::make_unique<ThrowingRunner>());
  EngineThread thread(*engine);
  RequestHandle handle = *engine->Submit(Ask({1}, 4));
  const std::optional<OutputDelta> delta = handle.Wait(std::chrono::seconds(10));
  ASSERT_TRUE(delta && delta->error);
  EXPECT_NE(delta->error->message.find("the device is gone"), std::string::npos);
  EXPECT_NE(engine->Health().error().message.find("the device is gone"), std::string::npos);
  EXPECT_EQ(engine->Submit(Ask({1}, 4)).error().code, ErrorCode::kUnavailable);
}

TEST(EngineThread, ServesManyClientsThatComeAndGo) {
  const auto engine = MakeEngine();
  EngineThread thread(*engine);
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      for (int32_t round = 0; round < 30; ++round) {
        const std::vector<int32_t> prompt = {client, round, 7};
        Result<RequestHandle> handle = engine->Submit(Ask(prompt, 12));
        if (!handle.ok()) continue;    // never here: four clients, eight places
        if (round % 5 == 4) continue;  // hangs up at once
        std::vector<int32_t> tokens;
        for (bool finished = false; !finished;) {
          const std::optional<OutputDelta> delta = handle->Wait(std::chrono::seconds(10));
          if (!delta) break;
          tokens.insert(tokens.end(), delta->token_ids.begin(), delta->token_ids.end());
          finished = delta->finished();
        }
        right += tokens == FakeRunner::Continue(prompt, 1, 12, kVocab);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(right, 4 * 24);
}

TEST(EngineThread, DrainingFinishesWhatRunsAndRefusesTheRest) {
  const auto engine = MakeEngine();
  RequestHandle handle = *engine->Submit(Ask({1, 2}, 30));
  EngineThread thread(*engine);
  engine->StartDraining();
  EXPECT_EQ(engine->Submit(Ask({1}, 4)).error().code, ErrorCode::kUnavailable);
  std::vector<int32_t> tokens;
  for (bool finished = false; !finished;) {
    const std::optional<OutputDelta> delta = handle.Wait(std::chrono::seconds(10));
    ASSERT_TRUE(delta);
    tokens.insert(tokens.end(), delta->token_ids.begin(), delta->token_ids.end());
    finished = delta->finished();
  }
  EXPECT_EQ(tokens, FakeRunner::Continue({1, 2}, 1, 30, kVocab));
  for (int i = 0; i < 1000 && !engine->Drained(); ++i) std::this_thread::yield();
  EXPECT_TRUE(engine->Drained());
}

TEST(Engine, TraceHoldsEveryPlanAndResult) {
  EngineOptions options = SmallOptions();
  options.trace_path = testing::TempDir() + "quire_engine_trace";
  {
    const auto engine = MakeEngine(options);
    const RequestHandle handle = *engine->Submit(Ask({1, 2, 3}, 5));
    RunDry(*engine);
  }
  Result<TraceReader> reader = TraceReader::Open(options.trace_path);
  ASSERT_TRUE(reader.ok());
  StepPlan plan;
  StepResult recorded, replayed;
  const auto fresh = SmallRunner();
  int steps = 0;
  while (true) {
    const Result<TraceReader::Kind> kind = reader->Next(plan, recorded);
    ASSERT_TRUE(kind.ok());
    if (*kind == TraceReader::Kind::kEnd) break;
    if (*kind == TraceReader::Kind::kPlan) continue;
    ASSERT_TRUE(fresh->Submit(plan).ok());
    ASSERT_TRUE(fresh->Collect(replayed).ok());
    EXPECT_EQ(replayed.tokens, recorded.tokens);
    ++steps;
  }
  EXPECT_EQ(steps, 5);
}

}  // namespace
}  // namespace quire
