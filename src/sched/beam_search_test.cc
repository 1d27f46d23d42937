// BeamSearch against a slow search that looks at every continuation of every beam, and by hand.
#include "sched/beam_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <set>

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;
// The log-probability of every token after some output.
using Table = std::function<std::vector<float>(const Tokens& output)>;

struct Hypothesis {
  Tokens output;
  float sum = 0;
  float score = 0;
  FinishReason reason = FinishReason::kStop;
  int32_t stop_token = -1;
  friend bool operator==(const Hypothesis&, const Hypothesis&) = default;
};

void PrintTo(const Hypothesis& hypothesis, std::ostream* out) {
  *out << ::testing::PrintToString(hypothesis.output) << " sum " << hypothesis.sum << " score " << hypothesis.score
       << " " << FinishReasonName(hypothesis.reason) << " " << hypothesis.stop_token;
}

struct Beam {
  Tokens output;
  float sum = 0;
  bool lost = false;
  friend bool operator==(const Beam&, const Beam&) = default;
};

Tokens Extended(Tokens output, int32_t token) {
  output.push_back(token);
  return output;
}

// The rule as Transformers states it, over the whole [beams, vocabulary] table of sums.
class Oracle {
 public:
  Oracle(const Request& request, uint32_t max_total_tokens, Table table)
      : params_(request.params), table_(std::move(table)), max_output_(max_total_tokens - request.prompt.size()) {
    if (!params_.ignore_eos) eos_.insert(request.eos_token_ids.begin(), request.eos_token_ids.end());
    stop_.insert(params_.stop_token_ids.begin(), params_.stop_token_ids.end());
    width_ = static_cast<size_t>(params_.num_streams());
  }

  void Step() {
    ++length_;
    std::vector<Continuation> top = AllContinuations();
    std::set<int32_t> ending = eos_;
    ending.insert(stop_.begin(), stop_.end());
    top.resize(std::min(top.size(), std::max<size_t>(2, 1 + ending.size()) * width_));

    std::vector<Continuation> living;
    for (size_t i = 0; i < top.size(); ++i) {
      if (!Ends(top[i].token)) {
        if (living.size() < width_) living.push_back(top[i]);
      } else if (i < width_) {
        finished_.push_back(Finished(top[i]));
      }
    }
    std::ranges::stable_sort(finished_, std::greater<>(), &Hypothesis::score);
    finished_.resize(std::min(finished_.size(), width_));
    done_ = living.empty() || (finished_.size() == width_ && IsContent(living[0].sum));
    if (!done_) beams_ = Placed(living);
  }

  bool done() const { return done_; }
  const std::vector<Beam>& beams() const { return beams_; }
  const std::vector<Hypothesis>& finished() const { return finished_; }

 private:
  struct Continuation {
    size_t beam;
    int32_t token;
    float logprob, sum;
  };

  std::vector<Continuation> AllContinuations() const {
    std::vector<Continuation> all;
    for (size_t beam = 0; beam < beams_.size(); ++beam) {
      if (beams_[beam].lost) continue;
      const std::vector<float> logprobs = table_(beams_[beam].output);
      for (size_t token = 0; token < logprobs.size(); ++token) {
        all.push_back({beam, static_cast<int32_t>(token), logprobs[token], beams_[beam].sum + logprobs[token]});
      }
    }
    std::ranges::sort(all, [](const Continuation& a, const Continuation& b) {
      return std::tuple(-a.sum, a.beam, -a.logprob, a.token) < std::tuple(-b.sum, b.beam, -b.logprob, b.token);
    });
    return all;
  }

  bool Ends(int32_t token) const { return eos_.contains(token) || stop_.contains(token) || length_ >= max_output_; }

  Hypothesis Finished(const Continuation& from) const {
    const bool is_eos = eos_.contains(from.token);
    const bool is_stop = !is_eos && stop_.contains(from.token);
    return {.output = Extended(beams_[from.beam].output, from.token),
            .sum = from.sum,
            .score = from.sum / Factor(length_),
            .reason = is_eos || is_stop ? FinishReason::kStop : FinishReason::kLength,
            .stop_token = is_stop ? from.token : -1};
  }

