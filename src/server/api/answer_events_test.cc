#include "server/api/answer_events.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>

#include "engine/output_queue.h"

namespace quire::server {
namespace {

OutputDelta Delta(uint32_t choice, const std::string& text, std::vector<int32_t> ids) {
  OutputDelta delta;
  delta.choice = choice;
  delta.text = text;
  delta.token_ids = std::move(ids);
  delta.num_prompt_tokens = 5;
  delta.num_cached_tokens = 2;
  delta.num_output_tokens = static_cast<uint32_t>(delta.token_ids.size());
  return delta;
}

OutputDelta Last(OutputDelta delta) {
  delta.finish_reason = FinishReason::kStop;
  delta.stop_string = "x";
  return delta;
}

TEST(AnswerEvents, AChoiceStartsOnceAndEndsOnce) {
  AnswerEvents events(2, false);
  const ChoiceNews first = events.Take(Delta(1, "a", {1}));
  EXPECT_EQ(first.choice, 1U);
  EXPECT_EQ(first.events.size(), 2U);
  EXPECT_TRUE(first.starts());
  EXPECT_EQ(first.text(), "a");
  EXPECT_EQ(first.Find<ChoiceFinished>(), nullptr);
  EXPECT_TRUE(events.Take(Delta(0, "", {2})).starts()) << "each choice on its own";
  const ChoiceNews silent = events.Take(Delta(1, "", {7}));
  EXPECT_FALSE(silent.starts());
  EXPECT_EQ(silent.token_ids(), (std::vector<int32_t>{7})) << "a token that is no whole character yet";
  const ChoiceNews last = events.Take(Last(Delta(1, "", {})));
  ASSERT_EQ(last.events.size(), 1U);
  EXPECT_EQ(last.Find<ChoiceFinished>()->stop_string, "x");
  EXPECT_EQ(last.usage.prompt_tokens, 5U);
  EXPECT_EQ(last.usage.cached_tokens, 2U);
}

TEST(AnswerEvents, WhatIsDroppedIsNeitherToldNorCounted) {
  AnswerEvents events(1, true);
  const ChoiceNews news = events.Take(Last(Delta(0, "a", {1})));
  EXPECT_EQ(news.text(), "");
  EXPECT_TRUE(news.token_ids().empty());
  EXPECT_EQ(news.usage.completion_tokens, 0U);
  EXPECT_EQ(news.usage.prompt_tokens, 5U);
  EXPECT_EQ(news.Find<ChoiceFinished>()->reason, FinishReason::kLength);
}

// What a client has read of one choice.
struct Told {
  std::string text;
  std::vector<int32_t> ids;
  int num_starts = 0;
  int num_ends = 0;
  bool operator==(const Told&) const = default;
};

Told Tell(const std::vector<OutputDelta>& deltas, const std::vector<bool>& merged_with_next) {
  Told told;
  AnswerEvents events(1, false);
  OutputDelta pending;
  for (size_t i = 0; i < deltas.size(); ++i) {
    MergeDelta(pending, OutputDelta(deltas[i]));
    if (i + 1 < deltas.size() && merged_with_next[i]) continue;
    const ChoiceNews news = events.Take(std::exchange(pending, {}));
    const std::vector<int32_t> ids = news.token_ids();
    told.text += news.text();
    told.ids.insert(told.ids.end(), ids.begin(), ids.end());
    told.num_starts += news.starts() ? 1 : 0;
    told.num_ends += news.Find<ChoiceFinished>() != nullptr ? 1 : 0;
  }
  return told;
}

TEST(AnswerEvents, DeltasThatMergeOnTheirWaySayTheSame) {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    const size_t num_deltas = 1 + random() % 6;
    std::vector<OutputDelta> deltas;
    std::vector<bool> merged(num_deltas + 1);
    Told expected{.num_starts = 1, .num_ends = 1};
    for (size_t i = 0; i <= num_deltas; ++i) {
      merged[i] = random() % 2 == 0;
      const std::string text(random() % 3, static_cast<char>('a' + i));
      const std::vector<int32_t> ids(random() % 3, static_cast<int32_t>(i));
      expected.text += text;
      expected.ids.insert(expected.ids.end(), ids.begin(), ids.end());
      deltas.push_back(i < num_deltas ? Delta(0, text, ids) : Last(Delta(0, text, ids)));
    }
    EXPECT_EQ(Tell(deltas, merged), expected);
  }
}

}  // namespace
}  // namespace quire::server
