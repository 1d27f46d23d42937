#include "sampling/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <thread>

#include "sampling/logits_pipeline.h"
#include "sampling/sampling_testing.h"

namespace quire {
namespace {

// The sampler's definition in doubles and full sorts. Tokens whose place hangs on rounding are listed as doubtful.
struct Oracle {
  std::vector<int32_t> order;  // by descending logit, then id
  std::vector<double> probability;
  std::vector<bool> kept;

  Oracle(std::vector<float> logits, const SampleRequest& request) : order(logits.size()), probability(logits.size()) {
    const SamplingParams& params = *request.params;
    ProcessLogits(request, logits);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return At(logits, a) > At(logits, b); });
    const auto max = static_cast<double>(At(logits, order[0]));
    for (size_t i = 0; i < logits.size(); ++i) {
      probability[i] = std::exp((static_cast<double>(logits[i]) - max) / static_cast<double>(params.temperature));
    }
    kept.assign(logits.size(), false);
    const size_t k = params.top_k > 0 ? static_cast<size_t>(params.top_k) : logits.size();
    double total = 0, mass = 0;
    size_t count = 0;
    for (; count < std::min(k, order.size()) && Prob(count) >= static_cast<double>(params.min_p) * (1 - 1e-7);
         ++count) {
      total += Prob(count);
    }
    for (size_t i = 0; i < count; ++i) {
      kept[static_cast<size_t>(order[i])] = true;
      mass += Prob(i);
      if (mass >= static_cast<double>(params.top_p) * total * (1 - 1e-12)) break;
    }
  }

  static float At(const std::vector<float>& logits, int32_t token) { return logits[static_cast<size_t>(token)]; }
  double Prob(size_t place) const { return probability[static_cast<size_t>(order[place])]; }

  // The token at `uniform`, and how far that is from another token, in probability.
  std::pair<int32_t, double> Draw(double uniform) const {
    double total = 0;
    for (size_t i = 0; i < kept.size(); ++i) total += kept[i] ? probability[i] : 0;
    double below = 0;
    int32_t last = -1;
    for (size_t i = 0; i < kept.size(); ++i) {
      if (!kept[i] || probability[i] == 0) continue;
      last = static_cast<int32_t>(i);
      const double above = below + probability[i] / total;
      if (above > uniform) return {last, std::min(uniform - below, above - uniform)};
      below = above;
    }
    return {last, 0};
  }
};

std::vector<float> RandomLogits(std::mt19937& random, size_t vocab, float spread) {
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(vocab);
  const bool coarse = random() % 2 == 0;
  for (float& x : logits) x = coarse ? std::round(normal(random) * 4) / 4 : normal(random);
  if (random() % 4 == 0) logits[random() % vocab] = -kInf;
  return logits;
}

SamplingParams RandomParams(std::mt19937& random, size_t vocab) {
  const auto pick = [&](auto... options) {
    const float values[] = {options...};
    return values[random() % sizeof...(options)];
  };
  SamplingParams params;
  params.temperature = pick(0.1F, 0.7F, 1.0F, 1.3F, 5.0F);
  params.top_p = pick(1.0F, 1.0F, 0.01F, 0.5F, 0.9F, 0.99F);
  params.top_k = static_cast<int32_t>(pick(0.0F, -1.0F, 1.0F, 3.0F, 50.0F, 700.0F, 1e6F));
  params.min_p = pick(0.0F, 0.0F, 0.02F, 0.3F, 1.0F);
  params.repetition_penalty = pick(1.0F, 1.0F, 1.3F, 0.8F);
  params.presence_penalty = pick(0.0F, 0.0F, 1.5F);
  params.frequency_penalty = pick(0.0F, 0.0F, -0.4F);
  if (random() % 4 == 0) params.logit_bias = {{static_cast<int32_t>(random() % vocab), pick(3.0F, -100.0F)}};
  return params;
}

