// What the tests of the scheduler's parts share: requests and groups made by hand, and steps that nobody computes.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "kv/kv_space.h"
#include "sched/chunk_budget.h"
#include "sched/request.h"
#include "sched/residency.h"
#include "sched/scheduler_config.h"
#include "sched/scheduler_event.h"
#include "sched/sequence.h"
#include "sched/step_builder.h"
#include "sched/waiting_queue.h"

namespace quire {

// With a prompt of its own for every id, and 8 tokens to come.
inline Request PartRequest(uint64_t id, uint32_t num_prompt_tokens, int32_t n = 1) {
  Request request{.id = RequestId{id}};
  request.prompt.resize(num_prompt_tokens);
  std::iota(request.prompt.begin(), request.prompt.end(), static_cast<int32_t>(1000 * id));
  request.params.n = n;
  request.params.max_tokens = 8;
  return request;
}

inline std::unique_ptr<SequenceGroup> MakeGroup(Request request, SequenceKv kv, uint32_t max_width = 4) {
  const auto order = static_cast<uint64_t>(request.id);
  const auto max_total_tokens = static_cast<uint32_t>(request.prompt.size()) + 8;
  return std::make_unique<SequenceGroup>(std::move(request), order, max_total_tokens, max_width, std::move(kv));
}

// A step without a runner: as if it had done what the plan says. Returns the plan's tasks' outcomes to be filled in.
inline StepResult EmptyResult(const StepPlan& plan) {
  StepResult result;
  result.step = plan.step;
  result.tasks.resize(plan.tasks.size());
  return result;
}

inline void RunStep(StepBuilder& builder) {
  builder.Finish();
  if (builder.in_flight()) builder.Land(EmptyResult(builder.plan()));
}

// Blocks of 4 tokens, 4 seats, swap space for 8 blocks, no prefix cache, no watermark.
inline SchedulerConfig PartsConfig(uint32_t num_blocks) {
  SchedulerConfig config;
  config.max_num_seqs = 4;
  config.max_model_len = 4 * num_blocks;
  config.block_size = 4;
  config.num_blocks = num_blocks;
  config.watermark = 0;
  config.enable_prefix_caching = false;
  config.num_swap_blocks = 8;
  return config;
}

// Residency with what it works on.
struct ResidencyParts {
  explicit ResidencyParts(const SchedulerConfig& config)
      : config(config),
        space(KvSpace::Make(KvConfigOf(config))),
        builder({.num_seats = config.max_num_seqs, .block_size = config.block_size}),
        residency({this->config, *space, builder, waiting, events, chunk_budget}) {}

  // It is known, and in no queue.
  SequenceGroup& Make(Request request) {
    groups.push_back(MakeGroup(std::move(request), space->cache().MakeSequence()));
    groups.back()->rank = groups.back()->order;
    waiting.AddActive(*groups.back());
    return *groups.back();
  }
  SequenceGroup& Wait(Request request) {
    SequenceGroup& group = Make(std::move(request));
    waiting.Insert(group);
    return group;
  }
  SequenceGroup& Enter(Request request) {
    SequenceGroup& group = Make(std::move(request));
    EXPECT_TRUE(residency.HasSeats(group));
    const KvManager::Match none = space->cache().NoMatch({});
    EXPECT_TRUE(residency.CanEnter(group, none));
    residency.Enter(group, none);
    return group;
  }
  // The next step, once the one before has been computed.
  void Begin() {
    if (builder.number() > 0) RunStep(builder);
    builder.Begin(64);
    residency.BeginStep();
  }

  const SchedulerConfig config;
  const std::unique_ptr<KvSpace> space;
  ChunkBudget chunk_budget{{}};
  WaitingQueue waiting{{}, false};
  StepBuilder builder;
  EventLog events;
  std::vector<std::unique_ptr<SequenceGroup>> groups;
  Residency residency;
};

}  // namespace quire
