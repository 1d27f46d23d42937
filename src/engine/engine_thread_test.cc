// The engine on a thread of its own: failures, calls, clients that come and go, the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <numeric>
#include <stdexcept>
#include <thread>

#include "base/error.h"
#include "engine/engine_testing.h"

namespace quire {
namespace {

class ThrowingRunner final : public StepRunner {
 public:
  Status Submit(const StepPlan&) override { throw std::runtime_error("the device is gone"); }
  Status Sample(const StepMasks&) override { return {}; }
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

TEST(EngineThread, AnswersCallsWhenIdleAndAfterAFailure) {
  const auto engine = MakeEngine(SmallOptions(), std::make_unique<ThrowingRunner>());
  EngineThread thread(*engine);
  const auto ask = [&] {
    const auto answer = std::make_shared<std::promise<uint32_t>>();
    std::future<uint32_t> future = answer->get_future();
    engine->Call([answer](Scheduler& scheduler) { answer->set_value(scheduler.config().num_blocks); });
    return future.wait_for(std::chrono::seconds(10)) == std::future_status::ready ? future.get() : 0;
  };
  EXPECT_EQ(ask(), 32U);
  RequestHandle handle = *engine->Submit(Ask({1}, 4));
  ASSERT_TRUE(handle.Wait(std::chrono::seconds(10)));
  EXPECT_EQ(ask(), 32U);
}

TEST(EngineThread, PinsAPrefixForWhoeverStartsWithIt) {
  EngineOptions options = SmallOptions();
  options.scheduler.max_model_len = 128;
  const auto engine = MakeEngine(options);
  EngineThread thread(*engine);
  EXPECT_NE(engine->PinPrefix({1, 2, 3}).error().message.find("at least one KV block"), std::string::npos);
  std::vector<int32_t> prefix(10);
  std::iota(prefix.begin(), prefix.end(), 1);
  const Result<uint32_t> pinned = engine->PinPrefix(prefix);
  ASSERT_TRUE(pinned.ok()) << pinned.error().message;
  EXPECT_EQ(*pinned, 2U);
  std::vector<int32_t> prompt = prefix;
  prompt.push_back(50);
  RequestHandle handle = *engine->Submit(Ask(prompt, 4));
  std::optional<OutputDelta> delta;
  while (!delta || !delta->finished()) delta = handle.Wait(std::chrono::seconds(10));
  EXPECT_EQ(delta->num_cached_tokens, 8U);
  std::promise<Status> reset;
  engine->ResetPrefixCache([&](Status status) { reset.set_value(std::move(status)); });
  EXPECT_TRUE(reset.get_future().get().ok()) << "pinned blocks do not hinder it";
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_pinned, 2U) << "and stay";
  EXPECT_TRUE(engine->Submit(Ask({60}, 119)).ok());
  EXPECT_FALSE(engine->Submit(Ask({60}, 120)).ok()) << "they are out of reach of others";
}

TEST(EngineThread, ServesManyClientsThatComeAndGo) {
  EngineOptions options = SmallOptions();
  options.max_queued_requests = 8;  // of four clients: one each that they wait for, one each they have hung up on
  const auto engine = MakeEngine(options);
  EngineThread thread(*engine);
  std::atomic<int> right = 0;
  std::vector<std::thread> clients;
  clients.reserve(4);
  for (int client = 0; client < 4; ++client) {
    clients.emplace_back([&, client] {
      for (int32_t round = 0; round < 30; ++round) {
        const std::vector<int32_t> prompt = {client, round, 7};
        Result<RequestHandle> handle = engine->Submit(Ask(prompt, 12));
        if (!handle.ok()) {
          ADD_FAILURE() << handle.error().message;
          continue;
        }
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

TEST(EngineThread, AnExceptionBetweenStepsLosesNobody) {
  const auto engine = MakeEngine();
  bool called = false;
  engine->Call([](Scheduler&) { throw std::runtime_error("out of ideas"); });
  engine->Call([](Scheduler&) { throw std::runtime_error("and of memory"); });
  engine->Call([&](Scheduler&) { called = true; });
  RequestHandle handle = *engine->Submit(Ask({1, 2}, 30));
  EngineThread thread(*engine);
  const std::optional<OutputDelta> delta = handle.Wait(std::chrono::seconds(10));
  ASSERT_TRUE(delta && delta->error);
  EXPECT_NE(delta->error->message.find("out of ideas"), std::string::npos);
  thread.Stop();
  EXPECT_TRUE(called);
  EXPECT_TRUE(engine->Drained());
}

TEST(EngineThread, WhoComesAfterTheEndIsAnswered) {
  const auto engine = MakeEngine();
  EngineThread(*engine).Stop();
  int num_answers = 0;
  engine->ReportKv([&](const EngineKvReport& report) { num_answers += report.kv.num_blocks == 32 ? 1 : 0; });
  engine->ResetPrefixCache([&](const Status& status) { num_answers += status.ok() ? 1 : 0; });
  engine->StorePrefixCache([&](const Status& status) { num_answers += status.ok() ? 0 : 1; });
  EXPECT_EQ(num_answers, 3);
  EXPECT_EQ(engine->Submit(Ask({1}, 1)).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(engine->PinPrefix(std::vector<int32_t>(8, 1)).error().code, ErrorCode::kUnavailable);
}

TEST(EngineThread, StoresThePrefixCacheBeforeTheEnd) {
  EngineOptions options = SmallOptions();
  options.scheduler.num_disk_blocks = 100;
  const auto disk = std::make_shared<FakeDisk>();
  auto runner = std::make_unique<FakeRunner>(FakeRunnerOptions{
      .num_seats = 4, .num_blocks = 32, .block_size = 4, .vocab_size = kVocab, .disk = disk, .disk_delay_steps = 5});
  const auto engine = MakeEngine(options, std::move(runner));
  EngineThread thread(*engine);
  RequestHandle handle = *engine->Submit(Ask({1, 2, 3, 4, 5, 6, 7, 8}, 9));
  while (!handle.Wait(std::chrono::seconds(10))->finished()) {
  }
  std::promise<Status> stored;
  engine->StorePrefixCache([&](Status status) { stored.set_value(std::move(status)); });
  std::future<Status> status = stored.get_future();
  ASSERT_EQ(status.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  EXPECT_TRUE(status.get().ok());
  EXPECT_EQ(engine->Stats().scheduler.transfers[Transfer::Kind::kStore].completed, 4U);
  thread.Stop();
  EXPECT_EQ(disk->entries.size(), 4U);
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

}  // namespace
}  // namespace quire
