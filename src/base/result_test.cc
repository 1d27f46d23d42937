#include "quire/result.h"

#include <gtest/gtest.h>

#include <memory>

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

}  // namespace
}  // namespace quire
