// PlanDriver: drives a StepRunner with plans made by hand, for tests: every sequence has its own slot and its own
// blocks, in a scrambled order, and each step takes as many rows of each as the test says.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "base/check.h"
#include "sched/step_runner.h"

namespace quire {

// A token that was drawn or scored, with what a client would see of it.
struct Spoken {
  int32_t token = 0;
  float logprob = 0;
  uint32_t rank = 0;
  std::vector<Candidate> candidates;
  friend bool operator==(const Spoken&, const Spoken&) = default;
};

inline Spoken MakeSpoken(const TokenOutput& output, std::span<const Candidate> candidates) {
  const auto own = candidates.subspan(output.first_candidate, output.num_candidates);
  return {output.token, output.logprob, output.rank, {own.begin(), own.end()}};
}

struct DrivenSequence {
  std::vector<int32_t> tokens;
  uint32_t num_prompt = 0;
  SamplingParams params;
  std::vector<int32_t> stop_token_ids;
  uint32_t num_computed = 0;
  uint32_t num_blocks = 0;
  bool admitted = false;
  bool failed = false;
  int32_t previous_task = -1;  // of the step before, which drew the last token
  std::vector<Spoken> output;
  std::vector<Spoken> scores;

  bool done() const { return failed || static_cast<int32_t>(output.size()) >= params.max_tokens.value_or(1); }
  std::vector<int32_t> output_ids() const { return {tokens.begin() + num_prompt, tokens.end()}; }
};

class PlanDriver {
 public:
  PlanDriver(StepRunner& runner, uint32_t num_blocks, uint32_t block_size)
      : runner_(runner), block_size_(block_size), free_blocks_(num_blocks) {
    for (uint32_t i = 0; i < num_blocks; ++i) free_blocks_[i] = BlockId{i};
    std::shuffle(free_blocks_.begin(), free_blocks_.end(), std::mt19937(num_blocks));
  }

  // Sequences are never removed: references stay valid while no other is added.
  DrivenSequence& Add(std::vector<int32_t> prompt, const SamplingParams& params) {
    const auto num_prompt = static_cast<uint32_t>(prompt.size());
    sequences_.push_back({.tokens = std::move(prompt), .num_prompt = num_prompt, .params = params});
    return sequences_.back();
  }
  DrivenSequence& operator[](size_t index) { return sequences_[index]; }

  // Tokens come from the task that drew them, instead of as literals.
  void set_uses_previous_tasks(bool uses) { uses_previous_tasks_ = uses; }

  // One step with at most `chunk` rows of each sequence that is not done; false if there was nothing to do.
  bool Step(uint32_t chunk) {
    MakePlan(chunk);
    if (plan_.tokens.empty()) return false;
    QUIRE_CHECK(runner_.Submit(plan_).ok());
    QUIRE_CHECK(runner_.Collect(result_).ok());
    Take();
    return true;
  }
  void Run(uint32_t chunk = std::numeric_limits<uint32_t>::max()) {
    while (Step(chunk)) {
    }
  }

  // In two halves, for tests that look at the runner alone.
  const StepPlan& MakePlan(uint32_t chunk) {
    plan_.Clear();
    ++plan_.step;
    for (size_t i = 0; i < sequences_.size(); ++i) {
      if (!sequences_[i].done()) Plan(SlotId{static_cast<uint32_t>(i)}, sequences_[i], chunk);
    }
    return plan_;
  }
  StepResult& result() { return result_; }
  void Take() {
    for (DrivenSequence& sequence : sequences_) sequence.previous_task = -1;
    for (const PlanSpan& span : plan_.spans) {
      sequences_[static_cast<size_t>(span.slot)].num_computed += span.num_rows;
    }
    for (size_t i = 0; i < plan_.tasks.size(); ++i) TakeTask(i);
  }

 private:
  void Plan(SlotId slot, DrivenSequence& sequence, uint32_t chunk) {
    const auto size = static_cast<uint32_t>(sequence.tokens.size());
    if (!sequence.admitted) {
      sequence.admitted = true;
      plan_.admissions.push_back({.slot = slot,
                                  .params = sequence.params,
                                  .stop_token_ids = sequence.stop_token_ids,
                                  .history = sequence.tokens,
                                  .num_prompt_tokens = sequence.num_prompt});
    }
    const uint32_t first = sequence.num_computed;
    const uint32_t end = first + std::min(chunk, size - first);
    for (; sequence.num_blocks * block_size_ < end; ++sequence.num_blocks) {
      plan_.appended_blocks.push_back({slot, free_blocks_.back()});
      free_blocks_.pop_back();
    }
    const auto first_row = static_cast<uint32_t>(plan_.tokens.size());
    plan_.spans.push_back({slot, first_row, end - first, first});
    for (uint32_t p = first; p < end; ++p) {
      const bool previous = uses_previous_tasks_ && p + 1 == size && sequence.previous_task >= 0;
      plan_.tokens.push_back(previous ? TokenSource{TokenSource::Kind::kPreviousTask, sequence.previous_task}
                                      : TokenSource{TokenSource::Kind::kLiteral, sequence.tokens[p]});
      AddTask(slot, sequence, first_row + p - first, p + 1);
    }
  }

  void AddTask(SlotId slot, const DrivenSequence& sequence, uint32_t row, uint32_t position) {
    if (position == sequence.tokens.size()) {
      plan_.tasks.push_back({.kind = RowTask::Kind::kSample, .row = row, .slot = slot, .position = position});
    } else if (sequence.params.prompt_logprobs && position < sequence.num_prompt) {
      plan_.tasks.push_back({.kind = RowTask::Kind::kScore,
                             .row = row,
                             .slot = slot,
                             .position = position,
                             .target = sequence.tokens[position]});
    }
  }

  void TakeTask(size_t index) {
    const RowTask& task = plan_.tasks[index];
    const TaskResult& outcome = result_.tasks[index];
    DrivenSequence& sequence = sequences_[static_cast<size_t>(task.slot)];
    if (outcome.status == TaskResult::Status::kNan) {
      sequence.failed = true;
      return;
    }
    const Spoken spoken = MakeSpoken(result_.tokens[outcome.first_token], result_.candidates);
    if (task.kind == RowTask::Kind::kScore) {
      sequence.scores.push_back(spoken);
      return;
    }
    sequence.output.push_back(spoken);
    sequence.tokens.push_back(spoken.token);
    sequence.previous_task = static_cast<int32_t>(index);
  }

  StepRunner& runner_;
  const uint32_t block_size_;
  std::vector<BlockId> free_blocks_;
  std::vector<DrivenSequence> sequences_;
  bool uses_previous_tasks_ = false;
  StepPlan plan_;
  StepResult result_;
};

}  // namespace quire
