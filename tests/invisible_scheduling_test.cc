// Scheduling is invisible in the output: whatever the block size, budget, chunks, preemptions by recompute and by swap,
// prefix-cache hits in memory and from disk, windows that give memory back, memory policy, batching, threads,
// neighbours, drafts that are right or wrong and disks that fail, each request, with all its samples or beams, gets the
// very tokens and log-probabilities, bit for bit, that it gets alone.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/env_testing.h"
#include "kv/kv_space.h"
#include "runner/disk_store.h"
#include "runner/swap_file.h"
#include "runner/tiny_model_testing.h"
#include "sched/adversarial_drafter_testing.h"
#include "scheduled_serving.h"

namespace quire {
namespace {

constexpr uint32_t kMaxSeqs = 20;
constexpr int kSchedules = 36;
constexpr uint64_t kRequests = 100;

struct Schedule {
  SchedulerConfig config;
  int num_threads = 1;
};

// What there are few kinds of goes by the schedule's number: chance could leave one out.
Schedule RandomSchedule(std::mt19937& random, int index, const std::vector<KvGroup>& kv_groups) {
  const auto below = [&](uint32_t bound) { return static_cast<uint32_t>(random() % bound); };
  Schedule schedule;
  schedule.num_threads = 1 + index % 2;
  SchedulerConfig& config = schedule.config;
  const bool uses_disk = index % 4 < 2;
  config.block_size = uses_disk ? 4U << below(2) : 1U << below(7);  // few sizes, to meet another schedule's files
  config.max_num_seqs = 8 + below(kMaxSeqs - 7);
  config.max_num_batched_tokens = config.max_num_seqs + below(60);
  config.max_model_len = RequestMaker::kMaxLen;
  config.kv_groups = kv_groups;
  config.max_drafts = index % 3 == 2 ? 0 : 1 + static_cast<uint32_t>(index % 5);
  if (index % 5 == 4) config.kv_policy = static_cast<KvPolicyKind>(1 + index / 5 % 3);
  config.batching = index % 7 == 6 ? Batching::kStatic : Batching::kContinuous;
  // Room for the widest request and a little more: growth beside a neighbour means preemption.
  const KvWorstCase worst = WorstCaseOf(KvConfigOf(config), 1, RequestMaker::kMaxLen);
  config.num_blocks = static_cast<uint32_t>(worst.total(RequestMaker::kMaxWidth)) +
                      below(1 + static_cast<uint32_t>(worst.total(1)) / 2);
  config.enable_prefix_caching = index / 2 % 2 == 0;
  config.preemption_mode = static_cast<PreemptionMode>(index / 3 % 3);
  config.num_swap_blocks = index % 3 == 0 ? 0 : config.num_blocks;
  config.num_disk_blocks = uses_disk ? 4 * config.num_blocks : 0;
  config.max_disk_transfers = 1 + below(8);
  config.policy = index / 4 % 2 == 0 ? QueuePolicy::kFcfs : QueuePolicy::kPriority;
  config.fair = index / 8 % 2 == 0;
  config.long_prefill_token_threshold = below(2) == 0 ? 0 : 1 + below(20);
  config.watermark = 0;
  // What follows measured times stays out: a failing schedule should come again.
  config.chunk_budget.target_ratio = 0;
  config.paces_drafts = false;
  config.hash_seed = 7;
  return schedule;
}

std::string Describe(const Schedule& schedule) {
  const SchedulerConfig& c = schedule.config;
  return testing::PrintToString(
             std::vector<uint32_t>{c.block_size, c.num_blocks, c.max_num_seqs, c.max_num_batched_tokens,
                                   c.long_prefill_token_threshold, c.enable_prefix_caching ? 1U : 0U, c.num_swap_blocks,
                                   c.num_disk_blocks, static_cast<uint32_t>(c.preemption_mode),
                                   static_cast<uint32_t>(c.batching), static_cast<uint32_t>(c.policy), c.fair ? 1U : 0U,
                                   c.max_drafts, static_cast<uint32_t>(schedule.num_threads)}) +
         KvPolicyName(c.kv_policy);
}

ModelRunnerOptions RunnerOptions(const SchedulerConfig& config, DType kv_dtype) {
  return {.max_num_seqs = static_cast<int32_t>(config.max_num_seqs),
          .max_num_batched_tokens = static_cast<int32_t>(config.max_num_batched_tokens),
          .max_model_len = static_cast<int32_t>(config.max_model_len),
          .num_blocks = static_cast<int32_t>(config.num_blocks),
          .block_size = static_cast<int32_t>(config.block_size),
          .kv_dtype = kv_dtype};
}

// Each with a runner of its own, so that nothing is shared with anything.
std::map<RequestId, Transcript> ServeAlone(const TestModel& model, const std::vector<Job>& jobs, DType kv_dtype) {
  SchedulerConfig config;
  config.max_num_seqs = RequestMaker::kMaxWidth;
  config.max_num_batched_tokens = RequestMaker::kMaxLen;
  config.max_model_len = RequestMaker::kMaxLen;
  config.kv_groups = KvGroupsOf(model.model->kv_layout());
  config.num_blocks = static_cast<uint32_t>(config.kv_groups.size()) * RequestMaker::kMaxWidth * 2 *
                      BlocksForTokens(RequestMaker::kMaxLen, config.block_size);
  config.enable_prefix_caching = false;
  std::map<RequestId, Transcript> answers;
  for (const Job& job : jobs) {
    const auto runner = model.MakeRunner(RunnerOptions(config, kv_dtype));
    answers.merge(Serving(config, *runner).Run({{.request = job.request}}));
  }
  return answers;
}

std::vector<Job> RandomJobs(std::mt19937& random, RequestMaker& maker, uint64_t count) {
  std::vector<Job> jobs;
  for (uint64_t id = 0; id < count; ++id) {
    Job job = {.request = maker.Make(id), .arrival_step = static_cast<int64_t>(random() % (count / 4))};
    if (random() % 8 == 0) job.abort_step = job.arrival_step + static_cast<int64_t>(random() % 60);
    jobs.push_back(std::move(job));
  }
  return jobs;
}

// Drafts that may be what each request says when it is served alone.
std::shared_ptr<Drafter> MakeDrafter(const std::map<RequestId, Transcript>& alone, const std::vector<Job>& jobs,
                                     int32_t vocab_size, unsigned seed) {
  std::map<RequestId, size_t> prompt_lengths;
  for (const Job& job : jobs) prompt_lengths[job.request.id] = job.request.prompt.size();
  const auto truth = [&alone, prompt_lengths](const DraftRequest& asked) {
    const auto& streams = alone.at(asked.request).streams;
    const auto stream = streams.find(asked.stream);
    if (stream == streams.end()) return std::vector<int32_t>();  // of several samples not the best
    std::vector<int32_t> ids = stream->second.ids();
    const size_t num_said = std::min(asked.tokens.size() - prompt_lengths.at(asked.request), ids.size());
    ids.erase(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(num_said));
    return ids;
  };
  return std::make_shared<AdversarialDrafter>(truth, vocab_size, seed);
}

// Returns how many answers it has compared.
size_t ExpectSame(const std::map<RequestId, Transcript>& alone, const std::map<RequestId, Transcript>& together,
                  const std::vector<Job>& jobs) {
  size_t num_compared = 0;
  for (const Job& job : jobs) {
    if (job.abort_step >= 0) continue;
    ++num_compared;
    const auto id = static_cast<uint64_t>(job.request.id);
    const auto answer = together.find(job.request.id);
    if (answer == together.end()) {
      ADD_FAILURE() << "request " << id << " got no answer";
      continue;
    }
    EXPECT_TRUE(answer->second.ended) << "request " << id;
    EXPECT_EQ(answer->second, alone.at(job.request.id)) << "request " << id;
  }
  return num_compared;
}

// Nothing is lost and nothing is held: whatever has failed on the way.
void ExpectEmptyPool(const SchedulerStats& stats) {
  EXPECT_EQ(stats.num_blocks_used, 0U);
  EXPECT_EQ(stats.num_blocks_free + stats.num_blocks_cached, stats.num_blocks_total);
  EXPECT_EQ(stats.num_running + stats.num_waiting + stats.num_swapped, 0U);
  EXPECT_EQ(stats.slots[SlotState::kSwapped], 0U);
}

struct Setting {
  const char* model;
  DType kv_dtype;
  unsigned seed;
};

void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.model << ", seed " << setting.seed; }

class InvisibleScheduling : public testing::TestWithParam<Setting> {
 protected:
  void ServeRandomSchedules() {
    const Setting setting = GetParam();
    SCOPED_TRACE(testing::PrintToString(setting));
    std::mt19937 random(setting.seed);
    const TestModel models[] = {LoadTestModel(GoldenDirectory(setting.model), 1),
                                LoadTestModel(GoldenDirectory(setting.model), 2)};
    RequestMaker maker(setting.seed, models[0].model->config().vocab_size);
    const std::vector<Job> jobs = RandomJobs(random, maker, kRequests);
    const std::map<RequestId, Transcript> alone = ServeAlone(models[0], jobs, setting.kv_dtype);

    for (int i = 0; i < kSchedules && !HasFailure(); ++i) {
      const Schedule schedule = RandomSchedule(random, i, KvGroupsOf(models[0].model->kv_layout()));
      SCOPED_TRACE(Describe(schedule));
      // A quarter of the requests, other ones each time, so that their neighbours differ too.
      std::vector<Job> some;
      for (const Job& job : jobs) {
        if (random() % 4 == 0) some.push_back(job);
      }
      Serve(models[schedule.num_threads - 1], schedule, some, alone);
    }
    ExpectNothingWasLeftOut();
  }