TEST(Sampler, DrawsWhatTheOracleDraws) {
  const unsigned seed = 20;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  int doubtful = 0;
  for (int round = 0; round < 4000; ++round) {
    const size_t vocab = round % 20 == 0 ? 20000 : 1 + random() % 400;
    const std::vector<float> logits = RandomLogits(random, vocab, 3);
    if (*std::max_element(logits.begin(), logits.end()) == -kInf) continue;
    const SamplingParams params = RandomParams(random, vocab);
    TokenCounts counts;
    for (int i = 0; i < 10; ++i) counts.AddPrompt(static_cast<int32_t>(random() % vocab));
    for (int i = 0; i < 10; ++i) counts.AddOutput(static_cast<int32_t>(random() % vocab));
    SamplerScratch scratch(static_cast<int32_t>(vocab));
    SampleRequest request = {.params = &params, .counts = &counts};
    const Oracle oracle(logits, request);
    for (uint32_t position = 0; position < 8; ++position) {
      request.key = {.seed = static_cast<uint64_t>(round), .stream = 0, .position = position};
      const MaybeOutcome outcome = Sampled(logits, request, scratch, {});
      const auto [token, margin] = oracle.Draw(UniformDouble(request.key, 0));
      ASSERT_FALSE(outcome.is_nan);
      if (outcome.token != token) {
        ++doubtful;
        ASSERT_LT(margin, 1e-5) << "round " << round << " position " << position << ": " << outcome.token << " against "
                                << token;
      }
    }
  }
  EXPECT_LT(doubtful, 20);
}

TEST(Sampler, GreedyTakesTheLowestIdOfEqualLogits) {
  SamplingParams params;
  SamplerScratch scratch(200);
  std::vector<float> logits(200, 0.5F);
  logits[77] = logits[150] = 2;
  for (const float temperature : {0.0F, 1e-30F, 1e-6F}) {
    params.temperature = temperature;
    const MaybeOutcome outcome = Sampled(logits, {.params = &params}, scratch, {});
    EXPECT_EQ(outcome.token, 77);
  }
}

TEST(Sampler, SmallTemperaturesDoNotOverflow) {
  SamplingParams params;
  params.temperature = 1e-5F;
  SamplerScratch scratch(4);
  const std::vector<float> logits = {-3e38F, 3e38F, 0, -kInf};
  EXPECT_EQ(Sampled(logits, {.params = &params}, scratch, {}).token, 1);
  params.top_p = 0.9F;
  EXPECT_EQ(Sampled(logits, {.params = &params}, scratch, {}).token, 1);
}

TEST(Sampler, FrequenciesFollowTheDistribution) {
  constexpr int kDraws = 200'000;
  SamplingParams params;
  params.temperature = 0.8F;
  std::mt19937 random(5);
  const std::vector<float> logits = RandomLogits(random, 50, 1);
  const Oracle oracle(logits, {.params = &params});
  const double total = std::accumulate(oracle.probability.begin(), oracle.probability.end(), 0.0);
  SamplerScratch scratch(50);
  std::vector<int> seen(50);
  for (uint32_t position = 0; position < kDraws; ++position) {
    const SampleRequest request = {.params = &params, .key = {.seed = 99, .stream = 1, .position = position}};
    ++seen[static_cast<size_t>(Sampled(logits, request, scratch, {}).token)];
  }
  double chi_square = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const double expected = kDraws * oracle.probability[i] / total;
    if (expected > 0) chi_square += (seen[i] - expected) * (seen[i] - expected) / expected;
  }
  EXPECT_LT(chi_square, 49 + 4 * std::sqrt(2.0 * 49));
}

TEST(Sampler, ADrawDependsOnItsKeyAndRowAlone) {
  std::mt19937 random(6);
  const std::vector<float> logits = RandomLogits(random, 3000, 2);
  SamplingParams params;
  params.top_p = 0.95F;
  params.top_k = 500;
  const auto draw = [&](uint32_t position, SamplerScratch& scratch) {
    return Sampled(logits, {.params = &params, .key = {.seed = 3, .stream = 2, .position = position}}, scratch, {})
        .token;
  };
  std::vector<int32_t> forward(200), threaded(200);
  SamplerScratch scratch(3000);
  for (uint32_t i = 0; i < 200; ++i) forward[i] = draw(i, scratch);
  for (uint32_t i = 200; i-- > 0;) EXPECT_EQ(draw(i, scratch), forward[i]);
  const auto half = [&](uint32_t begin) {
    SamplerScratch own(3000);
    for (uint32_t i = begin; i < 200; i += 2) threaded[i] = draw(i, own);
  };
  std::thread other(half, 1U);
  half(0);
  other.join();
  EXPECT_EQ(threaded, forward);
}

