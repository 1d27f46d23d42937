#include "engine/output_queue.h"

#include <gtest/gtest.h>

#include <thread>

namespace quire {
namespace {

OutputDelta Piece(std::string text, std::vector<int32_t> ids, FinishReason reason = FinishReason::kNone) {
  OutputDelta delta;
  delta.text = std::move(text);
  delta.token_ids = std::move(ids);
  delta.finish_reason = reason;
  return delta;
}

TEST(OutputQueue, MergesWhatASlowClientHasNotRead) {
  OutputQueue queue;
  int notified = 0;
  queue.SetNotify([&] { ++notified; });
  queue.Push(Piece("a", {1}));
  queue.Push(Piece("b", {2, 3}));
  queue.Push(Piece("", {}, FinishReason::kStop));
  EXPECT_EQ(notified, 1);
  const std::optional<OutputDelta> delta = queue.TryNext();
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->text, "ab");
  EXPECT_EQ(delta->token_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(delta->finish_reason, FinishReason::kStop);
  EXPECT_FALSE(queue.TryNext());
  EXPECT_TRUE(queue.finished());
}

TEST(OutputQueue, KeepsChoicesApartInTheOrderOfTheirNews) {
  OutputQueue queue(3);
  int notified = 0;
  queue.SetNotify([&] { ++notified; });
  const auto push = [&](uint32_t choice, std::string text, FinishReason reason = FinishReason::kNone) {
    OutputDelta delta = Piece(std::move(text), {1}, reason);
    delta.choice = choice;
    queue.Push(std::move(delta));
  };
  push(2, "c");
  push(0, "a", FinishReason::kStop);
  push(2, "d");
  EXPECT_EQ(notified, 1);
  std::optional<OutputDelta> delta = queue.TryNext();
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->choice, 2U);
  EXPECT_EQ(delta->text, "cd");
  EXPECT_EQ(delta->token_ids.size(), 2U);
  delta = queue.TryNext();
  ASSERT_TRUE(delta);
  EXPECT_EQ(delta->choice, 0U);
  EXPECT_TRUE(delta->finished());
  EXPECT_FALSE(queue.TryNext());
  push(1, "b", FinishReason::kStop);
  EXPECT_EQ(notified, 2);
  EXPECT_FALSE(queue.finished());
  push(2, "", FinishReason::kLength);
  EXPECT_TRUE(queue.finished());
}

TEST(OutputQueue, NotifiesAtOnceWhenSomethingIsThereAlready) {
  OutputQueue queue;
  queue.Push(Piece("a", {1}));
  bool notified = false;
  queue.SetNotify([&] { notified = true; });
  EXPECT_TRUE(notified);
}

TEST(OutputQueue, EveryTokenArrivesOnceAcrossThreads) {
  OutputQueue queue;
  constexpr int kTokens = 5000;
  std::thread producer([&] {
    for (int i = 0; i < kTokens; ++i) queue.Push(Piece("x", {i}));
    queue.Push(Piece("", {}, FinishReason::kLength));
  });
  std::vector<int32_t> received;
  while (true) {
    std::optional<OutputDelta> delta = queue.Wait(std::chrono::milliseconds(1000));
    ASSERT_TRUE(delta);
    received.insert(received.end(), delta->token_ids.begin(), delta->token_ids.end());
    if (delta->finished()) break;
  }
  producer.join();
  ASSERT_EQ(received.size(), static_cast<size_t>(kTokens));
  for (int i = 0; i < kTokens; ++i) ASSERT_EQ(received[static_cast<size_t>(i)], i);
}

}  // namespace
}  // namespace quire