  // One run of some of the jobs under one schedule.
  void Serve(const TestModel& model, const Schedule& schedule, const std::vector<Job>& jobs,
             const std::map<RequestId, Transcript>& alone) {
    const SchedulerConfig& config = schedule.config;
    const ModelRunnerOptions options = RunnerOptions(config, GetParam().kv_dtype);
    KvShape shape = model.model->kv_shape();
    shape.block_size = options.block_size;
    shape.dtype = options.kv_dtype;
    BlockStores stores;
    if (config.num_swap_blocks > 0) {
      auto swap =
          SwapFile::Create({.num_places = config.num_swap_blocks, .place_bytes = shape.BytesPerBlock(), .env = &env_});
      ASSERT_TRUE(swap.ok()) << swap.error().message;
      stores.swap = *std::move(swap);
    }
    std::vector<PrefixDigest> on_disk;  // what earlier schedules of this block size have left
    if (config.num_disk_blocks > 0) {
      auto disk =
          DiskStore::Open({.directory = directory_.path(), .fingerprint = {1, config.block_size}, .env = &env_});
      ASSERT_TRUE(disk.ok()) << disk.error().message;
      on_disk = (*disk)->contents();
      stores.disk = *std::move(disk);
    }
    auto runner = ModelRunner::Create(*model.backend, *model.model, options, std::move(stores));
    ASSERT_TRUE(runner.ok()) << runner.error().message;
    Serving serving(config, **runner, on_disk,
                    MakeDrafter(alone, jobs, model.model->config().vocab_size, config.num_blocks));
    const size_t num_compared = ExpectSame(alone, serving.Run(jobs), jobs);
    EXPECT_GT(num_compared, 0U);
    serving.StorePrefixCache();
    const SchedulerStats stats = serving.scheduler().Stats();
    ExpectEmptyPool(stats);
    served_.kv_policies.insert(config.kv_policy);
    served_.batchings.insert(config.batching);
    served_.queue_policies.insert(config.policy);
    served_.fairness.insert(config.fair);
    served_.preemption_modes.insert(config.preemption_mode);
    Count(stats);
  }