TEST(Sampler, BiasOfAHundredForcesAndForbids) {
  SamplingParams params;
  SamplerScratch scratch(30);
  const std::vector<float> logits(30, 1.0F);
  params.logit_bias = {{9, 100.0F}};
  for (uint32_t i = 0; i < 200; ++i) {
    EXPECT_EQ(Sampled(logits, {.params = &params, .key = {.position = i}}, scratch, {}).token, 9);
  }
  params.logit_bias = {{9, -100.0F}};
  for (uint32_t i = 0; i < 2000; ++i) {
    EXPECT_NE(Sampled(logits, {.params = &params, .key = {.position = i}}, scratch, {}).token, 9);
  }
}

TEST(Sampler, TopKOfOneAndTinyTopPAreGreedyEvenAmongEqualLogits) {
  SamplerScratch scratch(300);
  const std::vector<float> logits(300, -2.0F);
  for (uint32_t i = 0; i < 100; ++i) {
    SamplingParams by_k, by_p;
    by_k.top_k = 1;
    by_p.top_p = 1e-6F;
    EXPECT_EQ(Sampled(logits, {.params = &by_k, .key = {.position = i}}, scratch, {}).token, 0);
    EXPECT_EQ(Sampled(logits, {.params = &by_p, .key = {.position = i}}, scratch, {}).token, 0);
  }
}

TEST(Sampler, TopPKeepsTheTokenThatCrossesTheBound) {
  SamplerScratch scratch(4);
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.15F), std::log(0.05F)};
  SamplingParams params;
  params.top_p = 0.6F;
  std::vector<int> seen(4);
  for (uint32_t i = 0; i < 2000; ++i) {
    ++seen[static_cast<size_t>(Sampled(logits, {.params = &params, .key = {.position = i}}, scratch, {}).token)];
  }
  EXPECT_GT(seen[0], 1000);
  EXPECT_GT(seen[1], 500);
  EXPECT_EQ(seen[2] + seen[3], 0);
}

TEST(Sampler, NanOrInfinityGivesNoToken) {
  SamplingParams params;
  SamplerScratch scratch(100);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInf}) {
    std::vector<float> logits(100, 0.0F);
    logits[63] = bad;
    EXPECT_TRUE(Sampled(logits, {.params = &params}, scratch, {}).is_nan);
    EXPECT_TRUE(Scored(logits, 1, scratch, {}).is_nan);
  }
}

TEST(Sampler, ARowWithEverythingMaskedGivesNoToken) {
  SamplingParams params;
  SamplerScratch scratch(3);
  const std::vector<float> logits(3, 0.0F);
  const std::vector<int32_t> masked = {0, 1, 2};
  const std::vector<uint32_t> none = {0};
  EXPECT_TRUE(Sampled(logits, {.params = &params, .masked_tokens = masked}, scratch, {}).is_nan);
  EXPECT_TRUE(Sampled(logits, {.params = &params, .allowed_mask = none}, scratch, {}).is_nan);
  EXPECT_EQ(Sampled(logits, {.params = &params, .masked_tokens = std::span(masked).first(2)}, scratch, {}).token, 2);
}

std::vector<SampleOutcome> Best(const std::vector<float>& logits, const std::vector<int32_t>& masked, size_t count) {
  SamplerScratch scratch(static_cast<int32_t>(logits.size()));
  std::vector<SampleOutcome> best;
  const size_t taken =
      BestTokens(logits, masked, count, scratch, [&](const SampleOutcome& outcome) { best.push_back(outcome); });
  EXPECT_EQ(taken, best.size());
  return best;
}