  float Factor(size_t length) const {
    return static_cast<float>(std::pow(static_cast<double>(length), static_cast<double>(params_.length_penalty)));
  }

  bool IsContent(float best_running) const {
    float worst = finished_[0].score;
    for (const Hypothesis& hypothesis : finished_) worst = std::min(worst, hypothesis.score);
    const bool hopes = params_.early_stopping == EarlyStopping::kNever && params_.length_penalty > 0;
    if (params_.early_stopping == EarlyStopping::kAlways) return true;
    return best_running / Factor(hopes ? max_output_ : length_) <= worst;
  }

  std::vector<Beam> Placed(const std::vector<Continuation>& living) const {
    std::vector<Beam> placed(width_, Beam{});
    std::vector<bool> taken(width_, false), is_placed(living.size(), false);
    const auto put = [&](size_t place, const Continuation& from, bool lost) {
      placed[place] = {Extended(beams_[from.beam].output, from.token), from.sum, lost};
      taken[place] = true;
    };
    for (size_t i = 0; i < living.size(); ++i) {
      if (taken[living[i].beam]) continue;
      put(living[i].beam, living[i], false);
      is_placed[i] = true;
    }
    const auto first_free = [&] { return static_cast<size_t>(std::ranges::find(taken, false) - taken.begin()); };
    for (size_t i = 0; i < living.size(); ++i) {
      if (!is_placed[i]) put(first_free(), living[i], false);
    }
    while (first_free() < width_) put(first_free(), living[0], true);
    return placed;
  }

  const SamplingParams& params_;
  const Table table_;
  const size_t max_output_;
  size_t width_ = 0;
  std::set<int32_t> eos_, stop_;
  size_t length_ = 0;
  bool done_ = false;
  std::vector<Beam> beams_ = {Beam{}};
  std::vector<Hypothesis> finished_;  // best first
};

// Plays the scheduler: keeps what the beams said, shows BeamSearch no more than it asks for, and follows it.
class Driver {
 public:
  Driver(const Request& request, uint32_t max_total_tokens, Table table)
      : search_(request, max_total_tokens), table_(std::move(table)), kept_(search_.width()) {}

  void Step() {
    std::vector<std::vector<TokenOutput>> lists;
    for (const Beam& beam : beams_) lists.push_back(Best(table_(beam.output)));
    const std::vector<std::span<const TokenOutput>> best(lists.begin(), lists.end());
    const BeamSearch::Outcome outcome = search_.Step(best);
    done_ = outcome.done;
    for (const BeamSearch::Ended& ended : outcome.ended) {
      EXPECT_EQ(lists[ended.parent][ended.rank].token, ended.token);
      kept_.at(ended.place) = {Extended(beams_[ended.parent].output, ended.token), ended.sum, ended.score, ended.reason,
                               ended.stop_token};
    }
    if (done_) return;
    CheckPlaces(outcome.survivors, lists);
    std::vector<Beam> beams;
    for (const BeamSearch::Survivor& survivor : outcome.survivors) {
      const bool lost = survivor.sum == BeamSearch::kLost;
      const float sum = beams_[survivor.parent].sum + lists[survivor.parent][survivor.rank].logprob;
      if (!lost) {
        EXPECT_EQ(survivor.sum, sum);
      }
      beams.push_back({Extended(beams_[survivor.parent].output, survivor.token), sum, lost});
    }
    beams_ = std::move(beams);
  }

  bool done() const { return done_; }
  const std::vector<Beam>& beams() const { return beams_; }
  const BeamSearch& search() const { return search_; }
  std::vector<Hypothesis> Ranked() const {
    std::vector<Hypothesis> ranked;
    for (const uint32_t place : search_.RankedPlaces()) ranked.push_back(kept_.at(place));
    return ranked;
  }

 private:
  std::vector<TokenOutput> Best(const std::vector<float>& logprobs) const {
    std::vector<TokenOutput> list;
    for (size_t i = 0; i < logprobs.size(); ++i) list.push_back({static_cast<int32_t>(i), logprobs[i]});
    std::ranges::stable_sort(list, std::greater<>(), &TokenOutput::logprob);
    list.resize(std::min<size_t>(list.size(), search_.num_candidates()));
    return list;
  }

