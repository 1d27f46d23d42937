#include "sampling/host_sampler.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <vector>

#include "base/rng.h"

namespace quire {
namespace {

constexpr size_t kVocab = 50;
constexpr size_t kRows = 12;

struct Wanted {
  SampleTask task;
  SamplingParams params;
  TokenCounts counts;
  std::vector<int32_t> drafts;
  std::vector<int32_t> masked;
  std::vector<uint32_t> masks, offsets;
  std::vector<SampleOutcome> outcomes;
  std::vector<SampledCandidate> top;
};

class Tasks {
 public:
  explicit Tasks(uint64_t seed) : random_(seed), logits_(kVocab * kRows) {
    std::normal_distribution<float> normal(0, 2);
    for (float& logit : logits_) logit = normal(random_);
    if (OneIn(3)) logits_[Below(logits_.size())] = std::numeric_limits<float>::quiet_NaN();
  }

  const float* logits() const { return logits_.data(); }

  void Make(Wanted& wanted) {
    SampleTask& task = wanted.task;
    task.kind = static_cast<SampleTask::Kind>(Below(4));
    const size_t num_outcomes = task.kind == SampleTask::Kind::kScore ? 1 : 1 + Below(5);
    task.row = static_cast<uint32_t>(Below(kRows - num_outcomes + 1));
    task.target = static_cast<int32_t>(Below(kVocab));
    task.key = {.seed = Below(100), .stream = static_cast<uint32_t>(Below(4)), .position = 20};
    MakeParams(wanted);
    for (int i = 0; i < 10; ++i) wanted.counts.AddPrompt(static_cast<int32_t>(Below(kVocab)));
    for (int i = 0; i < 10; ++i) wanted.counts.AddOutput(static_cast<int32_t>(Below(kVocab)));
    task.counts = OneIn(4) ? nullptr : &wanted.counts;
    if (OneIn(2)) wanted.masked = {3, 4};
    task.masked_tokens = wanted.masked;
    task.masked_before = 18 + static_cast<uint32_t>(Below(6));
    MakeMasks(num_outcomes, wanted);
    wanted.outcomes.resize(num_outcomes);
    wanted.top.resize(task.kind == SampleTask::Kind::kBest ? 0 : num_outcomes * Below(4));
    task.outcomes = wanted.outcomes;
    task.top = wanted.top;
    if (task.kind == SampleTask::Kind::kVerify) MakeDrafts(wanted);
  }

 private:
  size_t Below(size_t n) { return random_() % n; }
  bool OneIn(size_t n) { return Below(n) == 0; }

  void MakeParams(Wanted& wanted) {
    wanted.params.temperature = OneIn(3) ? 0.0F : 0.7F;
    wanted.params.repetition_penalty = 1.3F;
    wanted.params.presence_penalty = 0.5F;
    wanted.params.frequency_penalty = 0.4F;
    wanted.params.top_k = OneIn(2) ? 10 : -1;
    if (OneIn(2)) wanted.params.logprobs = 1;
    wanted.task.params = &wanted.params;
  }

  void MakeMasks(size_t num_outcomes, Wanted& wanted) {
    if (OneIn(2)) return;
    for (size_t i = 0; i < 3; ++i) {
      wanted.masks.push_back(static_cast<uint32_t>(random_()));
      wanted.masks.push_back(static_cast<uint32_t>(random_()));
    }
    for (size_t i = 0; i < num_outcomes; ++i) {
      wanted.offsets.push_back(OneIn(3) ? AllowedTokens::kAll : static_cast<uint32_t>(2 * Below(3)));
    }
    wanted.task.allowed = {.words = wanted.masks, .offsets = wanted.offsets, .words_per_mask = 2};
  }

  // Most of them are what is drawn.
  void MakeDrafts(Wanted& wanted) {
    SamplerScratch scratch(kVocab);
    SampleTask draw = wanted.task;
    std::vector<SampleOutcome> one(1);
    draw.kind = SampleTask::Kind::kDraw;
    draw.outcomes = one;
    draw.top = {};
    TokenCounts counts = wanted.counts;
    if (draw.counts != nullptr) draw.counts = &counts;
    for (size_t i = 0; i + 1 < wanted.outcomes.size(); ++i, ++draw.row, ++draw.key.position) {
      if (!wanted.offsets.empty()) draw.allowed.offsets = std::span(wanted.offsets).subspan(i, 1);
      RunSampleTask(logits(), kVocab, scratch, draw);
      wanted.drafts.push_back(OneIn(6) ? static_cast<int32_t>(Below(kVocab)) : one[0].token);
      counts.AddOutput(wanted.drafts.back());
    }
    wanted.task.drafts = wanted.drafts;
  }

  std::mt19937_64 random_;
  std::vector<float> logits_;
};

// One outcome after the other, each as if it were all that is wanted of a sequence that has grown to that point.
class OneByOne {
 public:
  OneByOne(const float* logits, const Wanted& wanted) : logits_(logits), task_(wanted.task), counts_(wanted.counts) {}

