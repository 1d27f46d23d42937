#include "cli/generate.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

std::string SamplingComplaint(const SamplingOptions& options) {
  const Status status = CheckSampling(options);
  return status.ok() ? std::string() : status.error().message;
}

TEST(CheckSampling, NamesTheOptionThatNoModelWouldBeAskedFor) {
  EXPECT_EQ(SamplingComplaint({}), "");
  EXPECT_EQ(SamplingComplaint({.top_p = 0.9F, .top_k = -1, .max_tokens = 1}), "");
  EXPECT_EQ(SamplingComplaint({.top_p = 2.0F}), "--top-p is 2: it must be above 0 and at most 1");
  EXPECT_EQ(SamplingComplaint({.top_k = -2}), "--top-k is -2: it must be -1 or 0 (all), or positive");
  EXPECT_EQ(SamplingComplaint({.max_tokens = 0}), "--max-tokens is 0: it must be at least 1");
  EXPECT_EQ(SamplingComplaint({.stop = {""}}), "--stop holds an empty string: leave it out");
}

TEST(MakeSamplingParams, OptionsCountMoreThanTheModelsDefaults) {
  ModelConfig config;
  config.default_temperature = 0.5F;
  config.default_top_k = 7;
  const SamplingParams params = MakeSamplingParams(config, {.temperature = 0.0F, .seed = 3});
  EXPECT_EQ(params.temperature, 0.0F);
  EXPECT_EQ(params.top_k, 7);
  EXPECT_EQ(params.seed, 3U);
}

}  // namespace
}  // namespace quire
