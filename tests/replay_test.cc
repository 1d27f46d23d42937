// The file of a run's plans replays it: a fresh runner that is given the plans computes the same results.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "runner/tiny_model_testing.h"
#include "sched/step_printing_testing.h"
#include "sched/step_trace.h"
#include "scheduled_serving.h"

namespace quire {
namespace {

// Writes what passes through it.
class RecordingRunner final : public StepRunner {
 public:
  RecordingRunner(StepRunner& runner, TraceWriter& trace) : runner_(runner), trace_(trace) {}
  Status Submit(const StepPlan& plan) override {
    QUIRE_RETURN_IF_ERROR(trace_.Write(plan));
    return runner_.Submit(plan);
  }
  Status Sample(const StepMasks& masks) override { return runner_.Sample(masks); }
  Status Collect(StepResult& result) override {
    QUIRE_RETURN_IF_ERROR(runner_.Collect(result));
    return trace_.Write(result);
  }

 private:
  StepRunner& runner_;
  TraceWriter& trace_;
};

class Replay : public testing::Test {
 protected:
  Replay()
      : path_(std::filesystem::temp_directory_path() / ("quire-replay-" + std::to_string(::getpid()) + ".trace")),
        model_(LoadTestModel(GoldenDirectory("qwen3-untied"))) {
    config_.max_num_seqs = 20;
    config_.max_num_batched_tokens = 24;
    config_.max_model_len = RequestMaker::kMaxLen;
    config_.block_size = 4;
    config_.num_blocks = 96;
  }
  ~Replay() override { std::filesystem::remove(path_); }

  std::unique_ptr<ModelRunner> MakeRunner() const {
    return model_.MakeRunner({.max_num_seqs = 20,
                              .max_num_batched_tokens = 24,
                              .max_model_len = static_cast<int32_t>(RequestMaker::kMaxLen),
                              .num_blocks = 96,
                              .block_size = 4,
                              .kv_dtype = DType::kBf16});
  }

  void Record() {
    Result<TraceWriter> trace = TraceWriter::Create(path_.string());
    ASSERT_TRUE(trace.ok());
    const auto runner = MakeRunner();
    RecordingRunner recorder(*runner, *trace);
    RequestMaker maker(41, 288);
    std::vector<Job> jobs;
    for (uint64_t id = 0; id < 40; ++id) {
      jobs.push_back({.request = maker.Make(id), .arrival_step = static_cast<int64_t>(id / 4)});
    }
    jobs[3].abort_step = 9;
    Serving serving(config_, recorder);
    serving.Run(jobs);
    EXPECT_GT(serving.scheduler().Stats().num_preemptions(), 0U);
    ASSERT_TRUE(trace->Flush().ok());
  }

  std::filesystem::path path_;
  TestModel model_;
  SchedulerConfig config_;
};

TEST_F(Replay, AFreshRunnerComputesTheRecordedResultsAgain) {
  ASSERT_NO_FATAL_FAILURE(Record());
  Result<TraceReader> trace = TraceReader::Open(path_.string());
  ASSERT_TRUE(trace.ok());
  const auto runner = MakeRunner();
  StepPlan plan;
  StepResult recorded, computed;
  int num_results = 0;
  for (;;) {
    const Result<TraceReader::Kind> kind = trace->Next(plan, recorded);
    ASSERT_TRUE(kind.ok()) << kind.error().message;
    if (*kind == TraceReader::Kind::kEnd) break;
    if (*kind == TraceReader::Kind::kPlan) {
      ASSERT_TRUE(runner->Run(plan, computed).ok());
      continue;
    }
    ++num_results;
    for (StepResult* result : {&recorded, &computed}) {
      result->forward_us = result->sample_us = result->swap_out_us = result->swap_in_us = 0;
    }
    EXPECT_TRUE(recorded == computed) << "step " << recorded.step;
  }
  EXPECT_GT(num_results, 20);
}

}  // namespace
}  // namespace quire
