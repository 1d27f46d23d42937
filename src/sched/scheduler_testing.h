// What the scheduler's tests share: a scheduler and a fake runner in step, and a record of what each request was told.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include "sched/fake_runner_testing.h"
#include "sched/scheduler.h"
#include "sched/step_driver_testing.h"
#include "sched/transcript_testing.h"

namespace quire {

// Plain behaviour: no pacing by time, no watermark.
inline SchedulerConfig TestConfig(uint32_t num_blocks, uint32_t block_size = 16) {
  SchedulerConfig config;
  config.max_num_seqs = 16;
  config.max_num_batched_tokens = 2048;
  config.max_model_len = num_blocks * block_size;
  config.block_size = block_size;
  config.num_blocks = num_blocks;
  config.watermark = 0;
  config.chunk_budget.target_ratio = 0;
  return config;
}

// A prompt of its own for every id.
inline Request TestRequest(uint64_t id, uint32_t num_prompt_tokens, int32_t max_tokens) {
  Request request;
  request.id = RequestId{id};
  request.prompt.resize(num_prompt_tokens);
  std::iota(request.prompt.begin(), request.prompt.end(), static_cast<int32_t>(id) * 10000);
  request.params.max_tokens = max_tokens;
  request.params.seed = 1;
  return request;
}

// What a stream of it says when it is served alone.
inline std::vector<int32_t> Alone(const Request& request, uint64_t stream = 0) {
  return FakeRunner::Continue(request.prompt, *request.params.seed + stream,
                              static_cast<uint32_t>(*request.params.max_tokens), 1000);
}

class SchedulerHarness {
 public:
  struct Record {
    Transcript transcript;
    size_t num_prompt_tokens = 0;
    std::vector<int32_t> tokens;          // of stream 0
    std::vector<uint32_t> cached_tokens;  // by admission
    uint32_t num_preemptions = 0;
    uint32_t num_swaps = 0;  // of these
    uint32_t num_scores = 0;
    FinishReason reason = FinishReason::kNone;
    int32_t stop_token = -1;
    std::string error;
  };

  explicit SchedulerHarness(const SchedulerConfig& config, FakeRunnerOptions options = {})
      : scheduler(config), runner(Sized(config, std::move(options))) {}

  void Add(const Request& request) {
    const Status added = scheduler.Add(request);
    ASSERT_TRUE(added.ok()) << added.error().message;
    records[request.id].num_prompt_tokens = request.prompt.size();
  }

  // One whole step. Returns the rows of each request, by seat order of the plan's spans.
  std::vector<uint32_t> Step() {
    for (const SchedulerEvent& event : driver.Step()) Note(event);
    std::vector<uint32_t> rows;
    for (const PlanSpan& span : driver.plan().spans) rows.push_back(span.num_rows);
    return rows;
  }

  void RunAll() {
    for (int i = 0; i < 100'000 && driver.HasWork(); ++i) Step();
    ASSERT_FALSE(scheduler.HasWork());
  }

  // The parts of a step, as the driver has them.
  const StepPlan& Plan() { return driver.Plan(); }
  void Run() { driver.Run(); }
  void Apply() {
    for (const SchedulerEvent& event : driver.Apply()) Note(event);
  }

  Record& of(uint64_t id) { return records[RequestId{id}]; }

  Scheduler scheduler;
  FakeRunner runner;
  StepDriver driver{scheduler, runner};
  std::map<RequestId, Record> records;

 private:
  static FakeRunnerOptions Sized(const SchedulerConfig& config, FakeRunnerOptions options) {
    options.num_seats = config.max_num_seqs;
    options.num_blocks = config.num_blocks;
    options.block_size = config.block_size;
    options.kv_groups = config.kv_groups;
    options.num_swap_blocks = config.num_swap_blocks;
    return options;
  }

  void Note(const SchedulerEvent& event) {
    Record& record = records[event.request];
    EXPECT_TRUE(record.transcript.Take(event, record.num_prompt_tokens));
    switch (event.kind) {
      case SchedulerEvent::Kind::kAdmitted:
        record.cached_tokens.push_back(event.num_cached_tokens);
        break;
      case SchedulerEvent::Kind::kPreempted:
        ++record.num_preemptions;
        if (event.preemption == PreemptionMode::kSwap) ++record.num_swaps;
        break;
      case SchedulerEvent::Kind::kPromptLogprobs:
        ASSERT_EQ(event.position, record.num_scores + 1);
        record.num_scores += static_cast<uint32_t>(event.tokens.size());
        break;
      case SchedulerEvent::Kind::kTokens:
        if (event.stream > 0) break;
        for (const TokenOutput& token : event.tokens) record.tokens.push_back(token.token);
        break;
      case SchedulerEvent::Kind::kFinished:
        if (event.stream > 0) break;
        record.reason = event.reason;
        record.stop_token = event.stop_token;
        break;
      case SchedulerEvent::Kind::kFailed:
        record.error = std::string(event.error);
        break;
    }
  }
};

// Rows of a step, by span.
using Rows = std::vector<uint32_t>;

inline Request GroupRequest(uint64_t id, uint32_t num_prompt_tokens, int32_t max_tokens, int32_t n) {
  Request request = TestRequest(id, num_prompt_tokens, max_tokens);
  request.params.n = n;
  return request;
}

inline Request BeamRequest(uint64_t id, uint32_t num_prompt_tokens, int32_t max_tokens, int32_t width) {
  Request request = GroupRequest(id, num_prompt_tokens, max_tokens, width);
  request.params.use_beam_search = true;
  return request;
}

inline Transcript TranscriptAlone(const Request& request) {
  SchedulerHarness h(TestConfig(200));
  h.Add(request);
  h.RunAll();
  return h.of(static_cast<uint64_t>(request.id)).transcript;
}

}  // namespace quire
