// Random workloads in tiny pools, every invariant after every step. Whatever the schedule, the memory policy, the
// transfers that fail and the neighbours: each request is told exactly what it is told alone.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>

#include "sched/adversarial_drafter_testing.h"
#include "sched/fake_runner_testing.h"
#include "sched/scheduler.h"
#include "sched/scheduler_random_testing.h"
#include "sched/step_driver_testing.h"
#include "sched/transcript_testing.h"

namespace quire {
namespace {

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
  FakeRunner runner({.num_seats = 16, .num_blocks = config.num_blocks, .vocab_size = kRandomVocab});
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
        runner_(Options()),
        requests_(random_, config_.max_model_len) {}

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
                                  kRandomVocab);
    };
    return std::make_shared<AdversarialDrafter>(truth, kRandomVocab, random_.Below(1000));
  }

  FakeRunnerOptions Options() {
    return {.num_seats = config_.max_num_seqs,
            .num_blocks = config_.num_blocks,
            .block_size = config_.block_size,
            .kv_groups = config_.kv_groups,
            .vocab_size = kRandomVocab,
            .step_us = random_.OneIn(2) ? 1000 : 0,
            .prompt_row_us = random_.Below(400),
            .swap_block_us = random_.Below(4000),
            .num_swap_blocks = config_.num_swap_blocks,
            .disk = random_.OneIn(8) ? nullptr : disk_,
            .disk_delay_steps = random_.Below(6),
            .transfer_fails = [this](const Transfer&) { return fails_one_in_ > 0 && random_.OneIn(fails_one_in_); }};
  }

  void Arrive() {
    const Request request = requests_.Make(RequestId{next_id_++});
    const auto num_prompt = static_cast<uint32_t>(request.prompt.size());
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
      requests_.Finished(client.request, client.transcript.streams.begin()->second.ids());
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
  RandomRequests requests_;
  std::map<RequestId, Client> clients_;
  uint64_t next_id_ = 1;
  uint64_t num_steps_ = 0;
  uint64_t num_finished_ = 0;
  uint64_t num_groups_finished_ = 0;
  uint64_t num_beams_finished_ = 0;
};

// What happened in all runs.
struct Tally {
  uint64_t num_steps = 0, num_finished = 0, num_groups = 0, num_beams = 0;
  uint64_t num_swap_failures = 0, num_blocks_copied = 0, num_drafts_accepted = 0, num_drafts_refused = 0;
  uint64_t num_recomputed = 0, num_swapped = 0, num_hit_tokens = 0;
  uint64_t num_stored = 0, num_loaded = 0, num_loads_failed = 0;

  void Add(const RandomRun& run) {
    const SchedulerStats stats = run.stats();
    num_steps += run.num_steps();
    num_finished += run.num_finished();
    num_groups += run.num_groups_finished();
    num_beams += run.num_beams_finished();
    num_swap_failures += stats.num_swap_failures();
    num_blocks_copied += stats.num_blocks_copied;
    num_drafts_accepted += stats.speculation.num_accepted_tokens;
    num_drafts_refused += stats.speculation.num_draft_tokens - stats.speculation.num_accepted_tokens;
    num_recomputed += stats.preemptions[PreemptionMode::kRecompute];
    num_swapped += stats.preemptions[PreemptionMode::kSwap];
    num_hit_tokens += stats.prefix_hit_tokens;
    num_stored += stats.transfers[Transfer::Kind::kStore].completed;
    num_loaded += stats.transfers[Transfer::Kind::kLoad].completed;
    num_loads_failed += stats.transfers[Transfer::Kind::kLoad].failed;
  }
};

// The workload meets what it is for.
void ExpectMuch(const Tally& all, const Tally& with_windows) {
  EXPECT_GT(with_windows.num_swapped, 50U);
  EXPECT_GT(with_windows.num_loaded, 50U);
  EXPECT_GT(with_windows.num_hit_tokens, 5'000U);
  EXPECT_GT(all.num_finished, 5'000U);
  EXPECT_GT(all.num_groups, 1'000U);
  EXPECT_GT(all.num_beams, 500U);
  EXPECT_GT(all.num_recomputed, 1'000U);
  EXPECT_GT(all.num_swapped, 500U);
  EXPECT_GT(all.num_swap_failures, 50U);
  EXPECT_GT(all.num_blocks_copied, 5'000U);
  EXPECT_GT(all.num_hit_tokens, 20'000U);
  EXPECT_GT(all.num_stored, 1'000U);
  EXPECT_GT(all.num_loaded, 200U);
  EXPECT_GT(all.num_loads_failed, 10U);
  EXPECT_GT(all.num_drafts_accepted, 10'000U);
  EXPECT_GT(all.num_drafts_refused, 10'000U);
}

// Until it fails, or has taken so many steps.
void RunSteps(uint64_t first_seed, uint64_t num_steps, Tally& all, Tally& with_windows) {
  for (uint64_t seed = first_seed; all.num_steps < num_steps; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    RandomRun run(seed);
    run.Steps(700);
    if (testing::Test::HasFailure()) return;
    all.Add(run);
    if (run.has_windows()) with_windows.Add(run);
  }
}

TEST(SchedulerRandomTest, EveryRequestIsToldWhatItIsToldAloneOverHalfAMillionSteps) {
  Tally all, with_windows;
  RunSteps(1, 600'000, all, with_windows);
  if (!HasFailure()) ExpectMuch(all, with_windows);
}

// For sanitizers, under which the other one would take minutes.
TEST(SchedulerRandomTest, EveryRequestIsToldWhatItIsToldAloneOverSomeThousandSteps) {
  Tally all, with_windows;
  RunSteps(10'000, 30'000, all, with_windows);
}

}  // namespace
}  // namespace quire