  void CheckPlaces(std::span<const BeamSearch::Survivor> survivors,
                   const std::vector<std::vector<TokenOutput>>& lists) const {
    ASSERT_EQ(survivors.size(), search_.width());
    ASSERT_EQ(search_.num_beams(), search_.width());
    for (uint32_t i = 0; i < survivors.size(); ++i) {
      const BeamSearch::Survivor& survivor = survivors[i];
      EXPECT_EQ(survivor.sum, search_.sum(i));
      EXPECT_EQ(lists[survivor.parent][survivor.rank].token, survivor.token);
      EXPECT_EQ(survivors[survivor.parent].parent, survivor.parent) << "a parent lost its place";
      EXPECT_GE(survivors[survivor.parent].sum, survivor.sum) << "a parent keeps its best";
    }
  }

  BeamSearch search_;
  const Table table_;
  bool done_ = false;
  std::vector<Beam> beams_ = {Beam{}};
  std::vector<Hypothesis> kept_;
};

// After each output scores of its own: any function of the output serves as a model. With `levels` there are only so
// many different scores, exact in float32, so that sums tie.
Table RandomTable(uint64_t seed, int32_t vocab_size, float spread, int levels) {
  return [=](const Tokens& output) {
    uint64_t hash = seed;
    for (const int32_t token : output) hash = (hash + static_cast<uint64_t>(token) + 1) * 0x9E3779B97F4A7C15U;
    std::mt19937_64 rng(hash);
    std::normal_distribution<float> noise(0, spread);
    std::vector<float> scores(static_cast<size_t>(vocab_size));
    float total = 0;
    for (float& score : scores) {
      score = levels == 0 ? noise(rng) : -0.5F * static_cast<float>(1 + rng() % static_cast<uint64_t>(levels));
      total += std::exp(score);
    }
    if (levels != 0) return scores;
    for (float& score : scores) score -= std::log(total);
    return scores;
  };
}

struct Case {
  Request request;
  uint32_t max_total_tokens = 0;
  Table table;
};

template <class T>
T Pick(std::mt19937_64& rng, std::initializer_list<T> values) {
  return values.begin()[rng() % values.size()];
}

Tokens RandomIds(std::mt19937_64& rng, int32_t vocab_size, size_t count) {
  Tokens ids;
  for (size_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(rng() % static_cast<uint64_t>(vocab_size)));
  return ids;
}

Case RandomCase(std::mt19937_64& rng, int levels) {
  const auto vocab_size = static_cast<int32_t>(1 + rng() % Pick<uint64_t>(rng, {4, 12, 40}));
  Case c;
  c.request.prompt.assign(1 + rng() % 3, 0);
  c.request.eos_token_ids = RandomIds(rng, vocab_size, rng() % 4);
  SamplingParams& params = c.request.params;
  params.stop_token_ids = RandomIds(rng, vocab_size, Pick<size_t>(rng, {0, 0, 1, 2}));
  params.ignore_eos = rng() % 4 == 0;
  params.use_beam_search = true;
  params.beam_width = static_cast<int32_t>(1 + rng() % 8);
  params.length_penalty = Pick(rng, {-0.5F, 0.0F, 0.6F, 1.0F, 2.0F});
  params.early_stopping = Pick(rng, {EarlyStopping::kHeuristic, EarlyStopping::kAlways, EarlyStopping::kNever});
  c.max_total_tokens = static_cast<uint32_t>(c.request.prompt.size() + 1 + rng() % 12);
  c.table = RandomTable(rng(), vocab_size, Pick(rng, {0.3F, 1.0F, 3.0F}), levels);
  return c;
}

