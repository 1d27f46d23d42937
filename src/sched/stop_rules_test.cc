#include "sched/stop_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

Request Asking(int32_t max_tokens) {
  Request request;
  request.prompt = {1, 2, 3};
  request.eos_token_ids = {50, 51};
  request.params.stop_token_ids = {60};
  request.params.max_tokens = max_tokens;
  return request;
}

StopDecision After(const Request& request, int32_t token, uint32_t num_output) {
  return CheckStop(request,
                   {.token = token, .num_output = num_output, .num_total = 3 + num_output, .max_model_len = 100});
}

constexpr StopDecision kGoOn = {};

TEST(StopRulesTest, AnyEosStops) {
  EXPECT_EQ(After(Asking(10), 50, 1), (StopDecision{FinishReason::kStop, -1}));
  EXPECT_EQ(After(Asking(10), 51, 1), (StopDecision{FinishReason::kStop, -1}));
  EXPECT_EQ(After(Asking(10), 52, 1), kGoOn);
}

TEST(StopRulesTest, AStopTokenStopsAndIsTheReason) {
  EXPECT_EQ(After(Asking(10), 60, 1), (StopDecision{FinishReason::kStop, 60}));
}

TEST(StopRulesTest, MaxTokensStopsByLength) {
  EXPECT_EQ(After(Asking(10), 4, 9), kGoOn);
  EXPECT_EQ(After(Asking(10), 4, 10), (StopDecision{FinishReason::kLength, -1}));
  EXPECT_EQ(After(Asking(10), 50, 10), (StopDecision{FinishReason::kStop, -1})) << "EOS is the better reason";
}

TEST(StopRulesTest, TheModelsLengthStopsByLength) {
  EXPECT_EQ(After(Asking(1000), 4, 96), kGoOn);
  EXPECT_EQ(After(Asking(1000), 4, 97), (StopDecision{FinishReason::kLength, -1}));
  Request open = Asking(1);
  open.params.max_tokens.reset();
  EXPECT_EQ(After(open, 4, 96), kGoOn);
  EXPECT_EQ(After(open, 4, 97), (StopDecision{FinishReason::kLength, -1}));
}

TEST(StopRulesTest, IgnoreEosGoesOnButStopTokensStillStop) {
  Request request = Asking(10);
  request.params.ignore_eos = true;
  EXPECT_EQ(After(request, 50, 1), kGoOn);
  EXPECT_EQ(After(request, 60, 1), (StopDecision{FinishReason::kStop, 60}));
}

TEST(StopRulesTest, MinTokensBlocksBothEosAndStopTokens) {
  Request request = Asking(10);
  request.params.min_tokens = 3;
  for (const int32_t token : {50, 60}) {
    EXPECT_EQ(After(request, token, 2), kGoOn);
    EXPECT_EQ(After(request, token, 3).reason, FinishReason::kStop);
  }
}

TEST(StopRulesTest, MasksEosAndStopTokensOnceEachBeforeMinTokens) {
  Request request = Asking(10);
  request.params.stop_token_ids = {60, 51};
  EXPECT_TRUE(MaskedStopTokens(request).empty());
  request.params.min_tokens = 1;
  EXPECT_THAT(MaskedStopTokens(request), testing::ElementsAre(50, 51, 60));
}

}  // namespace
}  // namespace quire
