#include "engine/active_request.h"

#include <gtest/gtest.h>

#include <map>

#include "engine/number_tokenizer_testing.h"

namespace quire {
namespace {

constexpr TimeUs kMs = 1000;

Submission Submit(const SamplingParams& params, std::optional<int32_t> shown_logprobs = std::nullopt) {
  Submission submission;
  submission.request.prompt = {1, 2, 3};
  submission.request.params = params;
  submission.shown_logprobs = shown_logprobs;
  submission.queue = std::make_shared<OutputQueue>(static_cast<uint32_t>(params.n));
  return submission;
}

class ActiveRequestTest : public testing::Test {
 protected:
  void Start(const Submission& submission) {
    queue_ = submission.queue;
    request_.emplace(submission, &tokenizer_);
    request_->OnAdmitted(0, 0, stats_);
  }
  bool Say(uint32_t stream, int32_t token, float logprob, TimeUs now = kMs) {
    const TokenOutput output = {.token = token, .logprob = logprob, .rank = 1};
    const SchedulerEvent event = {.stream = stream, .tokens = {&output, 1}};
    const bool stopped = request_->OnTokens(event, now, stats_);
    request_->Publish(stream);
    return stopped;
  }
  bool End(uint32_t stream, FinishReason reason, float score = 0) {
    const bool last = request_->EndStream(stream, {.reason = reason, .score = score}, 2 * kMs, stats_);
    last ? request_->PublishEnd() : request_->Publish(stream);
    return last;
  }
  // Everything that was pushed, merged, by choice.
  std::map<uint32_t, OutputDelta> Read() {
    std::map<uint32_t, OutputDelta> read;
    while (std::optional<OutputDelta> delta = queue_->TryNext()) {
      OutputDelta& choice = read[delta->choice];
      MergeDelta(choice, *std::move(delta));
    }
    return read;
  }

