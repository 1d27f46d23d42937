#include "sampling/logits_pipeline.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sampling/sampling_testing.h"

namespace quire {
namespace {

TEST(LogitsPipeline, RepetitionDividesPositiveAndMultipliesNegativeLogitsOfPromptAndOutput) {
  SamplingParams params;
  params.repetition_penalty = 2;
  TokenCounts counts;
  counts.AddPrompt(0);
  counts.AddPrompt(1);
  counts.AddOutput(2);
  counts.AddOutput(2);
  std::vector<float> logits = {3, -3, 1, 5};
  ProcessLogits({.params = &params, .counts = &counts}, logits);
  EXPECT_EQ(logits, (std::vector<float>{1.5F, -6, 0.5F, 5}));
}

TEST(LogitsPipeline, PresenceAndFrequencySeeTheOutputOnly) {
  SamplingParams params;
  params.presence_penalty = 0.5F;
  params.frequency_penalty = 0.25F;
  TokenCounts counts;
  counts.AddPrompt(0);
  for (int i = 0; i < 3; ++i) counts.AddOutput(1);
  std::vector<float> logits = {1, 1, 1};
  ProcessLogits({.params = &params, .counts = &counts}, logits);
  EXPECT_EQ(logits, (std::vector<float>{1, -0.25F, 1}));
}

TEST(LogitsPipeline, BiasComesBeforePenalties) {
  SamplingParams params;
  params.logit_bias = {{0, -3.0F}};
  params.repetition_penalty = 2;
  TokenCounts counts;
  counts.AddOutput(0);
  std::vector<float> logits = {1};
  ProcessLogits({.params = &params, .counts = &counts}, logits);
  EXPECT_EQ(logits[0], -4);
}

TEST(LogitsPipeline, MasksForbidAndBitsAllow) {
  SamplingParams params;
  std::vector<float> logits(40, 1.0F);
  const std::vector<int32_t> masked = {3, 35};
  const std::vector<uint32_t> allowed = {0xFFFFFFFEU, 0x0000000FU};
  ProcessLogits({.params = &params, .masked_tokens = masked, .allowed_mask = allowed}, logits);
  for (size_t i = 0; i < logits.size(); ++i) {
    const bool forbidden = i == 0 || i == 3 || i == 35 || i >= 36;
    EXPECT_EQ(logits[i], forbidden ? -kInf : 1.0F) << i;
  }
}

TEST(LogitsPipeline, ExtremePenaltiesKeepFiniteLogitsFinite) {
  SamplingParams params;
  params.repetition_penalty = 1e-38F;
  TokenCounts counts;
  for (int32_t token = 0; token < 3; ++token) counts.AddPrompt(token);
  std::vector<float> logits = {1000, -1000, -kInf};
  ProcessLogits({.params = &params, .counts = &counts}, logits);
  EXPECT_TRUE(std::isfinite(logits[0]));
  EXPECT_TRUE(std::isfinite(logits[1]));
  EXPECT_EQ(logits[2], -kInf);
}

TEST(LogitsPipeline, KnowsWhenThereIsNothingToDo) {
  SamplingParams params;
  TokenCounts counts;
  EXPECT_TRUE(LeavesLogitsAlone({.params = &params, .counts = &counts}));
  EXPECT_FALSE(UsesPenalties(params));
  params.frequency_penalty = 0.1F;
  EXPECT_TRUE(UsesPenalties(params));
  EXPECT_FALSE(LeavesLogitsAlone({.params = &params, .counts = &counts}));
  EXPECT_TRUE(LeavesLogitsAlone({.params = &params}));
}

}  // namespace
}  // namespace quire
