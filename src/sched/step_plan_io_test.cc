#include "sched/step_plan_io.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "sched/fake_runner_testing.h"
#include "sched/scheduler_testing.h"
#include "sched/step_trace.h"

namespace quire {
namespace {

StepPlan FullPlan() {
  StepPlan plan;
  plan.step = 9;
  plan.forks = {{SeatId{1}, SeatId{2}, 1}};
  plan.removals = {SeatId{3}};
  Admission admission = {.seat = SeatId{1}, .request = RequestId{77}, .stream = 2, .num_prompt_tokens = 2};
  admission.params.temperature = 0.5F;
  admission.params.seed = 1ULL << 60;
  admission.params.logit_bias = {{4, -1.5F}, {5, 2.0F}};
  admission.params.stop = {"\n\n", "end"};
  admission.params.max_tokens = 12;
  admission.params.ignore_eos = true;
  admission.stop_token_ids = {2};
  admission.history = {5, 6, 7};
  plan.admissions = {admission, {}};
  admission.params.best_of = 4;
  admission.params.early_stopping = EarlyStopping::kNever;
  plan.token_appends = {{SeatId{2}, 9}};
  plan.appended_blocks = {{SeatId{1}, BlockId{8}}};
  plan.copies = {{SeatId{1}, 0, BlockId{8}, BlockId{9}}};
  plan.transfers = {{5, Transfer::Kind::kLoad, BlockId{1}, 2, {3, 4}, {5, 6}, 0, 2}};
  plan.transfer_tokens = {7, 8};
  plan.spans = {{SeatId{1}, 0, 2, 0}};
  plan.tokens = {{TokenSource::Kind::kLiteral, 5}, {TokenSource::Kind::kPreviousTask, 0}};
  plan.tasks = {{RowTask::Kind::kScore, 0, SeatId{1}, 2, 1, 1, 6}, {RowTask::Kind::kSample, 1, SeatId{1}, 2, 2, 1, -1}};
  plan.masks_follow = true;
  plan.await_transfers = true;
  return plan;
}

StepResult FullResult() {
  StepResult result;
  result.step = 9;
  result.tasks = {{TaskResult::Status::kOk, 0, 1}, {TaskResult::Status::kNan, 1, 0}};
  result.tokens = {{6, -0.25F, 3, 0, 2}};
  result.candidates = {{1, -0.1F}, {6, -0.25F}};
  result.pooled = {1.5F};
  result.transfers_completed = {5};
  result.transfers_failed = {6, 7};
  result.forward_us = 1234;
  result.sample_us = 5;
  result.swap_out_us = 6;
  result.swap_in_us = 7;
  return result;
}

template <typename T>
void ExpectRoundTripAndNoCrash(const T& value) {
  std::string bytes;
  AppendBytes(value, bytes);
  T parsed;
  ASSERT_TRUE(ParseBytes(bytes, parsed).ok());
  EXPECT_EQ(parsed, value);
  ASSERT_TRUE(ParseBytes(bytes, parsed).ok()) << "into a value that was used before";
  EXPECT_EQ(parsed, value);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(ParseBytes(std::string_view(bytes).substr(0, size), parsed).ok()) << "cut to " << size;
  }
  EXPECT_FALSE(ParseBytes(bytes + "x", parsed).ok());
  std::mt19937 random(5);
  for (int i = 0; i < 20'000; ++i) {  // damaged bytes are read as something else or refused
    std::string damaged = bytes;
    for (int k = 0; k < 3; ++k) damaged[random() % damaged.size()] = static_cast<char>(random());
    (void)ParseBytes(damaged, parsed).ok();
  }
}

TEST(StepPlanIoTest, APlanSurvivesAndEveryTruncationIsAnError) { ExpectRoundTripAndNoCrash(FullPlan()); }

TEST(StepPlanIoTest, AResultSurvivesAndEveryTruncationIsAnError) { ExpectRoundTripAndNoCrash(FullResult()); }

TEST(StepPlanIoTest, AnotherFormatIsRefusedByNumber) {
  std::string bytes;
  AppendBytes(FullPlan(), bytes);
  bytes[0] = 99;
  StepPlan plan;
  const Status parsed = ParseBytes(bytes, plan);
  ASSERT_FALSE(parsed.ok());
  EXPECT_THAT(parsed.error().message, testing::HasSubstr("format 99"));
}

TEST(StepPlanIoTest, EqualityLooksAtEveryPart) {
  const StepPlan plan = FullPlan();
  StepPlan other = plan;
  EXPECT_EQ(other, plan);
  other.admissions[0].params.top_k = 3;
  EXPECT_FALSE(other == plan);
  other = plan;
  other.masks_follow = false;
  EXPECT_FALSE(other == plan);
  StepResult result = FullResult();
  result.sample_us = 0;
  EXPECT_FALSE(result == FullResult());
}

TEST(StepPlanIoTest, ClearLeavesAnEmptyPlan) {
  StepPlan plan = FullPlan();
  plan.Clear();
  EXPECT_EQ(plan, StepPlan{});
  EXPECT_TRUE(plan.empty());
  StepResult result = FullResult();
  result.Clear();
  EXPECT_EQ(result, StepResult{});
}

class StepTraceTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }

  // A run in a tiny pool, so that the trace holds preemptions.
  void WriteTrace() {
    auto writer = TraceWriter::Create(path_);
    ASSERT_TRUE(writer.ok()) << writer.error().message;
    SchedulerHarness h(TestConfig(10));
    for (uint64_t id = 1; id <= 4; ++id) h.Add(TestRequest(id, 60, 40));
    while (h.scheduler.HasWork()) {
      const StepPlan& plan = h.Plan();
      ASSERT_TRUE(writer->Write(plan).ok());
      h.Run(plan);
      ASSERT_TRUE(writer->Write(h.result).ok());
      h.Apply();
    }
    ASSERT_GT(h.scheduler.Stats().num_preemptions(), 0U);
    ASSERT_TRUE(writer->Flush().ok());
  }

  const std::string path_ = (std::filesystem::temp_directory_path() /
                             ("quire_trace_" + std::to_string(testing::UnitTest::GetInstance()->random_seed()) + "_" +
                              std::to_string(reinterpret_cast<uintptr_t>(this))))
                                .string();
};

