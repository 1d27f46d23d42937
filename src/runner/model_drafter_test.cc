// A model that drafts for itself guesses what it will say: so its drafts are compared with what a runner draws.
#include "runner/model_drafter.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "runner/plan_driver_testing.h"
#include "runner/tiny_model_testing.h"

namespace quire {
namespace {

using Tokens = std::vector<int32_t>;

class ModelDrafterTest : public testing::Test {
 protected:
  static constexpr int32_t kMaxLen = 96;

  ModelDrafter& Make(int32_t num_blocks, int32_t max_rows = 64) {
    const ModelDrafterOptions options = {.max_num_seqs = 8,
                                         .max_num_batched_tokens = max_rows,
                                         .max_model_len = kMaxLen,
                                         .num_blocks = num_blocks,
                                         .block_size = 8,
                                         .kv_dtype = DType::kF32};
    auto drafter = ModelDrafter::Create(*model_.backend, model_.model, options);
    EXPECT_TRUE(drafter.ok()) << drafter.error().message;
    drafter_ = *std::move(drafter);
    return *drafter_;
  }
  // What the runner says after these tokens.
  Tokens Continue(const Tokens& tokens, const SamplingParams& params, int32_t count) {
    const auto runner = model_.MakeRunner({.max_num_seqs = 2,
                                           .max_num_batched_tokens = 128,
                                           .max_model_len = 128,
                                           .num_blocks = 64,
                                           .kv_dtype = DType::kF32});
    PlanDriver driver(*runner, 64, 16);
    SamplingParams longer = params;
    longer.max_tokens = count;
    driver.Add(tokens, longer);
    driver.Run();
    return driver[0].output_ids();
  }
  DraftRequest Ask(uint64_t id, const Tokens& tokens, const SamplingParams& params, uint32_t max_drafts = 4) {
    return {.request = RequestId{id}, .params = &params, .tokens = tokens, .max_drafts = max_drafts};
  }
  Tokens ProposeOne(uint64_t id, const Tokens& tokens, const SamplingParams& params, uint32_t max_drafts = 4) {
    DraftRequest request = Ask(id, tokens, params, max_drafts);
    drafter_->Propose(std::span(&request, 1));
    return request.drafts;
  }
  Tokens RandomTokens(size_t count) {
    Tokens tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_() % 288);
    return tokens;
  }
  static SamplingParams Greedy() {
    SamplingParams params;
    params.temperature = 0;
    return params;
  }
  static SamplingParams Hot() {
    SamplingParams params;
    params.temperature = 1.5F;
    params.top_p = 0.9F;
    params.seed = 5;
    return params;
  }

  struct {
    std::unique_ptr<Backend> backend;
    std::shared_ptr<const Model> model;

    std::unique_ptr<ModelRunner> MakeRunner(const ModelRunnerOptions& options) const {
      return *ModelRunner::Create(*backend, *model, options);
    }
  } model_ = [] {
    TestModel loaded = LoadTestModel(GoldenDirectory("qwen3"), 2);
    return decltype(model_){std::move(loaded.backend), std::move(loaded.model)};
  }();
  std::unique_ptr<ModelDrafter> drafter_;
  std::minstd_rand random_{7};
};

TEST_F(ModelDrafterTest, DraftsAreWhatTheModelSaysItself) {
  Make(100);
  const SamplingParams greedy = Greedy(), hot = Hot();
  for (const size_t length : {1, 7, 8, 40}) {
    const Tokens tokens = RandomTokens(length);
    EXPECT_EQ(ProposeOne(2 * length, tokens, greedy), Continue(tokens, greedy, 4)) << length;
    EXPECT_EQ(ProposeOne(2 * length + 1, tokens, hot), Continue(tokens, hot, 4)) << "with the key of the draw";
  }
}

TEST_F(ModelDrafterTest, WhatWasRejectedIsForgottenAndWhatWasAcceptedIsNotComputedAgain) {
  Make(100);
  const SamplingParams params = Hot();
  Tokens tokens = RandomTokens(20);
  for (int step = 0; step < 12; ++step) {
    const Tokens drafts = ProposeOne(1, tokens, params);
    ASSERT_EQ(drafts, Continue(tokens, params, 4)) << step;
    const size_t num_accepted = random_() % 5;
    tokens.insert(tokens.end(), drafts.begin(), drafts.begin() + static_cast<std::ptrdiff_t>(num_accepted));
    tokens.push_back(static_cast<int32_t>(random_() % 288));
  }
}

TEST_F(ModelDrafterTest, SequencesSideBySideDoNotShowInEachOther) {
  Make(100);
  const SamplingParams greedy = Greedy(), hot = Hot();
  std::vector<Tokens> tokens;
  tokens.reserve(6);
  for (int i = 0; i < 6; ++i) tokens.push_back(RandomTokens(3 + static_cast<size_t>(i)));
  std::vector<DraftRequest> requests;
  requests.reserve(6);
  for (uint32_t i = 0; i < 6; ++i) requests.push_back(Ask(i, tokens[i], i % 2 == 0 ? greedy : hot, 1 + i % 3));
  drafter_->Propose(requests);
  for (uint32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(requests[i].drafts, Continue(tokens[i], *requests[i].params, static_cast<int32_t>(1 + i % 3))) << i;
  }
}

TEST_F(ModelDrafterTest, APromptThatIsLongerThanAPassIsComputedInSeveralCalls) {
  Make(100, 16);
  const SamplingParams params = Greedy();
  const Tokens tokens = RandomTokens(40);
  EXPECT_EQ(ProposeOne(1, tokens, params), Tokens());
  EXPECT_EQ(ProposeOne(1, tokens, params), Tokens());
  EXPECT_EQ(ProposeOne(1, tokens, params), Continue(tokens, params, 4));
}

TEST_F(ModelDrafterTest, WhoeverIsNotAskedForMakesRoomAndMayComeBack) {
  ModelDrafter& drafter = Make(8);  // 64 tokens
  const SamplingParams params = Greedy();
  const Tokens one = RandomTokens(30), other = RandomTokens(35);
  EXPECT_EQ(ProposeOne(1, one, params), Continue(one, params, 4));
  EXPECT_EQ(ProposeOne(2, other, params), Continue(other, params, 4));
  EXPECT_EQ(ProposeOne(1, one, params), Continue(one, params, 4)) << "computed again";
  std::vector<DraftRequest> both = {Ask(1, one, params), Ask(2, other, params)};
  drafter.Propose(both);
  EXPECT_EQ(both[0].drafts.size(), 4U);
  EXPECT_TRUE(both[1].drafts.empty()) << "no room beside the first";
  drafter.Forget(RequestId{1});
  drafter.Forget(RequestId{2});
  EXPECT_EQ(drafter.num_free_blocks(), 8);
}

TEST_F(ModelDrafterTest, BehindItsContextThereAreNoDrafts) {
  Make(100, 128);
  const SamplingParams params = Greedy();
  EXPECT_EQ(ProposeOne(1, RandomTokens(kMaxLen - 3), params), Tokens());
  EXPECT_EQ(ProposeOne(2, RandomTokens(kMaxLen - 4), params).size(), 4U);
}

}  // namespace
}  // namespace quire
