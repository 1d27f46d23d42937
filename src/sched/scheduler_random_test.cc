// Random workloads in tiny pools, every invariant after every step. Whatever the schedule, each request must say
// exactly what it says alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "sched/fake_runner.h"
#include "sched/scheduler.h"

namespace quire {
namespace {

constexpr int32_t kVocab = 50;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(engine_() % n); }
  uint32_t Between(uint32_t low, uint32_t high) { return low + Below(high - low + 1); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

SchedulerConfig RandomConfig(Random& random) {
  SchedulerConfig config;
  config.block_size = 1U << random.Below(6);
  config.max_num_seqs = random.Between(1, 12);
  config.max_num_batched_tokens = config.max_num_seqs + random.Below(40);
  config.max_model_len = random.Between(20, 120);
  // From barely one sequence to enough for several.
  config.num_blocks = BlocksForTokens(config.max_model_len * random.Between(1, 4), config.block_size);
  config.enable_prefix_caching = !random.OneIn(3);
  config.long_prefill_token_threshold = random.OneIn(2) ? 0 : random.Between(1, 20);
  config.watermark = random.OneIn(2) ? 0.01 : 0.2;
  config.policy = random.OneIn(3) ? QueuePolicy::kPriority : QueuePolicy::kFcfs;
  config.chunk_budget.min_tokens = random.Between(1, 8);
  return config;
}

struct Client {
  Request request;
  std::vector<int32_t> expected;  // what it says alone
  std::vector<int32_t> got;
  uint32_t num_scores = 0;
  std::optional<uint32_t> nan_at;
};

// One run of a scheduler against a fake runner, with clients that come, listen and go.
class RandomRun {
 public:
  explicit RandomRun(uint64_t seed)
      : random_(seed), config_(RandomConfig(random_)), scheduler_(config_), runner_(Options()) {
    for (int i = 0; i < 3; ++i) prefixes_.push_back(RandomTokens(config_.max_model_len));
  }

  void Steps(int num_steps) {
    const uint32_t arrival_gap = random_.Between(1, 6);
    for (int i = 0; i < num_steps && !testing::Test::HasFatalFailure(); ++i) {
      if (random_.OneIn(arrival_gap)) Arrive();
      Step();
    }
    for (int i = 0; i < 200'000 && scheduler_.HasWork() && !testing::Test::HasFatalFailure(); ++i) Step();
    ASSERT_FALSE(scheduler_.HasWork()) << "no progress";
    ExpectNothingLeft();
  }

  uint64_t num_steps() const { return num_steps_; }
  uint64_t num_finished() const { return num_finished_; }
  SchedulerStats stats() const { return scheduler_.Stats(); }

 private:
  FakeRunnerOptions Options() {
    return {.num_slots = config_.max_num_seqs,
            .num_blocks = config_.num_blocks,
            .block_size = config_.block_size,
            .vocab_size = kVocab,
            .step_us = random_.OneIn(2) ? 1000 : 0,
            .prompt_row_us = random_.Below(400)};
  }

  std::vector<int32_t> RandomTokens(uint32_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_.Below(kVocab));
    return tokens;
  }

  std::vector<int32_t> RandomPrompt() {
    const uint32_t length = random_.Between(1, config_.max_model_len - 2);
    std::vector<int32_t> prompt = RandomTokens(length);
    if (random_.OneIn(2)) {
      const std::vector<int32_t>& shared = prefixes_[random_.Below(3)];
      std::copy_n(shared.begin(), random_.Below(length + 1), prompt.begin());
    }
    if (!said_.empty() && random_.OneIn(5)) {  // the next turn of a conversation
      prompt = said_;
      if (prompt.size() > config_.max_model_len - 2) prompt.resize(config_.max_model_len - 2);
    }
    return prompt;
  }

  void Arrive() {
    Client client;
    Request& request = client.request;
    request.id = RequestId{next_id_++};
    request.prompt = RandomPrompt();
    const auto num_prompt = static_cast<uint32_t>(request.prompt.size());
    request.params.seed = random_.Below(3);
    request.params.max_tokens = static_cast<int32_t>(random_.Between(1, config_.max_model_len - num_prompt));
    request.priority = static_cast<int32_t>(random_.Below(3));
    if (random_.OneIn(8)) request.cache_salt = random_.OneIn(2) ? "pepper" : "salt";
    if (random_.OneIn(8)) request.adapter_id = random_.Below(3);
    if (random_.OneIn(6)) request.params.prompt_logprobs = static_cast<int32_t>(random_.Below(3));
    if (random_.OneIn(2)) request.eos_token_ids = {static_cast<int32_t>(random_.Below(kVocab))};
    if (random_.OneIn(20)) {
      client.nan_at = num_prompt + random_.Below(static_cast<uint32_t>(*request.params.max_tokens));
      runner_.InjectNan(request.id, *client.nan_at);
    }
    client.expected = FakeRunner::Continue(request.prompt, *request.params.seed,
                                           static_cast<uint32_t>(*request.params.max_tokens), kVocab);
    if (!request.eos_token_ids.empty()) {
      const auto eos = std::ranges::find(client.expected, request.eos_token_ids.front());
      if (eos != client.expected.end()) client.expected.erase(eos + 1, client.expected.end());
    }
    const Status added = scheduler_.Add(request);
    ASSERT_TRUE(added.ok()) << added.error().message;
    clients_.emplace(request.id, std::move(client));
  }

  void HangUp() {
    if (clients_.empty()) return;
    const auto client = std::next(clients_.begin(), random_.Below(static_cast<uint32_t>(clients_.size())));
    if (random_.OneIn(2)) {
      scheduler_.Abort(client->first);
    } else {
      scheduler_.Finish(client->first, FinishReason::kStop);
    }
    clients_.erase(client);
    scheduler_.CheckInvariants();
  }

  void Step() {
    ++num_steps_;
    if (random_.OneIn(40)) HangUp();
    if (random_.OneIn(500)) scheduler_.PreemptAll();
    const StepPlan& plan = scheduler_.Plan(0);
    scheduler_.CheckInvariants();
    ASSERT_LE(plan.num_rows(), config_.max_num_batched_tokens);
    ASSERT_TRUE(!plan.tokens.empty() || !scheduler_.HasWork()) << "a step without rows while requests wait";
    if (plan.empty()) return;
    const Status submitted = runner_.Submit(plan);
    ASSERT_TRUE(submitted.ok()) << "step " << num_steps_ << ": " << submitted.error().message;
    ASSERT_TRUE(runner_.Collect(result_).ok());
    if (random_.OneIn(40)) HangUp();  // between Plan and Apply
    for (const SchedulerEvent& event : scheduler_.Apply(result_)) Hear(event);
    scheduler_.CheckInvariants();
  }

  void Hear(const SchedulerEvent& event) {
    const auto found = clients_.find(event.request);
    if (found == clients_.end()) return;
    Client& client = found->second;
    switch (event.kind) {
      case SchedulerEvent::Kind::kAdmitted:
      case SchedulerEvent::Kind::kPreempted:
        return;
      case SchedulerEvent::Kind::kPromptLogprobs:
        return HearScores(event, client);
      case SchedulerEvent::Kind::kTokens:
        return HearTokens(event, client);
      case SchedulerEvent::Kind::kFailed:
        ASSERT_EQ(client.nan_at, client.request.prompt.size() + client.got.size());
        break;
      case SchedulerEvent::Kind::kFinished:
        ASSERT_EQ(client.got, client.expected) << "request " << static_cast<uint64_t>(event.request);
        if (client.request.params.prompt_logprobs) {
          ASSERT_EQ(client.num_scores + 1, client.request.prompt.size());
        }
        said_ = client.request.prompt;
        said_.insert(said_.end(), client.got.begin(), client.got.end());
        ++num_finished_;
        break;
    }
    clients_.erase(found);
  }

  void HearScores(const SchedulerEvent& event, Client& client) {
    ASSERT_EQ(event.position, client.num_scores + 1);
    for (const TokenOutput& score : event.tokens) {
      ASSERT_EQ(score.token, client.request.prompt.at(++client.num_scores));
      ASSERT_EQ(score.num_candidates, static_cast<uint32_t>(*client.request.params.prompt_logprobs));
      ASSERT_LE(score.first_candidate + score.num_candidates, event.candidates.size());
    }
  }

  void HearTokens(const SchedulerEvent& event, Client& client) {
    ASSERT_EQ(event.position, client.request.prompt.size() + client.got.size());
    for (const TokenOutput& token : event.tokens) client.got.push_back(token.token);
  }

  void ExpectNothingLeft() {
    EXPECT_TRUE(clients_.empty());
    const StepPlan& plan = scheduler_.Plan(0);  // the last removals
    if (!plan.empty()) {
      ASSERT_TRUE(runner_.Submit(plan).ok());
      ASSERT_TRUE(runner_.Collect(result_).ok());
      scheduler_.Apply(result_);
    }
    EXPECT_EQ(runner_.num_occupied_slots(), 0U);
    EXPECT_EQ(scheduler_.Stats().num_blocks_used, 0U);
    EXPECT_TRUE(scheduler_.ResetPrefixCache());
    EXPECT_EQ(scheduler_.Stats().num_blocks_free, config_.num_blocks);
    scheduler_.CheckInvariants();
  }

  Random random_;
  const SchedulerConfig config_;
  Scheduler scheduler_;
  FakeRunner runner_;
  StepResult result_;
  std::vector<std::vector<int32_t>> prefixes_;
  std::map<RequestId, Client> clients_;
  std::vector<int32_t> said_;  // prompt and output of the latest that finished
  uint64_t next_id_ = 1;
  uint64_t num_steps_ = 0;
  uint64_t num_finished_ = 0;
};

TEST(SchedulerRandomTest, EveryRequestSaysWhatItSaysAloneOverAHundredThousandSteps) {
  uint64_t num_steps = 0, num_finished = 0, num_preemptions = 0, num_hit_tokens = 0;
  for (uint64_t seed = 1; num_steps < 150'000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomRun run(seed);
    run.Steps(700);
    if (HasFatalFailure()) return;
    num_steps += run.num_steps();
    num_finished += run.num_finished();
    num_preemptions += run.stats().num_preemptions;
    num_hit_tokens += run.stats().prefix_hit_tokens;
  }
  // The workload meets what it is for.
  EXPECT_GT(num_finished, 5'000U);
  EXPECT_GT(num_preemptions, 1'000U);
  EXPECT_GT(num_hit_tokens, 20'000U);
}

}  // namespace
}  // namespace quire
