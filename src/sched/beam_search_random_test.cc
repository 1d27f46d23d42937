// BeamSearch against the search over all continuations, on random requests and scores.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "sched/beam_search.h"
#include "sched/exhaustive_beam_search_testing.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

// Plays the scheduler: keeps what the beams said, shows BeamSearch no more than it asks for, and follows it.
class BeamSearchDriver {
 public:
  BeamSearchDriver(const Request& request, uint32_t max_total_tokens, LogprobTable table)
      : search_(request, max_total_tokens), table_(std::move(table)), kept_(search_.width()) {}

  void Step() {
    std::vector<std::vector<TokenOutput>> lists;
    for (const RunningBeam& beam : beams_) lists.push_back(Best(table_(beam.output)));
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
    std::vector<RunningBeam> beams;
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
  const std::vector<RunningBeam>& beams() const { return beams_; }
  const BeamSearch& search() const { return search_; }
  std::vector<EndedBeam> Ranked() const {
    std::vector<EndedBeam> ranked;
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
  const LogprobTable table_;
  bool done_ = false;
  std::vector<RunningBeam> beams_ = {RunningBeam{}};
  std::vector<EndedBeam> kept_;
};

// After each output scores of its own: any function of the output serves as a model. With `levels` there are only so
// many different scores, exact in float32, so that sums tie.
LogprobTable RandomTable(uint64_t seed, int32_t vocab_size, float spread, int levels) {
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
  LogprobTable table;
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
  BeamSearchDriver driver(c.request, c.max_total_tokens, c.table);
  ExhaustiveBeamSearch oracle(c.request, c.max_total_tokens, c.table);
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

TEST(BeamSearchTest, WidthOneIsGreedy) {
  for (const EarlyStopping early_stopping : {EarlyStopping::kHeuristic, EarlyStopping::kAlways}) {
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      SCOPED_TRACE(::testing::Message() << "seed " << seed);
      Request request = MakeBeamRequest(1, {2});
      request.params.early_stopping = early_stopping;
      const LogprobTable table = RandomTable(seed, 20, 1.0F, 0);
      BeamSearchDriver driver(request, 17, table);
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