TEST(BestTokens, EqualASortOfTheWholeRow) {
  const unsigned seed = 71;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int trial = 0; trial < 200; ++trial) {
    const size_t vocab = 1 + random() % 5000;
    const std::vector<float> logits = RandomLogits(random, vocab, 3);
    std::vector<int32_t> masked(random() % 4);
    for (int32_t& token : masked) token = static_cast<int32_t>(random() % vocab);
    std::ranges::sort(masked);
    const size_t count = 1 + random() % 600;

    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    const auto logit_of = [&](int32_t token) { return logits[static_cast<size_t>(token)]; };
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logit_of(a) > logit_of(b); });
    double total = 0;
    for (const float logit : logits) total += std::exp(static_cast<double>(logit));

    const std::vector<SampleOutcome> best = Best(logits, masked, count);
    size_t next = 0;
    for (size_t i = 0; i < vocab && next < count; ++i) {
      if (std::find(masked.begin(), masked.end(), order[i]) != masked.end() || logit_of(order[i]) == -kInf) continue;
      ASSERT_LT(next, best.size());
      EXPECT_EQ(best[next].token, order[i]);
      EXPECT_EQ(best[next].rank, i + 1);
      EXPECT_NEAR(best[next].logprob, static_cast<double>(logit_of(order[i])) - std::log(total), 1e-4);
      ++next;
    }
    EXPECT_EQ(next, best.size());
  }
}

TEST(BestTokens, LogprobsAndRanksAreThoseOfScoring) {
  std::mt19937 random(3);
  const std::vector<float> logits = RandomLogits(random, 1000, 3);
  SamplerScratch scratch(1000);
  for (const SampleOutcome& best : Best(logits, {1, 2}, 50)) {
    const MaybeOutcome scored = Scored(logits, best.token, scratch, {});
    EXPECT_EQ(best.logprob, scored.logprob);
    EXPECT_EQ(best.rank, scored.rank);
  }
}

TEST(BestTokens, AreFewerWhereTheRowHasNoMore) {
  EXPECT_EQ(Best({1, 2, 3}, {}, 10).size(), 3U);
  EXPECT_EQ(Best({1, 2, 3}, {2, 2}, 10).size(), 2U);
  EXPECT_EQ(Best({1, -kInf, 3}, {}, 3).size(), 2U);
  EXPECT_TRUE(Best({1, -kInf, 3}, {0, 2}, 3).empty());
  EXPECT_TRUE(Best({1, std::numeric_limits<float>::quiet_NaN(), 3}, {}, 1).empty());
  EXPECT_TRUE(Best({1, kInf, 3}, {}, 1).empty());
}

TEST(Sampler, LogprobsRanksAndAlternativesAreOfTheRawDistribution) {
  std::mt19937 random(8);
  for (const size_t vocab : {20U, 64U, 1000U, 30000U}) {
    const std::vector<float> logits = RandomLogits(random, vocab, 3);
    SamplingParams params;
    params.temperature = 2;
    params.logprobs = 20;
    params.logit_bias = {{3, 50.0F}};
    SamplingParams plain;
    const Oracle raw(logits, {.params = &plain});
    const double total = std::accumulate(raw.probability.begin(), raw.probability.end(), 0.0);
    SamplerScratch scratch(static_cast<int32_t>(vocab));
    std::vector<SampledCandidate> top(20);
    const MaybeOutcome outcome = Sampled(logits, {.params = &params}, scratch, top);
    EXPECT_EQ(outcome.token, 3);
    EXPECT_NEAR(outcome.logprob, std::log(raw.probability[3] / total), 1e-5);
    EXPECT_EQ(raw.order[outcome.rank - 1], 3);
    for (size_t i = 0; i < top.size(); ++i) {
      EXPECT_EQ(top[i].token, raw.order[i]);
      if (raw.Prob(i) > 0) {
        EXPECT_NEAR(top[i].logprob, std::log(raw.Prob(i) / total), 1e-5);
      }
    }
    std::vector<SampledCandidate> same(20);
    const MaybeOutcome scored = Scored(logits, 3, scratch, same);
    EXPECT_EQ(scored.logprob, outcome.logprob);
    EXPECT_EQ(scored.rank, outcome.rank);
    EXPECT_EQ(same[19].token, top[19].token);
  }
}

}  // namespace
}  // namespace quire