TEST_F(StepTraceTest, ReplayingTheFileOfARunComputesTheSameResults) {
  WriteTrace();
  auto reader = TraceReader::Open(path_);
  ASSERT_TRUE(reader.ok());
  FakeRunner runner({.num_seats = 16, .num_blocks = 10});
  StepPlan plan;
  StepResult recorded, replayed;
  int num_steps = 0;
  for (;;) {
    const auto kind = reader->Next(plan, recorded);
    ASSERT_TRUE(kind.ok()) << kind.error().message;
    if (*kind == TraceReader::Kind::kEnd) break;
    if (*kind == TraceReader::Kind::kPlan) {
      ASSERT_TRUE(runner.Submit(plan).ok());
      ASSERT_TRUE(runner.Collect(replayed).ok());
    } else {
      EXPECT_EQ(replayed, recorded);
      ++num_steps;
    }
  }
  EXPECT_GT(num_steps, 40);
}

TEST_F(StepTraceTest, ATruncatedFileIsAnErrorThatNamesIt) {
  WriteTrace();
  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) - 3);
  auto reader = TraceReader::Open(path_);
  ASSERT_TRUE(reader.ok());
  StepPlan plan;
  StepResult result;
  Result<TraceReader::Kind> kind = TraceReader::Kind::kPlan;
  while (kind.ok() && *kind != TraceReader::Kind::kEnd) kind = reader->Next(plan, result);
  ASSERT_FALSE(kind.ok());
  EXPECT_THAT(kind.error().message, testing::HasSubstr(path_));
}

TEST_F(StepTraceTest, AFileThatIsNoTraceAndAFileThatIsNotThereAreErrors) {
  std::ofstream(path_) << "hello";
  EXPECT_FALSE(TraceReader::Open(path_).ok());
  EXPECT_FALSE(TraceReader::Open(path_ + ".absent").ok());
  EXPECT_FALSE(TraceWriter::Create("/nonexistent/trace").ok());
}

}  // namespace
}  // namespace quire