  void Count(const SchedulerStats& stats) {
    num_recomputed_ += stats.preemptions[PreemptionMode::kRecompute];
    num_swapped_ += stats.preemptions[PreemptionMode::kSwap];
    num_hits_ += stats.prefix_hit_tokens;
    num_loaded_ += stats.transfers[Transfer::Kind::kLoad].completed;
    num_copied_ += stats.num_blocks_copied;
    num_load_failures_ += stats.transfers[Transfer::Kind::kLoad].failed;
    num_store_failures_ += stats.transfers[Transfer::Kind::kStore].failed;
    num_swap_failures_ += stats.num_swap_failures();
    num_accepted_ += stats.speculation.num_accepted_tokens;
    num_rejected_ += stats.speculation.num_draft_tokens - stats.speculation.num_accepted_tokens;
  }

  void ExpectNothingWasLeftOut() {
    EXPECT_EQ(served_.kv_policies.size(), 4U);
    EXPECT_EQ(served_.batchings.size(), 2U);
    EXPECT_EQ(served_.queue_policies.size(), 2U);
    EXPECT_EQ(served_.fairness.size(), 2U);
    EXPECT_EQ(served_.preemption_modes.size(), 3U);
    EXPECT_GT(num_recomputed_, 30U);
    EXPECT_GT(num_hits_, 100U);
    EXPECT_GT(num_copied_, 100U);
    EXPECT_GT(num_accepted_, 500U);
    EXPECT_GT(num_rejected_, 500U);
  }

