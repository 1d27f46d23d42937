// The gate, by what an engine behind it refuses.
#include "engine/intake.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "engine/engine_testing.h"

namespace quire {
namespace {

TEST(IntakeTest, RefusesWhatCanNeverFitWithTheNumbers) {
  const auto engine = MakeEngine();
  const auto message = [&](Request args) { return engine->Submit(std::move(args)).error().message; };
  EXPECT_NE(message(Ask(std::vector<int32_t>(64, 1), 1)).find("64 tokens, but the prompt has 64"), std::string::npos);
  EXPECT_NE(message(Ask({1, 2}, 63)).find("at most 62 fit"), std::string::npos);
  EXPECT_NE(message(Ask({}, 1)).find("no tokens"), std::string::npos);
  EXPECT_NE(message(Ask({kVocab}, 1)).find("from 0 to 99"), std::string::npos);
  EXPECT_FALSE(engine->HasWork());
}

TEST(IntakeTest, FullQueueIsResourceExhausted) {
  const auto engine = MakeEngine();
  std::vector<RequestHandle> handles;
  handles.reserve(8);
  for (int i = 0; i < 8; ++i) handles.push_back(*engine->Submit(Ask({1}, 4)));
  EXPECT_EQ(engine->Submit(Ask({1}, 4)).error().code, ErrorCode::kResourceExhausted);
  RunDry(*engine);
  EXPECT_TRUE(engine->Submit(Ask({1}, 4)).ok());
}

TEST(IntakeTest, WhoWaitsForMemoryCountsAgainstTheQueueWhateverSeatsAreFree) {
  EngineOptions options = SmallOptions();
  options.max_queued_requests = 2;
  options.scheduler.max_model_len = 128;
  const auto engine = MakeEngine(options);
  std::vector<RequestHandle> handles;
  const auto most_of_the_pool = [](int32_t token) { return Ask(std::vector<int32_t>(100, token), 4); };
  handles.push_back(*engine->Submit(most_of_the_pool(1)));
  engine->Step();
  handles.push_back(*engine->Submit(most_of_the_pool(2)));
  engine->Step();
  ASSERT_EQ(engine->Stats().scheduler.num_running, 1U);
  handles.push_back(*engine->Submit(Ask({1}, 4)));
  const auto refused = engine->Submit(Ask({1}, 4));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("2 requests wait already, and at most 2 may"), std::string::npos);
  RunDry(*engine);
  EXPECT_TRUE(engine->Submit(Ask({1}, 4)).ok());
}

TEST(IntakeTest, TokensThatWaitAreBounded) {
  EngineOptions options = SmallOptions();
  options.max_queued_tokens = 12;
  const auto engine = MakeEngine(options);
  const std::vector<int32_t> long_prompt(20, 1), prompt(7, 2);
  std::vector<RequestHandle> handles;
  handles.push_back(*engine->Submit(Ask(long_prompt, 4)));  // nothing else waits
  const auto refused = engine->Submit(Ask(prompt, 4));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kResourceExhausted);
  EXPECT_NE(refused.error().message.find("20 tokens wait"), std::string::npos);
  EXPECT_EQ(engine->Stats().queued_tokens, 20U);
  engine->Step();
  EXPECT_EQ(engine->Stats().queued_tokens, 0U);
  handles.push_back(*engine->Submit(Ask(prompt, 4)));
  EXPECT_FALSE(engine->Submit(Ask(prompt, 4)).ok());
  handles.clear();  // one of them had not started
  engine->Step();
  EXPECT_EQ(engine->Stats().queued_tokens, 0U);
  EXPECT_FALSE(engine->HasWork());
}

}  // namespace
}  // namespace quire