  struct Outcome {
    SampleOutcome outcome;
    std::vector<SampledCandidate> top;
  };

  std::vector<Outcome> Run() {
    std::vector<Outcome> all;
    for (uint32_t i = 0; i < task_.outcomes.size(); ++i) {
      const bool verifies = task_.kind == SampleTask::Kind::kVerify;
      const std::optional<Outcome> next = verifies ? Draw(i, i, 0) : Draw(0, 0, i);
      if (!next) break;
      all.push_back(*next);
      if (!verifies) continue;
      if (i == task_.drafts.size() || task_.drafts[i] != next->outcome.token) break;
      counts_.AddOutput(next->outcome.token);
    }
    return all;
  }

 private:
  std::optional<Outcome> Draw(uint32_t row, uint32_t ahead, uint32_t stream) {
    const std::span<const float> logits(logits_ + (task_.row + row) * kVocab, kVocab);
    Outcome result{.outcome = {}, .top = std::vector<SampledCandidate>(task_.top.size() / task_.outcomes.size())};
    bool drawn = false;
    if (task_.kind == SampleTask::Kind::kScore) {
      drawn = ScoreToken(logits, task_.target, scratch_, result.top, result.outcome);
    } else {
      const uint32_t position = task_.key.position + ahead;
      const SampleRequest request = {
          .params = task_.params,
          .counts = task_.counts == nullptr ? nullptr : &counts_,
          .accepted_drafts = {},
          .masked_tokens = position < task_.masked_before ? task_.masked_tokens : std::span<const int32_t>(),
          .allowed_mask = task_.allowed.mask(row),
          .key = {.seed = task_.key.seed, .stream = task_.key.stream + stream, .position = position}};
      drawn = SampleToken(logits, request, scratch_, result.top, result.outcome);
    }
    return drawn ? std::optional(result) : std::nullopt;
  }

  const float* logits_;
  const SampleTask task_;
  TokenCounts counts_;
  SamplerScratch scratch_{kVocab};
};

bool Same(const SampleOutcome& a, const SampleOutcome& b) {
  return a.token == b.token && a.logprob == b.logprob && a.rank == b.rank;
}

TEST(HostSampler, TasksTogetherGiveWhatEachOutcomeGivesAlone) {
  Result<ThreadTeam> team = ThreadTeam::Start(3);
  ASSERT_TRUE(team.ok());
  HostSampler sampler(3, kVocab);
  int num_verified = 0, num_accepted = 0, num_without = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    Tasks tasks(seed);
    std::vector<Wanted> wanted(1 + seed % 7);
    std::vector<SampleTask> run;
    for (Wanted& one : wanted) {
      tasks.Make(one);
      run.push_back(one.task);
    }
    sampler.Run(*team, tasks.logits(), run);
    for (size_t i = 0; i < run.size(); ++i) {
      if (run[i].num_outcomes == 0) ++num_without;
      if (run[i].kind == SampleTask::Kind::kBest) continue;
      const auto expected = OneByOne(tasks.logits(), wanted[i]).Run();
      ASSERT_EQ(run[i].num_outcomes, expected.size());
      for (size_t k = 0; k < expected.size(); ++k) {
        EXPECT_TRUE(Same(run[i].outcomes[k], expected[k].outcome));
        for (size_t t = 0; t < expected[k].top.size(); ++t) {
          EXPECT_EQ(run[i].top[k * expected[k].top.size() + t].token, expected[k].top[t].token);
        }
      }
      if (run[i].kind != SampleTask::Kind::kVerify) continue;
      ++num_verified;
      num_accepted += static_cast<int>(expected.size()) - 1;
    }
  }
  EXPECT_GT(num_verified, 200);
  EXPECT_GT(num_accepted, 200);
  EXPECT_GT(num_without, 5);
}

TEST(HostSampler, BestAreThoseThatAreNotMasked) {
  const std::vector<float> logits = {1, 5, 3, 4, 2};
  SamplerScratch scratch(5);
  std::vector<SampleOutcome> outcomes(3);
  const std::vector<int32_t> masked = {1};
  SampleTask task = {.kind = SampleTask::Kind::kBest, .masked_tokens = masked, .masked_before = 7};
  task.outcomes = outcomes;
  task.key.position = 6;
  RunSampleTask(logits.data(), 5, scratch, task);
  ASSERT_EQ(task.num_outcomes, 3U);
  EXPECT_EQ(outcomes[0].token, 3);
  EXPECT_EQ(outcomes[0].rank, 2U) << "ranks count the masked ones";
  task.key.position = 7;
  RunSampleTask(logits.data(), 5, scratch, task);
  EXPECT_EQ(outcomes[0].token, 1);
}

}  // namespace
}  // namespace quire