void ExpectSearchesAgree(const Case& c) {
  Driver driver(c.request, c.max_total_tokens, c.table);
  Oracle oracle(c.request, c.max_total_tokens, c.table);
  for (uint32_t step = 1;; ++step) {
    SCOPED_TRACE(::testing::Message() << "step " << step);
    oracle.Step();
    driver.Step();
    ASSERT_EQ(driver.search().num_generated(), step);
    ASSERT_EQ(driver.done(), oracle.done());
    ASSERT_EQ(driver.Ranked(), oracle.finished());
    if (oracle.done()) return;
    ASSERT_TRUE(driver.beams() == oracle.beams());
  }
}

void ExpectRandomSearchesAgree(uint64_t seed, int levels) {
  for (uint64_t i = 0; i < 4000; ++i) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed + i);
    std::mt19937_64 rng(seed + i);
    ExpectSearchesAgree(RandomCase(rng, levels));
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(BeamSearchTest, EqualsTheSearchOverAllContinuations) { ExpectRandomSearchesAgree(1'000'000, 0); }

TEST(BeamSearchTest, EqualsTheSearchOverAllContinuationsWhereSumsTie) { ExpectRandomSearchesAgree(2'000'000, 3); }

Request MakeRequest(int32_t width, const Tokens& eos = {}) {
  Request request;
  request.prompt = {0};
  request.eos_token_ids = eos;
  request.params.use_beam_search = true;
  request.params.beam_width = width;
  return request;
}

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
  const Request request = MakeRequest(3);
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
  const Request request = MakeRequest(4);
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
  const Request request = MakeRequest(3);
  BeamSearch search(request, 10);
  Step(search, {{{4, -1.0F}, {5, -1.0F}, {6, -1.0F}}});
  const std::vector<TokenOutput> same = {{8, -1.0F}, {9, -1.0F}, {3, -2.0F}};
  EXPECT_EQ(ParentsAndTokens(Step(search, {same, same, same})), (Pairs{{0, 8}, {1, 8}, {0, 9}}));
}

TEST(BeamSearchTest, EqualScoresGoToTheHypothesisThatEndedEarlier) {
  Request request = MakeRequest(1, {2});
  request.params.length_penalty = 0;
  request.params.early_stopping = EarlyStopping::kNever;
  BeamSearch search(request, 10);
  const BeamSearch::Outcome first = Step(search, {{{2, -1.0F}, {3, -0.5F}}});
  ASSERT_EQ(first.ended.size(), 1U);
  ASSERT_FALSE(first.done);
  EXPECT_TRUE(Step(search, {{{2, -0.5F}, {3, -0.5F}}}).ended.empty());
}

TEST(BeamSearchTest, OnlyTheBestWidthMayEnd) {
  const Request request = MakeRequest(2, {2});
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
  Request request = MakeRequest(2, {2});
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
    Request request = MakeRequest(1, {2});
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
  Request request = MakeRequest(2, {2});
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
  Request request = MakeRequest(2, {2, 3});
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
  const Request request = MakeRequest(2, {2});
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
  const Request request = MakeRequest(4);
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
  const Request request = MakeRequest(3, {1});
  BeamSearch search(request, 10);
  const BeamSearch::Outcome outcome = Step(search, {{{1, -0.5F}}});
  EXPECT_TRUE(outcome.done);
  EXPECT_EQ(search.RankedPlaces(), (std::vector<uint32_t>{0}));
}

TEST(BeamSearchTest, WidthOneIsGreedy) {
  for (const EarlyStopping early_stopping : {EarlyStopping::kHeuristic, EarlyStopping::kAlways}) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed);
      Request request = MakeRequest(1, {2});
      request.params.early_stopping = early_stopping;
      const Table table = RandomTable(seed, 20, 1.0F, 0);
      Driver driver(request, 17, table);
      while (!driver.done()) driver.Step();

      Tokens greedy;
      while (greedy.size() < 16 && (greedy.empty() || greedy.back() != 2)) {
        const std::vector<float> logprobs = table(greedy);
        greedy.push_back(static_cast<int32_t>(std::ranges::max_element(logprobs) - logprobs.begin()));
      }
      ASSERT_EQ(driver.Ranked().size(), 1U);
      EXPECT_EQ(driver.Ranked()[0].output, greedy);
    }
  }
}

}  // namespace
}  // namespace quire
