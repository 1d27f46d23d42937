// BeamSearch by hand: who lives on, in which place, and who ends.
#include "sched/beam_search.h"

#include <gtest/gtest.h>

#include "sched/exhaustive_beam_search_testing.h"

namespace quire {
namespace {

using Lists = std::vector<std::vector<TokenOutput>>;

BeamSearch::Outcome Step(BeamSearch& search, const Lists& lists) {
  const std::vector<std::span<const TokenOutput>> best(lists.begin(), lists.end());
  return search.Step(best);
}

std::vector<std::pair<uint32_t, int32_t>> ParentsAndTokens(const BeamSearch::Outcome& outcome) {
  std::vector<std::pair<uint32_t, int32_t>> pairs;
  for (const BeamSearch::Survivor& survivor : outcome.survivors) pairs.emplace_back(survivor.parent, survivor.token);
  return pairs;
}

using Pairs = std::vector<std::pair<uint32_t, int32_t>>;

TEST(BeamSearchTest, TheFirstStepForksThePrompt) {
  const Request request = MakeBeamRequest(3);
  BeamSearch search(request, 10);
  EXPECT_EQ(search.num_beams(), 1U);
  const BeamSearch::Outcome outcome = Step(search, {{{7, -0.5F}, {5, -1.0F}, {6, -2.0F}}});
  EXPECT_EQ(ParentsAndTokens(outcome), (Pairs{{0, 7}, {0, 5}, {0, 6}}));
  EXPECT_EQ(search.num_beams(), 3U);
  EXPECT_EQ(search.sum(1), -1.0F);
}

// The paper's figure 9: of four candidates the middle two have all the best continuations. They stay where they are,
// and their second ones take the places of those that are dropped.
TEST(BeamSearchTest, ForksTakeThePlacesOfDroppedBeams) {
  const Request request = MakeBeamRequest(4);
  BeamSearch search(request, 10);
  Step(search, {{{10, -1.0F}, {11, -1.0F}, {12, -1.0F}, {13, -1.0F}}});
  const std::vector<TokenOutput> poor = {{1, -8.0F}, {2, -8.0F}, {3, -8.0F}, {4, -8.0F}};
  const BeamSearch::Outcome outcome = Step(search, {poor,
                                                    {{21, -1.0F}, {22, -1.5F}, {3, -8.0F}, {4, -8.0F}},
                                                    {{31, -0.5F}, {32, -0.75F}, {3, -8.0F}, {4, -8.0F}},
                                                    poor});
  EXPECT_EQ(ParentsAndTokens(outcome), (Pairs{{2, 32}, {1, 21}, {2, 31}, {1, 22}}));
  EXPECT_EQ(outcome.survivors[0].rank, 1U);
  EXPECT_EQ(outcome.survivors[2].rank, 0U);
}

TEST(BeamSearchTest, EqualSumsGoToTheSmallerBeamAndThenInTheCandidatesOrder) {
  const Request request = MakeBeamRequest(3);
  BeamSearch search(request, 10);
  Step(search, {{{4, -1.0F}, {5, -1.0F}, {6, -1.0F}}});
  const std::vector<TokenOutput> same = {{8, -1.0F}, {9, -1.0F}, {3, -2.0F}};
  EXPECT_EQ(ParentsAndTokens(Step(search, {same, same, same})), (Pairs{{0, 8}, {1, 8}, {0, 9}}));
}

TEST(BeamSearchTest, EqualScoresGoToTheHypothesisThatEndedEarlier) {
  Request request = MakeBeamRequest(1, {2});
  request.params.length_penalty = 0;
  request.params.early_stopping = EarlyStopping::kNever;
  BeamSearch search(request, 10);
  const BeamSearch::Outcome first = Step(search, {{{2, -1.0F}, {3, -0.5F}}});
  ASSERT_EQ(first.ended.size(), 1U);
  ASSERT_FALSE(first.done);
  EXPECT_TRUE(Step(search, {{{2, -0.5F}, {3, -0.5F}}}).ended.empty());
}

TEST(BeamSearchTest, OnlyTheBestWidthMayEnd) {
  const Request request = MakeBeamRequest(2, {2});
  BeamSearch search(request, 10);
  const BeamSearch::Outcome first = Step(search, {{{5, -0.5F}, {6, -1.0F}, {2, -1.5F}}});
  EXPECT_TRUE(first.ended.empty()) << "it is the third best";
  const BeamSearch::Outcome second = Step(search, {{{2, -0.1F}, {7, -3.0F}, {8, -3.0F}}, {{7, -0.5F}, {8, -2.0F}}});
  ASSERT_EQ(second.ended.size(), 1U);
  EXPECT_EQ(second.ended[0].parent, 0U);
  EXPECT_EQ(second.ended[0].place, 0U);
  EXPECT_FLOAT_EQ(second.ended[0].sum, -0.6F);
  EXPECT_FLOAT_EQ(second.ended[0].score, -0.3F);
  EXPECT_EQ(ParentsAndTokens(second), (Pairs{{1, 8}, {1, 7}}));
}

TEST(BeamSearchTest, ABetterHypothesisTakesThePlaceOfTheWorst) {
  Request request = MakeBeamRequest(2, {2});
  request.params.early_stopping = EarlyStopping::kNever;
  request.params.length_penalty = 2;
  BeamSearch search(request, 20);
  Step(search, {{{2, -1.0F}, {5, -1.25F}, {6, -3.0F}}});
  const BeamSearch::Outcome second =
      Step(search, {{{2, -0.25F}, {7, -0.5F}, {8, -1.0F}}, {{9, -4.0F}, {2, -5.0F}, {8, -6.0F}}});
  ASSERT_EQ(second.ended.size(), 1U);
  EXPECT_EQ(second.ended[0].place, 1U);
  EXPECT_EQ(search.RankedPlaces(), (std::vector<uint32_t>{1, 0}));
  const BeamSearch::Outcome third =
      Step(search, {{{2, -0.25F}, {7, -0.5F}, {8, -1.0F}}, {{9, -4.0F}, {2, -5.0F}, {8, -6.0F}}});
  ASSERT_EQ(third.ended.size(), 1U);
  EXPECT_EQ(third.ended[0].place, 0U) << "where the first one was kept";
  EXPECT_EQ(search.RankedPlaces(), (std::vector<uint32_t>{0, 1}));
}

// Three hypotheses' worth of steps under each rule: the running beam is behind at its present length, and would be
// ahead at the longest.
TEST(BeamSearchTest, EarlyStoppingDecidesWhatRunningBeamsMayHopeFor) {
  const auto is_done = [](EarlyStopping early_stopping, float running) {
    Request request = MakeBeamRequest(1, {2});
    request.params.early_stopping = early_stopping;
    BeamSearch search(request, 11);
    Step(search, {{{5, -1.0F}, {6, -7.0F}}});
    return Step(search, {{{2, -1.0F}, {6, running}}}).done;  // a score of -1, and a beam of (running - 1) / 2
  };
  EXPECT_TRUE(is_done(EarlyStopping::kHeuristic, -2.0F));
  EXPECT_FALSE(is_done(EarlyStopping::kNever, -2.0F)) << "-3 over ten tokens beats -1";
  EXPECT_TRUE(is_done(EarlyStopping::kNever, -9.5F)) << "-10.5 over ten tokens does not";
  EXPECT_TRUE(is_done(EarlyStopping::kAlways, -2.0F));
}

TEST(BeamSearchTest, EarlyStoppingEndsWithTheWidththHypothesis) {
  Request request = MakeBeamRequest(2, {2});
  request.params.length_penalty = 0;
  request.params.early_stopping = EarlyStopping::kAlways;
  const Lists first = {{{2, -5.0F}, {5, -5.5F}, {6, -6.0F}}};
  const Lists second = {{{5, -0.1F}, {2, -0.2F}, {6, -9.0F}}, {{5, -9.0F}, {6, -9.0F}, {2, -9.0F}}};
  BeamSearch always(request, 10);
  EXPECT_FALSE(Step(always, first).done);
  EXPECT_TRUE(Step(always, second).done);
  request.params.early_stopping = EarlyStopping::kHeuristic;
  BeamSearch heuristic(request, 10);
  EXPECT_FALSE(Step(heuristic, first).done);
  EXPECT_FALSE(Step(heuristic, second).done) << "a running beam is ahead";
}

TEST(BeamSearchTest, StopTokensEndLikeEosAndIgnoredEosEndsNothing) {
  Request request = MakeBeamRequest(2, {2, 3});
  request.params.stop_token_ids = {4, 3};
  EXPECT_EQ(BeamSearch(request, 10).num_candidates(), 5U);
  request.params.ignore_eos = true;
  EXPECT_EQ(BeamSearch(request, 10).num_candidates(), 4U);
  BeamSearch search(request, 10);
  const BeamSearch::Outcome outcome = Step(search, {{{4, -0.5F}, {2, -1.0F}, {3, -2.0F}, {5, -3.0F}}});
  ASSERT_EQ(outcome.ended.size(), 1U);
  EXPECT_EQ(outcome.ended[0].token, 4);
  EXPECT_EQ(outcome.ended[0].stop_token, 4);
  EXPECT_EQ(outcome.ended[0].reason, FinishReason::kStop);
  EXPECT_EQ(ParentsAndTokens(outcome), (Pairs{{0, 2}, {0, 5}}));
}

TEST(BeamSearchTest, TheLongestLengthEndsEverything) {
  const Request request = MakeBeamRequest(2, {2});
  BeamSearch search(request, 2);
  const BeamSearch::Outcome outcome = Step(search, {{{5, -0.5F}, {2, -1.0F}, {6, -2.0F}}});
  EXPECT_TRUE(outcome.done);
  EXPECT_TRUE(outcome.survivors.empty());
  ASSERT_EQ(outcome.ended.size(), 2U);
  EXPECT_EQ(outcome.ended[0].reason, FinishReason::kLength);
  EXPECT_EQ(outcome.ended[1].reason, FinishReason::kStop);
  EXPECT_EQ(search.RankedPlaces(), (std::vector<uint32_t>{0, 1}));
}

TEST(BeamSearchTest, CopiesThatHaveLostFillUpWhereTheVocabularyIsTooSmall) {
  const Request request = MakeBeamRequest(4);
  BeamSearch search(request, 4);
  const std::vector<TokenOutput> both = {{1, -0.5F}, {0, -1.0F}};
  EXPECT_EQ(ParentsAndTokens(Step(search, {both})), (Pairs{{0, 1}, {0, 0}, {0, 1}, {0, 1}}));
  EXPECT_EQ(search.sum(2), BeamSearch::kLost);
  const std::vector<TokenOutput> ahead = {{1, 0.0F}, {0, 0.0F}};  // no matter how likely
  EXPECT_EQ(ParentsAndTokens(Step(search, {both, both, ahead, ahead})), (Pairs{{0, 1}, {1, 1}, {0, 0}, {1, 0}}));
  const BeamSearch::Outcome outcome = Step(search, {both, both, both, both});
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(search.RankedPlaces().size(), 4U);
}

TEST(BeamSearchTest, IsDoneWithFewerHypothesesWhenNothingCanLiveOn) {
  const Request request = MakeBeamRequest(3, {1});
  BeamSearch search(request, 10);
  const BeamSearch::Outcome outcome = Step(search, {{{1, -0.5F}}});
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(search.RankedPlaces(), (std::vector<uint32_t>{0}));
}

}  // namespace
}  // namespace quire
