// Random workloads in tiny pools, every invariant after every step. Whatever the schedule, the memory policy, the
// transfers that fail and the neighbours: each request is told exactly what it is told alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "sched/adversarial_drafter_testing.h"
#include "sched/fake_runner_testing.h"
#include "sched/scheduler.h"
#include "sched/step_driver_testing.h"
#include "sched/transcript_testing.h"

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
  config.max_num_seqs = random.Between(4, 14);
  config.max_num_batched_tokens = config.max_num_seqs + random.Below(40);
  config.max_model_len = random.Between(20, 120);
  if (random.OneIn(4)) config.kv_policy = static_cast<KvPolicyKind>(random.Between(1, 3));
  // From barely one sequence to enough for several.
  config.num_blocks = BlocksForTokens(config.max_model_len * random.Between(1, 4), config.block_size);
  if (config.kv_policy != KvPolicyKind::kPaged) {
    config.num_blocks += 2 * ChunkBlocks(config.max_model_len, config.block_size);
  }
  if (random.OneIn(3)) {  // windows, beside full layers or alone
    config.kv_groups.assign(random.Below(2), KvGroup{});
    for (uint32_t left = random.Between(1, 2); left > 0; --left) {
      config.kv_groups.push_back({.window = random.Between(1, config.max_model_len)});
    }
    config.num_blocks *= static_cast<uint32_t>(config.kv_groups.size());
  }
  config.enable_prefix_caching = !random.OneIn(3);
  config.long_prefill_token_threshold = random.OneIn(2) ? 0 : random.Between(1, 20);
  config.watermark = random.OneIn(2) ? 0.01 : 0.2;
  config.policy = random.OneIn(3) ? QueuePolicy::kPriority : QueuePolicy::kFcfs;
  config.fair = random.OneIn(3);
  config.batching = random.OneIn(6) ? Batching::kStatic : Batching::kContinuous;
  config.preemption_mode = static_cast<PreemptionMode>(random.Below(3));
  if (!random.OneIn(4)) config.num_swap_blocks = random.Between(1, 2 * config.num_blocks);
  if (random.OneIn(2)) config.num_disk_blocks = random.Between(1, 4 * config.num_blocks);
  config.max_disk_transfers = random.Between(1, 8);
  config.chunk_budget.min_tokens = random.Between(1, 8);
  if (random.OneIn(3)) config.max_drafts = random.Between(1, 6);
  config.hash_seed = random.Below(2);
  return config;
}

// One request, alone in a pool that is large enough for anything.
Transcript ServeAlone(Request request, std::optional<uint32_t> nan_at, uint32_t max_model_len) {
  SchedulerConfig config;
  config.max_num_seqs = 16;
  config.max_num_batched_tokens = 256;
  config.max_model_len = max_model_len;
  config.num_blocks = BlocksForTokens(max_model_len, 16) * 16;
  config.enable_prefix_caching = false;
  config.chunk_budget.target_ratio = 0;
  request.pins_prompt = false;
  Scheduler scheduler(config);
  FakeRunner runner({.num_seats = 16, .num_blocks = config.num_blocks, .vocab_size = kVocab});
  if (nan_at) runner.InjectNan(request.id, *nan_at);
  const Status added = scheduler.Add(request);
  EXPECT_TRUE(added.ok()) << added.error().message;
  Transcript transcript;
  StepDriver driver(scheduler, runner);
  while (driver.HasWork()) {
    for (const SchedulerEvent& event : driver.Step()) EXPECT_TRUE(transcript.Take(event, request.prompt.size()));
  }
  return transcript;
}

struct Client {
  Request request;
  Transcript expected;
  Transcript transcript;
  bool was_cut = false;  // a stream was ended from outside
};

// One run of a scheduler against a fake runner, with clients that come, listen and go.
class RandomRun {
 public:
  explicit RandomRun(uint64_t seed)
      : random_(seed),
        config_(RandomConfig(random_)),
        disk_(std::make_shared<FakeDisk>()),
        fails_one_in_(random_.OneIn(2) ? 0 : random_.Between(2, 20)),
        scheduler_(config_, {}, MakeDrafter()),
        runner_(Options()) {
    for (int i = 0; i < 3; ++i) prefixes_.push_back(RandomTokens(config_.max_model_len));
  }

