#include "sched/ngram_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Tokens = std::vector<int32_t>;

Tokens Propose(NgramIndex& index, const Tokens& tokens, uint32_t max_drafts = 3) {
  Tokens drafts;
  index.Propose(tokens, max_drafts, drafts);
  return drafts;
}

Tokens ProposeOnce(const Tokens& tokens, uint32_t max_drafts = 3, const NgramOptions& options = {}) {
  NgramIndex index(options);
  return Propose(index, tokens, max_drafts);
}

TEST(NgramIndexTest, SaysWhatFollowedTheSameTokensBefore) {
  EXPECT_THAT(ProposeOnce({1, 2, 3, 4, 5, 9, 1, 2}), ElementsAre(3, 4, 5));
  EXPECT_THAT(ProposeOnce({1, 2, 3, 4, 5, 9, 1, 2}, 1), ElementsAre(3));
  EXPECT_THAT(ProposeOnce({1, 2, 3, 4, 5, 9, 2}), IsEmpty()) << "one token is too short a match";
  EXPECT_THAT(ProposeOnce({1, 2, 3, 4, 5, 9, 2}, 3, {.min_tokens = 1, .max_tokens = 4}), ElementsAre(3, 4, 5));
  EXPECT_THAT(ProposeOnce({1}), IsEmpty());
  EXPECT_THAT(ProposeOnce({1, 2}), IsEmpty());
}

TEST(NgramIndexTest, PrefersTheLongestMatchAndThenTheLatest) {
  EXPECT_THAT(ProposeOnce({0, 1, 2, 7, 5, 1, 2, 8, 5, 1, 2, 9, 0, 1, 2}), ElementsAre(7, 5, 1));
  EXPECT_THAT(ProposeOnce({1, 2, 7, 1, 2, 8, 1, 2}), ElementsAre(8, 1, 2));
  // Beyond max_tokens a longer match is not a better one.
  EXPECT_THAT(ProposeOnce({5, 1, 2, 7, 4, 1, 2, 8, 5, 1, 2}, 1, {.min_tokens = 2, .max_tokens = 2}), ElementsAre(8));
}

TEST(NgramIndexTest, ARepetitionGoesOnAsFarAsItIsKnown) {
  EXPECT_THAT(ProposeOnce({1, 1, 1}), ElementsAre(1)) << "what follows the match ends with the sequence";
  EXPECT_THAT(ProposeOnce({1, 2, 1, 2, 1, 2}, 5), ElementsAre(1, 2));
}

// However the tokens came, and against a search of all places.
TEST(NgramIndexTest, EqualsASearchOfAllPlaces) {
  std::minstd_rand random(3);
  for (int run = 0; run < 200; ++run) {
    const NgramOptions options = {.min_tokens = 1 + static_cast<uint32_t>(random() % 3),
                                  .max_tokens = 3 + static_cast<uint32_t>(random() % 3)};
    NgramIndex index(options);
    Tokens tokens;
    for (int step = 0; step < 60; ++step) {
      const size_t num_more = 1 + random() % 3;
      for (size_t i = 0; i < num_more; ++i) tokens.push_back(static_cast<int32_t>(random() % 4));
      size_t best_length = 0, best_end = 0;
      for (size_t end = tokens.size() - 1; end > 0; --end) {
        size_t length = 0;
        while (length < std::min<size_t>(options.max_tokens, end) &&
               tokens[end - 1 - length] == tokens[tokens.size() - 1 - length]) {
          ++length;
        }
        if (length >= options.min_tokens && length > best_length) {
          best_length = length;
          best_end = end;
        }
      }
      Tokens expected;
      for (size_t i = best_end; best_length > 0 && i < std::min(best_end + 3, tokens.size()); ++i) {
        expected.push_back(tokens[i]);
      }
      ASSERT_EQ(Propose(index, tokens), expected) << "run " << run << " step " << step;
    }
  }
}

}  // namespace
}  // namespace quire