  struct Served {
    std::set<KvPolicyKind> kv_policies;
    std::set<Batching> batchings;
    std::set<QueuePolicy> queue_policies;
    std::set<bool> fairness;
    std::set<PreemptionMode> preemption_modes;
  };

  TemporaryDirectory directory_;
  FaultEnv env_;
  Served served_;
  uint64_t num_recomputed_ = 0, num_swapped_ = 0, num_hits_ = 0, num_loaded_ = 0, num_copied_ = 0;
  uint64_t num_load_failures_ = 0, num_store_failures_ = 0, num_swap_failures_ = 0;
  uint64_t num_accepted_ = 0, num_rejected_ = 0;  // drafts
};

TEST_P(InvisibleScheduling, EveryRandomScheduleGivesWhatEachRequestGetsAlone) {
  ServeRandomSchedules();
  EXPECT_GT(num_swapped_, 30U);
  EXPECT_GT(num_loaded_, 50U);
  EXPECT_EQ(num_load_failures_, 0U);
  EXPECT_EQ(num_store_failures_, 0U);
  EXPECT_EQ(num_swap_failures_, 0U);
}

// Disks that are full for a while, again and again; files that are damaged, or cannot be read or removed; a swap file
// that cannot grow. A store that fails ends the stores of its schedule, so these are few.
TEST_P(InvisibleScheduling, DisksThatFailChangeNothing) {
  using Operation = FaultEnv::Operation;
  env_.FailRegularly(Operation::kWrite, 4, 150);
  env_.FailRegularly(Operation::kThrow, 1, 200);
  env_.FailRegularly(Operation::kDamage, 1, 4);
  env_.FailRegularly(Operation::kRead, 1, 9);
  env_.FailRegularly(Operation::kOpen, 1, 11);
  env_.FailRegularly(Operation::kRemove, 1, 4);
  env_.FailRegularly(Operation::kAllocate, 3, 5);
  ServeRandomSchedules();
  EXPECT_GT(num_swapped_, 0U);
  EXPECT_GT(num_loaded_, 0U);
  EXPECT_GT(num_load_failures_, 0U);
  EXPECT_GT(num_store_failures_, 0U);
  EXPECT_GT(num_swap_failures_, 0U);
}

INSTANTIATE_TEST_SUITE_P(Models, InvisibleScheduling,
                         testing::Values(Setting{"qwen3", DType::kF32, 1}, Setting{"qwen2-bf16", DType::kBf16, 2},
                                         Setting{"mistral-window", DType::kBf16, 7},
                                         Setting{"qwen3-windows", DType::kF32, 11}),
                         [](const auto& info) { return "Setting" + std::to_string(info.index); });

}  // namespace
}  // namespace quire