  void Steps(int num_steps) {
    const uint32_t arrival_gap = random_.Between(1, 6);
    for (int i = 0; i < num_steps && !testing::Test::HasFailure(); ++i) {
      if (random_.OneIn(arrival_gap)) Arrive();
      Step();
    }
    for (int i = 0; i < 200'000 && scheduler_.HasWork() && !testing::Test::HasFailure(); ++i) Step();
    ASSERT_FALSE(scheduler_.HasWork() && !testing::Test::HasFailure()) << "no progress";
    if (!testing::Test::HasFailure()) ExpectNothingLeft();
  }

  uint64_t num_steps() const { return num_steps_; }
  uint64_t num_finished() const { return num_finished_; }
  uint64_t num_groups_finished() const { return num_groups_finished_; }
  uint64_t num_beams_finished() const { return num_beams_finished_; }
  SchedulerStats stats() const { return scheduler_.Stats(); }
  bool has_windows() const { return config_.kv_groups.back().window > 0; }

 private:
  std::shared_ptr<Drafter> MakeDrafter() {
    const auto truth = [this](const DraftRequest& asked) {
      const auto client = clients_.find(asked.request);
      const uint64_t seed = client == clients_.end() ? 0 : *client->second.request.params.seed;
      return FakeRunner::Continue({asked.tokens.begin(), asked.tokens.end()}, seed + asked.stream, asked.max_drafts,
                                  kVocab);
    };
    return std::make_shared<AdversarialDrafter>(truth, kVocab, random_.Below(1000));
  }

  FakeRunnerOptions Options() {
    return {.num_seats = config_.max_num_seqs,
            .num_blocks = config_.num_blocks,
            .block_size = config_.block_size,
            .kv_groups = config_.kv_groups,
            .vocab_size = kVocab,
            .step_us = random_.OneIn(2) ? 1000 : 0,
            .prompt_row_us = random_.Below(400),
            .swap_block_us = random_.Below(4000),
            .num_swap_blocks = config_.num_swap_blocks,
            .disk = random_.OneIn(8) ? nullptr : disk_,
            .disk_delay_steps = random_.Below(6),
            .transfer_fails = [this](const Transfer&) { return fails_one_in_ > 0 && random_.OneIn(fails_one_in_); }};
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

  void RandomStreams(SamplingParams& params) {
    if (random_.OneIn(2)) return;
    params.n = static_cast<int32_t>(random_.Between(1, 3));
    params.best_of = params.n + static_cast<int32_t>(random_.Below(2));
    if (random_.OneIn(2)) return;
    params.use_beam_search = true;
    params.length_penalty = static_cast<float>(random_.Below(5)) * 0.5F;
    params.early_stopping = static_cast<EarlyStopping>(random_.Below(3));
    if (random_.OneIn(3)) params.logprobs = static_cast<int32_t>(random_.Below(8));
  }

  void Arrive() {
    Request request;
    request.id = RequestId{next_id_++};
    request.prompt = RandomPrompt();
    const auto num_prompt = static_cast<uint32_t>(request.prompt.size());
    request.params.seed = random_.Below(3);
    request.params.max_tokens = static_cast<int32_t>(random_.Between(1, config_.max_model_len - num_prompt));
    RandomStreams(request.params);
    request.priority = static_cast<int32_t>(random_.Below(3));
    request.client_key = std::string(1, static_cast<char>('a' + random_.Below(3)));
    request.reads_prefix_cache = !random_.OneIn(8);
    request.writes_prefix_cache = !random_.OneIn(8);
    if (random_.OneIn(8)) request.cache_salt = random_.OneIn(2) ? "pepper" : "salt";
    if (random_.OneIn(8)) request.adapter_id = random_.Below(3);
    if (random_.OneIn(6)) request.params.prompt_logprobs = static_cast<int32_t>(random_.Below(3));
    if (random_.OneIn(2)) request.eos_token_ids = {static_cast<int32_t>(random_.Below(kVocab))};
    if (random_.OneIn(4)) request.params.min_tokens = static_cast<int32_t>(random_.Below(4));
    std::optional<uint32_t> nan_at;
    if (random_.OneIn(20)) {
      nan_at = num_prompt + random_.Below(static_cast<uint32_t>(*request.params.max_tokens));
    }
    const Status added = scheduler_.Add(request);
    if (!added.ok()) return;  // more than the pool, or more beams than may run
    // Streams that run in parts do not fail together.
    const auto num_streams = static_cast<uint32_t>(request.params.num_streams());
    if (NumSideBySide(config_, request, scheduler_.num_pinned_blocks()) < num_streams) nan_at.reset();
    if (nan_at) runner_.InjectNan(request.id, *nan_at);
    Client client{.request = request, .expected = ServeAlone(request, nan_at, config_.max_model_len)};
    ASSERT_TRUE(client.expected.ended);
    clients_.emplace(request.id, std::move(client));
  }

  void HangUp() {
    if (clients_.empty()) return;
    const auto client = std::next(clients_.begin(), random_.Below(static_cast<uint32_t>(clients_.size())));
    scheduler_.Abort(client->first);
    clients_.erase(client);
    scheduler_.CheckInvariants();
  }

  // As a stop string does: one stream of several, when its first tokens are there.
  void EndAStream() {
    for (auto& [id, client] : clients_) {
      if (client.request.params.use_beam_search || client.transcript.streams.empty()) continue;
      const uint32_t stream = client.transcript.streams.begin()->first;
      if (client.transcript.streams.at(stream).reason != FinishReason::kNone) continue;
      const bool last = scheduler_.FinishStream(id, stream, FinishReason::kStop);
      client.was_cut = true;
      client.transcript.streams.erase(stream);
      client.expected.streams.erase(stream);
      scheduler_.CheckInvariants();
      if (last) clients_.erase(id);
      return;
    }
  }

  void Step() {
    ++num_steps_;
    if (random_.OneIn(40)) HangUp();
    if (random_.OneIn(60)) EndAStream();
    if (random_.OneIn(500)) scheduler_.PreemptAll();
    const StepPlan& plan = driver_.Plan();
    ASSERT_LE(plan.num_rows(), config_.max_num_batched_tokens);
    ASSERT_TRUE(!plan.empty() || !scheduler_.HasWork()) << "a step without rows while requests wait";
    if (plan.empty()) return;
    driver_.Run();
    if (random_.OneIn(40)) HangUp();  // between Plan and Apply
    for (const SchedulerEvent& event : driver_.Apply()) Hear(event);
  }

  void Hear(const SchedulerEvent& event) {
    const auto found = clients_.find(event.request);
    if (found == clients_.end()) return;
    Client& client = found->second;
    ASSERT_TRUE(client.transcript.Take(event, client.request.prompt.size()))
        << "request " << static_cast<uint64_t>(event.request);
    if (!client.transcript.ended) return;
    client.expected.ended = true;                            // whose last stream was ended from outside
    if (client.was_cut && !client.expected.error.empty()) {  // by the stream that was cut, or another
      clients_.erase(found);
      return;
    }
    // How far it came before a NaN depends on its chunks.
    ASSERT_EQ(client.transcript.error_position, client.expected.error_position);
    ASSERT_EQ(client.transcript.error, client.expected.error);
    if (client.transcript.error.empty()) {
      ASSERT_EQ(client.transcript, client.expected) << "request " << static_cast<uint64_t>(event.request);
    }
    if (client.transcript.error.empty()) {
      ++num_finished_;
      if (client.request.params.num_streams() > 1) ++num_groups_finished_;
      if (client.request.params.use_beam_search) ++num_beams_finished_;
      said_ = client.request.prompt;
      const std::vector<int32_t> ids = client.transcript.streams.begin()->second.ids();
      said_.insert(said_.end(), ids.begin(), ids.end());
    }
    clients_.erase(found);
  }

  void ExpectNothingLeft() {
    EXPECT_TRUE(clients_.empty());
    for (int i = 0; i < 100; ++i) {  // the last removals and transfers
      driver_.Step();
      if (driver_.plan().empty()) break;
    }
    EXPECT_EQ(runner_.num_occupied_seats(), 0U);
    EXPECT_EQ(scheduler_.Stats().num_blocks_used, 0U);
    EXPECT_EQ(scheduler_.Stats().slots[SlotState::kSwapped], 0U);
    EXPECT_TRUE(scheduler_.ResetPrefixCache());
    EXPECT_EQ(scheduler_.Stats().num_blocks_free, config_.num_blocks);
    scheduler_.CheckInvariants();
  }

  Random random_;
  const SchedulerConfig config_;
  const std::shared_ptr<FakeDisk> disk_;
  const uint32_t fails_one_in_;
  Scheduler scheduler_;
  FakeRunner runner_;
  StepDriver driver_{scheduler_, runner_};
  std::vector<std::vector<int32_t>> prefixes_;
  std::map<RequestId, Client> clients_;
  std::vector<int32_t> said_;  // prompt and output of the latest that finished
  uint64_t next_id_ = 1;
  uint64_t num_steps_ = 0;
  uint64_t num_finished_ = 0;
  uint64_t num_groups_finished_ = 0;
  uint64_t num_beams_finished_ = 0;
};

TEST(SchedulerRandomTest, EveryRequestIsToldWhatItIsToldAloneOverHalfAMillionSteps) {
  uint64_t num_steps = 0, num_finished = 0, num_groups = 0, num_beams = 0, num_swap_failures = 0;
  SchedulerStats sum, sum_of_windows;
  for (uint64_t seed = 1; num_steps < 600'000; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomRun run(seed);
    run.Steps(700);
    if (HasFailure()) return;
    num_steps += run.num_steps();
    num_finished += run.num_finished();
    num_groups += run.num_groups_finished();
    num_beams += run.num_beams_finished();
    const SchedulerStats stats = run.stats();
    if (run.has_windows()) {
      sum_of_windows.preemptions[PreemptionMode::kSwap] += stats.preemptions[PreemptionMode::kSwap];
      sum_of_windows.transfers[Transfer::Kind::kLoad].completed += stats.transfers[Transfer::Kind::kLoad].completed;
      sum_of_windows.prefix_hit_tokens += stats.prefix_hit_tokens;
    }
    sum.preemptions[PreemptionMode::kRecompute] += stats.preemptions[PreemptionMode::kRecompute];
    sum.preemptions[PreemptionMode::kSwap] += stats.preemptions[PreemptionMode::kSwap];
    num_swap_failures += stats.num_swap_failures();
    sum.num_blocks_copied += stats.num_blocks_copied;
    sum.prefix_hit_tokens += stats.prefix_hit_tokens;
    sum.transfers[Transfer::Kind::kStore].completed += stats.transfers[Transfer::Kind::kStore].completed;
    sum.transfers[Transfer::Kind::kLoad].completed += stats.transfers[Transfer::Kind::kLoad].completed;
    sum.transfers[Transfer::Kind::kLoad].failed += stats.transfers[Transfer::Kind::kLoad].failed;
    sum.speculation.num_draft_tokens += stats.speculation.num_draft_tokens;
    sum.speculation.num_accepted_tokens += stats.speculation.num_accepted_tokens;
  }
  // The workload meets what it is for.
  EXPECT_GT(sum_of_windows.preemptions[PreemptionMode::kSwap], 50U);
  EXPECT_GT(sum_of_windows.transfers[Transfer::Kind::kLoad].completed, 50U);
  EXPECT_GT(sum_of_windows.prefix_hit_tokens, 5'000U);
  EXPECT_GT(num_finished, 5'000U);
  EXPECT_GT(num_groups, 1'000U);
  EXPECT_GT(num_beams, 500U);
  EXPECT_GT(sum.preemptions[PreemptionMode::kRecompute], 1'000U);
  EXPECT_GT(sum.preemptions[PreemptionMode::kSwap], 500U);
  EXPECT_GT(num_swap_failures, 50U);
  EXPECT_GT(sum.num_blocks_copied, 5'000U);
  EXPECT_GT(sum.prefix_hit_tokens, 20'000U);
  EXPECT_GT(sum.transfers[Transfer::Kind::kStore].completed, 1'000U);
  EXPECT_GT(sum.transfers[Transfer::Kind::kLoad].completed, 200U);
  EXPECT_GT(sum.transfers[Transfer::Kind::kLoad].failed, 10U);
  EXPECT_GT(sum.speculation.num_accepted_tokens, 10'000U);
  EXPECT_GT(sum.speculation.num_draft_tokens - sum.speculation.num_accepted_tokens, 10'000U);
}

}  // namespace
}  // namespace quire
