// Scheduling is invisible in the output: whatever the block size, budget, chunks, preemptions, prefix-cache hits,
// threads and neighbours, each request gets the very tokens and log-probabilities, bit for bit, that it gets alone.
#include <gtest/gtest.h>

#include "runner/test_model.h"
#include "scheduled_serving.h"

namespace quire {
namespace {

constexpr uint32_t kMaxSeqs = 12;

struct Schedule {
  SchedulerConfig config;
  int num_threads = 1;
};

uint32_t Blocks(uint32_t block_size) { return (RequestMaker::kMaxLen + block_size - 1) / block_size; }

Schedule RandomSchedule(std::mt19937& random, int index) {
  const auto below = [&](uint32_t bound) { return static_cast<uint32_t>(random() % bound); };
  Schedule schedule;
  schedule.num_threads = 1 + index % 2;
  SchedulerConfig& config = schedule.config;
  config.block_size = 1U << below(7);
  config.max_num_seqs = 2 + below(kMaxSeqs - 1);
  config.max_num_batched_tokens = config.max_num_seqs + below(60);
  config.max_model_len = RequestMaker::kMaxLen;
  // Room for the longest request and a little more: growth beside a neighbour means preemption.
  config.num_blocks = Blocks(config.block_size) + 1 + below(1 + Blocks(config.block_size) / 2);
  config.enable_prefix_caching = index / 2 % 2 == 0;
  config.long_prefill_token_threshold = below(2) == 0 ? 0 : 1 + below(20);
  config.watermark = 0;
  config.chunk_budget.target_ratio = 0;  // it follows measured times: a failing schedule should come again
  config.hash_seed = random();
  return schedule;
}

std::string Describe(const Schedule& schedule) {
  const SchedulerConfig& c = schedule.config;
  return testing::PrintToString(std::vector<uint32_t>{
      c.block_size, c.num_blocks, c.max_num_seqs, c.max_num_batched_tokens, c.long_prefill_token_threshold,
      c.enable_prefix_caching ? 1U : 0U, static_cast<uint32_t>(schedule.num_threads)});
}

std::unique_ptr<ModelRunner> MakeRunner(const TestModel& model, const SchedulerConfig& config, DType kv_dtype) {
  return model.MakeRunner({.max_num_seqs = static_cast<int32_t>(config.max_num_seqs),
                           .max_num_batched_tokens = static_cast<int32_t>(config.max_num_batched_tokens),
                           .max_model_len = static_cast<int32_t>(config.max_model_len),
                           .num_blocks = static_cast<int32_t>(config.num_blocks),
                           .block_size = static_cast<int32_t>(config.block_size),
                           .kv_dtype = kv_dtype});
}

// Each with a runner of its own, so that nothing is shared with anything.
std::map<RequestId, Answer> ServeAlone(const TestModel& model, const std::vector<Job>& jobs, DType kv_dtype) {
  SchedulerConfig config;
  config.max_num_seqs = 1;
  config.max_num_batched_tokens = RequestMaker::kMaxLen;
  config.max_model_len = RequestMaker::kMaxLen;
  config.num_blocks = Blocks(config.block_size);
  config.enable_prefix_caching = false;
  std::map<RequestId, Answer> answers;
  for (const Job& job : jobs) {
    const auto runner = MakeRunner(model, config, kv_dtype);
    answers.merge(Serving(config, *runner).Run({{.request = job.request}}));
  }
  return answers;
}

std::vector<Job> RandomJobs(std::mt19937& random, RequestMaker& maker, uint64_t count) {
  std::vector<Job> jobs;
  for (uint64_t id = 0; id < count; ++id) {
    Job job = {.request = maker.Make(id), .arrival_step = static_cast<int64_t>(random() % count)};
    if (random() % 8 == 0) job.abort_step = job.arrival_step + static_cast<int64_t>(random() % 60);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

void ExpectSame(const std::map<RequestId, Answer>& alone, const std::map<RequestId, Answer>& together,
                const std::vector<Job>& jobs) {
  for (const Job& job : jobs) {
    if (job.abort_step >= 0) continue;
    const auto id = static_cast<uint64_t>(job.request.id);
    const auto answer = together.find(job.request.id);
    ASSERT_NE(answer, together.end()) << "request " << id;
    EXPECT_NE(answer->second.reason, FinishReason::kNone) << "request " << id;
    EXPECT_TRUE(answer->second == alone.at(job.request.id)) << "request " << id;
  }
}

struct Setting {
  const char* model;
  DType kv_dtype;
  unsigned seed;
};

void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.model << ", seed " << setting.seed; }

class InvisibleScheduling : public testing::TestWithParam<Setting> {};

TEST_P(InvisibleScheduling, EveryRandomScheduleGivesWhatEachRequestGetsAlone) {
  constexpr int kSchedules = 20;
  constexpr uint64_t kRequests = 100;
  const Setting setting = GetParam();
  SCOPED_TRACE(testing::PrintToString(setting));
  std::mt19937 random(setting.seed);
  const TestModel models[] = {LoadTestModel(GoldenDirectory(setting.model), 1),
                              LoadTestModel(GoldenDirectory(setting.model), 2)};
  RequestMaker maker(setting.seed, models[0].model->config().vocab_size);
  const std::vector<Job> jobs = RandomJobs(random, maker, kRequests);
  const std::map<RequestId, Answer> alone = ServeAlone(models[0], jobs, setting.kv_dtype);

  uint64_t num_preemptions = 0, num_hits = 0;
  for (int i = 0; i < kSchedules; ++i) {
    const Schedule schedule = RandomSchedule(random, i);
    SCOPED_TRACE(Describe(schedule));
    const auto runner = MakeRunner(models[schedule.num_threads - 1], schedule.config, setting.kv_dtype);
    // A quarter of the requests, other ones each time, so that their neighbours differ too.
    std::vector<Job> some;
    for (const Job& job : jobs) {
      if (random() % 4 == 0) some.push_back(job);
    }
    Serving serving(schedule.config, *runner);
    ExpectSame(alone, serving.Run(some), some);
    if (HasFatalFailure()) return;
    num_preemptions += serving.scheduler().Stats().num_preemptions;
    num_hits += serving.scheduler().Stats().prefix_hit_tokens;
  }
  EXPECT_GT(num_preemptions, 100U);
  EXPECT_GT(num_hits, 100U);
}

INSTANTIATE_TEST_SUITE_P(Models, InvisibleScheduling,
                         testing::Values(Setting{"qwen3", DType::kF32, 1}, Setting{"qwen2-bf16", DType::kBf16, 2},
                                         Setting{"mistral-window", DType::kBf16, 3}),
                         [](const auto& info) { return "Setting" + std::to_string(info.index); });

}  // namespace
}  // namespace quire