  NumberTokenizer tokenizer_;
  StatsSnapshot stats_;
  std::shared_ptr<OutputQueue> queue_;
  std::optional<ActiveRequest> request_;
};

TEST_F(ActiveRequestTest, StreamsArePublishedAsTheyComeAndEndOneByOne) {
  Start(Submit({.n = 2}));
  Say(0, 10, -1);
  Say(1, 20, -1);
  EXPECT_FALSE(End(1, FinishReason::kStop));
  std::map<uint32_t, OutputDelta> read = Read();
  EXPECT_EQ(read[0].text, "10,");
  EXPECT_FALSE(read[0].finished());
  EXPECT_EQ(read[1].text, "20,");
  EXPECT_EQ(read[1].finish_reason, FinishReason::kStop);
  Say(0, 11, -1);
  EXPECT_TRUE(End(0, FinishReason::kLength));
  read = Read();
  EXPECT_EQ(read[0].text, "11,");
  EXPECT_EQ(read[0].num_output_tokens, 2U);
  EXPECT_TRUE(queue_->finished());
}

TEST_F(ActiveRequestTest, AStopStringEndsItsStreamOnly) {
  Start(Submit({.stop = {"7,8"}, .n = 2}));
  EXPECT_FALSE(Say(0, 7, -1));
  EXPECT_FALSE(Say(1, 8, -1));
  EXPECT_TRUE(Say(0, 8, -1));
  EXPECT_FALSE(End(0, FinishReason::kStop));
  EXPECT_TRUE(request_->HasEnded(0));
  EXPECT_FALSE(request_->HasEnded(1));
  std::map<uint32_t, OutputDelta> read = Read();
  EXPECT_EQ(read[0].text, "");
  EXPECT_EQ(read[0].stop_string, "7,8");
  EXPECT_EQ(read[1].text, "8,");
}

TEST_F(ActiveRequestTest, TheBestByMeanLogprobArePublishedAtTheEndBestFirst) {
  Start(Submit({.logprobs = 0, .n = 2, .best_of = 4}));
  Say(0, 10, -3);
  Say(1, 20, -2);
  Say(2, 30, -1);
  Say(2, 31, -3);  // mean -2, as stream 1: the earlier stream wins
  Say(3, 40, -1);
  for (const uint32_t stream : {0U, 1U, 2U}) EXPECT_FALSE(End(stream, FinishReason::kLength));
  EXPECT_TRUE(Read().empty());
  EXPECT_TRUE(End(3, FinishReason::kLength));
  const std::map<uint32_t, OutputDelta> read = Read();
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read.at(0).token_ids, (std::vector<int32_t>{40}));
  EXPECT_EQ(read.at(1).token_ids, (std::vector<int32_t>{20}));
  EXPECT_TRUE(read.at(0).logprobs.empty()) << "the client did not ask";
  EXPECT_EQ(read.at(0).num_output_tokens, 1U);
  EXPECT_EQ(stats_.generation_tokens, 5U);
}

TEST_F(ActiveRequestTest, HypothesesComeWithTheirScoresAndAreCutAtStopStrings) {
  Start(Submit({.stop = {"7,"}, .n = 2, .use_beam_search = true, .beam_width = 4}));
  EXPECT_FALSE(Say(0, 7, -1)) << "its end follows";
  EXPECT_FALSE(End(0, FinishReason::kLength, -0.5F));
  Say(1, 5, -1);
  EXPECT_TRUE(End(1, FinishReason::kStop, -0.75F));
  const std::map<uint32_t, OutputDelta> read = Read();
  EXPECT_EQ(read.at(0).text, "");
  EXPECT_EQ(read.at(0).finish_reason, FinishReason::kStop);
  EXPECT_EQ(read.at(0).score, -0.5F);
  EXPECT_EQ(read.at(1).text, "5,");
  EXPECT_EQ(read.at(1).score, -0.75F);
}

TEST_F(ActiveRequestTest, AFailureEndsEveryChoiceThatRuns) {
  Start(Submit({.n = 3}));
  for (const uint32_t stream : {0U, 1U, 2U}) Say(stream, 5, -1);
  End(1, FinishReason::kStop);
  request_->Fail(FinishReason::kError, Error{ErrorCode::kInternal, "NaN"});
  const std::map<uint32_t, OutputDelta> read = Read();
  EXPECT_EQ(read.at(0).finish_reason, FinishReason::kError);
  EXPECT_EQ(read.at(1).finish_reason, FinishReason::kStop);
  EXPECT_EQ(read.at(2).error->message, "NaN");
  EXPECT_TRUE(queue_->finished());
}

TEST_F(ActiveRequestTest, AnEndThatCouldNotBeToldIsToldAsAFailureAndNoOtherTwice) {
  Start(Submit({.n = 2}));
  for (const uint32_t stream : {0U, 1U}) Say(stream, 5, -1);
  End(0, FinishReason::kStop);
  EXPECT_TRUE(request_->EndStream(1, {.reason = FinishReason::kLength}, 2 * kMs, stats_));
  request_->Fail(FinishReason::kError, Error{ErrorCode::kInternal, "no memory"});
  const std::map<uint32_t, OutputDelta> read = Read();
  EXPECT_EQ(read.at(0).finish_reason, FinishReason::kStop);
  EXPECT_EQ(read.at(1).finish_reason, FinishReason::kError);
  EXPECT_TRUE(queue_->finished());
}

TEST_F(ActiveRequestTest, AFailureOfGatheredStreamsSaysNothingElse) {
  Start(Submit({.n = 1, .best_of = 3}));
  Say(2, 5, -1);
  End(2, FinishReason::kStop);
  request_->Fail(FinishReason::kAbort, Error{ErrorCode::kCancelled, "gone"});
  const std::map<uint32_t, OutputDelta> read = Read();
  ASSERT_EQ(read.size(), 1U);
  EXPECT_EQ(read.at(0).finish_reason, FinishReason::kAbort);
}

TEST_F(ActiveRequestTest, ThePromptsScoresComeWithEveryChoice) {
  Start(Submit({.prompt_logprobs = 0, .n = 2}));
  const std::vector<TokenOutput> scores = {{.token = 2, .logprob = -1}, {.token = 3, .logprob = -2}};
  request_->OnPromptLogprobs({scores.data(), 1}, {});
  request_->OnPromptLogprobs({scores.data() + 1, 1}, {});
  Say(0, 5, -1);
  Say(1, 6, -1);
  const std::map<uint32_t, OutputDelta> read = Read();
  for (const uint32_t choice : {0U, 1U}) {
    ASSERT_NE(read.at(choice).prompt_logprobs, nullptr);
    ASSERT_EQ(read.at(choice).prompt_logprobs->size(), 3U);
    EXPECT_FALSE(read.at(choice).prompt_logprobs->front());
    EXPECT_EQ(read.at(choice).prompt_logprobs->back()->logprob, -2);
  }
}

TEST_F(ActiveRequestTest, ARequestIsMeasuredOnceAndItsStreamsByToken) {
  Start(Submit({.n = 2}));
  Say(0, 10, -1, 1 * kMs);
  Say(1, 20, -1, 1 * kMs);
  Say(0, 11, -1, 4 * kMs);
  Say(0, 12, -1, 5 * kMs);
  End(0, FinishReason::kLength);
  End(1, FinishReason::kStop);
  EXPECT_EQ(stats_.time_to_first_token_s.count, 1U);
  EXPECT_EQ(stats_.prompt_tokens, 3U);
  EXPECT_EQ(stats_.generation_tokens, 4U);
  EXPECT_EQ(stats_.inter_token_latency_s.count, 2U);
  EXPECT_EQ(stats_.generation_length.sum, 4);
  EXPECT_EQ(stats_.longest_generation.sum, 3);
  EXPECT_EQ(stats_.time_per_output_token_s.count, 1U);
  EXPECT_NEAR(stats_.time_per_output_token_s.sum, 0.002, 1e-9);
  EXPECT_EQ(stats_.finished[FinishReason::kLength], 1U);
  EXPECT_EQ(stats_.e2e_latency_s.count, 1U);
}

}  // namespace
}  // namespace quire
