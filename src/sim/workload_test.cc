#include "sim/workload.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace quire {
namespace {

std::vector<WorkloadRequest> Make(const WorkloadOptions& options) {
  Result<std::vector<WorkloadRequest>> requests = MakeWorkload(options);
  EXPECT_TRUE(requests.ok());
  return *std::move(requests);
}

double Mean(const std::vector<WorkloadRequest>& requests, uint32_t WorkloadRequest::*length) {
  double sum = 0;
  for (const WorkloadRequest& request : requests) sum += request.*length;
  return sum / static_cast<double>(requests.size());
}

// The paper's means are 161 and 338 tokens for ShareGPT, 19 and 58 for Alpaca; drawing pairs again where they exceed
// the context lowers ShareGPT's to about 153 and 333.
TEST(Workload, HasTheMeansOfThePapersDatasets) {
  const auto sharegpt = Make({.kind = WorkloadKind::kShareGpt, .num_requests = 20'000});
  EXPECT_NEAR(Mean(sharegpt, &WorkloadRequest::num_prompt_tokens), 153, 10);
  EXPECT_NEAR(Mean(sharegpt, &WorkloadRequest::num_output_tokens), 333, 10);
  const auto alpaca = Make({.kind = WorkloadKind::kAlpaca, .num_requests = 20'000});
  EXPECT_NEAR(Mean(alpaca, &WorkloadRequest::num_prompt_tokens), 19.3, 1);
  EXPECT_NEAR(Mean(alpaca, &WorkloadRequest::num_output_tokens), 58, 3);
}

TEST(Workload, EveryRequestFitsTheContextAndHasTokens) {
  for (const double scale : {0.01, 0.1, 1.0}) {
    for (const WorkloadRequest& request :
         Make({.num_requests = 2000, .length_scale = scale, .max_total_tokens = 1000})) {
      EXPECT_GE(request.num_prompt_tokens, 1U);
      EXPECT_GE(request.num_output_tokens, 1U);
      EXPECT_LE(request.num_prompt_tokens + request.num_output_tokens, 1000U);
    }
  }
}

TEST(Workload, LengthsScale) {
  const auto whole = Make({.num_requests = 5000});
  const auto tenth = Make({.num_requests = 5000, .length_scale = 0.1});
  EXPECT_NEAR(Mean(tenth, &WorkloadRequest::num_output_tokens), 0.1 * Mean(whole, &WorkloadRequest::num_output_tokens),
              0.5);
}

TEST(Workload, ArrivalsArePoissonAndLengthsDoNotDependOnTheRate) {
  const auto at_once = Make({.num_requests = 20'000});
  const auto spread = Make({.num_requests = 20'000, .request_rate = 5});
  EXPECT_EQ(at_once.back().arrival_s, 0);
  std::vector<double> gaps;
  for (size_t i = 1; i < spread.size(); ++i) {
    ASSERT_EQ(spread[i].num_prompt_tokens, at_once[i].num_prompt_tokens);
    gaps.push_back(spread[i].arrival_s - spread[i - 1].arrival_s);
    ASSERT_GE(gaps.back(), 0);
  }
  double sum = 0, squares = 0;
  for (const double gap : gaps) sum += gap, squares += gap * gap;
  const double mean = sum / static_cast<double>(gaps.size());
  EXPECT_NEAR(mean, 0.2, 0.006);
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(gaps.size()) - mean * mean) / mean, 1, 0.05);
}

TEST(Workload, UniformLengthsSpreadAroundTheirMean) {
  const WorkloadOptions options = {
      .kind = WorkloadKind::kUniform, .num_requests = 1000, .input_len = 100, .output_len = 50, .range_ratio = 0.5};
  for (const WorkloadRequest& request : Make(options)) {
    EXPECT_TRUE(request.num_prompt_tokens >= 50 && request.num_prompt_tokens <= 150);
    EXPECT_TRUE(request.num_output_tokens >= 25 && request.num_output_tokens <= 75);
  }
}

TEST(Workload, RefusesWhatCanHardlyFit) {
  EXPECT_FALSE(MakeWorkload({.kind = WorkloadKind::kUniform, .max_total_tokens = 100}).ok());
  EXPECT_FALSE(MakeWorkload({.request_rate = 0}).ok());
  EXPECT_FALSE(MakeWorkload({.length_scale = -1}).ok());
}

}  // namespace
}  // namespace quire
