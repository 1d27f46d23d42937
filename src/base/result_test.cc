#include "quire/result.h"

#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "quire/sampling_params.h"

namespace quire {
namespace {

Result<std::unique_ptr<int>> Half(int value) {
  if (value % 2 != 0) return InvalidArgument("{} is odd", value);
  return std::make_unique<int>(value / 2);
}

Result<int> Quarter(int value) {
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<int> half, Half(value));
  QUIRE_ASSIGN_OR_RETURN(const std::unique_ptr<int> quarter, Half(*half));
  return *quarter;
}

TEST(Result, CarriesMoveOnlyValuesAndErrorsThroughTheMacros) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).error().message, "3 is odd");
  EXPECT_EQ(Quarter(3).error().code, ErrorCode::kInvalidArgument);
}

TEST(SamplingParams, ErrorsNameFieldValueAndRange) {
  SamplingParams params;
  EXPECT_TRUE(ValidateSamplingParams(params, 10).ok());
  params.top_p = 0;
  EXPECT_NE(ValidateSamplingParams(params, 10).error().message.find("top_p is 0"), std::string::npos);
  params.top_p = 1;
  params.logit_bias = {{10, 1.0F}};
  EXPECT_NE(ValidateSamplingParams(params, 10).error().message.find("from 0 to 9"), std::string::npos);
  params.logit_bias.clear();
  params.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(ValidateSamplingParams(params, 10).ok());
}

// What is wrong with the parameters, after what the largest that are right have passed.
std::string ProblemOf(const SamplingParams& largest, const SamplingParams& params) {
  EXPECT_TRUE(ValidateSamplingParams(largest, 20000).ok());
  const Status status = ValidateSamplingParams(params, 20000);
  return status.ok() ? "" : status.error().message;
}

TEST(SamplingParams, WhatIsLookedAtForEveryTokenIsBounded) {
  EXPECT_EQ(ProblemOf({.stop = std::vector<std::string>(kMaxStopStrings, "x")},
                      {.stop = std::vector<std::string>(kMaxStopStrings + 1, "x")}),
            "stop has 129 entries: at most 128 are allowed");
  EXPECT_EQ(
      ProblemOf({.stop = {"x", std::string(kMaxStopBytes - 1, 'y')}}, {.stop = {"x", std::string(kMaxStopBytes, 'y')}}),
      "stop has 16385 bytes in all its strings: at most 16384 are allowed");
  EXPECT_EQ(ProblemOf({.stop_token_ids = std::vector<int32_t>(kMaxStopTokenIds)},
                      {.stop_token_ids = std::vector<int32_t>(kMaxStopTokenIds + 1)}),
            "stop_token_ids has 1025 entries: at most 1024 are allowed");
  EXPECT_EQ(ProblemOf({.logit_bias = std::vector<std::pair<int32_t, float>>(kMaxLogitBiases)},
                      {.logit_bias = std::vector<std::pair<int32_t, float>>(kMaxLogitBiases + 1)}),
            "logit_bias has 16385 entries: at most 16384 are allowed");
}

}  // namespace
}  // namespace quire
