// Beam search against Transformers, from the model's logits to the ranked hypotheses. No scheduler and no sharing:
// every step computes every beam from its first token.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "backend/backend_factory.h"
#include "beam_goldens.h"
#include "model/model.h"
#include "model/model_testing.h"
#include "sched/beam_search.h"

namespace quire {
namespace {

using testing::BeamGolden;
using testing::ReadBeamGoldens;
using testing::SequenceRunner;
using Tokens = std::vector<int32_t>;

// Each model of the goldens, loaded once.
class Models {
 public:
  Models() {
    auto backend = MakeCpuBackend({.num_threads = 2, .isa = "auto"});
    QUIRE_CHECK(backend.ok(), "{}", backend.error().message);
    backend_ = *std::move(backend);
  }

  Backend& backend() { return *backend_; }
  const Model& Get(const std::string& directory) {
    std::unique_ptr<Model>& model = models_[directory];
    if (model == nullptr) {
      auto loaded = Model::Load(directory, *backend_, {.dtype = ComputeDType::kF32});
      QUIRE_CHECK(loaded.ok(), "{}", loaded.error().message);
      model = *std::move(loaded);
    }
    return *model;
  }

 private:
  std::unique_ptr<Backend> backend_;
  std::map<std::string, std::unique_ptr<Model>> models_;
};

// The most likely tokens of a log-softmax, by a full sort.
std::vector<TokenOutput> Best(std::span<const float> logits, size_t count) {
  const float highest = *std::ranges::max_element(logits);
  double total = 0;
  for (const float logit : logits) total += std::exp(double{logit} - highest);
  const auto log_total = static_cast<float>(std::log(total));
  std::vector<TokenOutput> all;
  for (size_t i = 0; i < logits.size(); ++i) all.push_back({static_cast<int32_t>(i), logits[i] - highest - log_total});
  std::ranges::stable_sort(all, std::greater<>(), &TokenOutput::logprob);
  all.resize(std::min(all.size(), count));
  return all;
}

struct Found {
  std::vector<Tokens> sequences;
  std::vector<float> scores;
  std::vector<FinishReason> reasons;
  std::vector<int32_t> stop_tokens;
  uint32_t num_steps = 0;
};

// One search. Beams are whole texts, prompt included.
class Search {
 public:
  Search(Backend& backend, const Model& model, const Request& request)
      : request_(request),
        model_(model),
        max_total_tokens_(MaxTotalTokens(request, UINT32_MAX)),
        search_(request, max_total_tokens_),
        runner_(backend, model, {.dtype = DType::kF32}, MaxForwards(), static_cast<int32_t>(max_total_tokens_),
                static_cast<int32_t>(search_.width() * max_total_tokens_)),
        kept_(search_.width()) {}

  Found Run() {
    std::vector<Tokens> beams = {request_.prompt};
    while (true) {
      const std::vector<std::vector<TokenOutput>> lists = Forward(beams);
      const std::vector<std::span<const TokenOutput>> best(lists.begin(), lists.end());
      const BeamSearch::Outcome outcome = search_.Step(best);
      for (const BeamSearch::Ended& ended : outcome.ended) {
        kept_[ended.place] = {Extended(beams[ended.parent], ended.token), ended};
      }
      if (outcome.done) return Answer();
      std::vector<Tokens> next;
      for (const BeamSearch::Survivor& survivor : outcome.survivors) {
        next.push_back(Extended(beams[survivor.parent], survivor.token));
      }
      beams = std::move(next);
    }
  }

 private:
  struct Hypothesis {
    Tokens text;
    BeamSearch::Ended ended;
  };

  int32_t MaxForwards() const { return static_cast<int32_t>(search_.width()) * *request_.params.max_tokens; }

  static Tokens Extended(Tokens text, int32_t token) {
    text.push_back(token);
    return text;
  }

  std::vector<std::vector<TokenOutput>> Forward(const std::vector<Tokens>& beams) {
    std::vector<std::pair<int32_t, std::span<const int32_t>>> parts;
    for (const Tokens& beam : beams) parts.emplace_back(num_forwards_++, beam);
    const std::vector<float> logits = runner_.Step(parts);
    const auto vocab = static_cast<size_t>(model_.config().vocab_size);
    std::vector<std::vector<TokenOutput>> lists;
    size_t rows = 0;
    for (const Tokens& beam : beams) {
      rows += beam.size();
      lists.push_back(Best(std::span(logits).subspan((rows - 1) * vocab, vocab), search_.num_candidates()));
    }
    return lists;
  }

  Found Answer() const {
    Found found{.num_steps = search_.num_generated()};
    for (const uint32_t place : search_.RankedPlaces()) {
      const Hypothesis& kept = kept_[place];
      found.sequences.emplace_back(kept.text.begin() + static_cast<std::ptrdiff_t>(request_.prompt.size()),
                                   kept.text.end());
      found.scores.push_back(kept.ended.score);
      found.reasons.push_back(kept.ended.reason);
      found.stop_tokens.push_back(kept.ended.stop_token);
    }
    return found;
  }

  const Request& request_;
  const Model& model_;
  const uint32_t max_total_tokens_;
  BeamSearch search_;
  SequenceRunner runner_;  // a sequence of its own for every forward pass of a beam
  int32_t num_forwards_ = 0;
  std::vector<Hypothesis> kept_;
};

Request MakeRequest(const BeamGolden& golden) {
  Request request;
  request.prompt = golden.prompt;
  request.eos_token_ids = golden.eos_token_ids;
  request.params = golden.params;
  return request;
}

void ExpectFindsTheSame(const Found& found, const BeamGolden& golden) {
  EXPECT_EQ(found.sequences, golden.sequences);
  EXPECT_EQ(found.num_steps, golden.num_steps);
  ASSERT_EQ(found.scores.size(), golden.scores.size());
  for (size_t i = 0; i < found.scores.size(); ++i) {
    EXPECT_NEAR(found.scores[i], golden.scores[i], testing::ScoreTolerance(golden, i));
  }
}

TEST(BeamGoldenTest, FindsWhatTransformersFinds) {
  Models models;
  const std::vector<BeamGolden> goldens = ReadBeamGoldens();
  ASSERT_GE(goldens.size(), 40U);
  for (size_t i = 0; i < goldens.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << "case " << i);
    const Request request = MakeRequest(goldens[i]);
    ExpectFindsTheSame(Search(models.backend(), models.Get(goldens[i].model), request).Run(), goldens[i]);
  }
}

// One width is enough here.
TEST(BeamGoldenTest, StopTokensEndBeamsAsEosDoes) {
  Models models;
  for (const BeamGolden& golden : ReadBeamGoldens()) {
    if (golden.params.ignore_eos || golden.params.n != 4) continue;
    Request request = MakeRequest(golden);
    request.params.stop_token_ids = golden.eos_token_ids;
    request.params.ignore_eos = true;
    const Found found = Search(models.backend(), models.Get(golden.model), request).Run();
    ExpectFindsTheSame(found, golden);
    for (size_t i = 0; i < found.sequences.size(); ++i) {
      const int32_t last = found.sequences[i].back();
      const bool stopped = std::ranges::count(golden.eos_token_ids, last) != 0;
      EXPECT_EQ(found.reasons[i], stopped ? FinishReason::kStop : FinishReason::kLength);
      EXPECT_EQ(found.stop_tokens[i], stopped ? last : -1);
    }
  }
}

}  // namespace
}  // namespace quire
