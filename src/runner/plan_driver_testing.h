// PlanDriver: drives a StepRunner with plans made by hand, for tests: every sequence has its own seat and its own
// blocks, in a scrambled order, and each step takes as many rows of each as the test says. Forks share full blocks and
// copy the last one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include "base/check.h"
#include "sched/step_runner.h"
#include "sched/transcript_testing.h"

namespace quire {

struct DrivenSequence {
  std::vector<int32_t> tokens;
  uint32_t num_prompt = 0;
  uint32_t stream = 0;
  uint32_t num_draws = 1;  // first tokens: more than one fork the sequence into as many, the others added at the end
  SamplingParams params;
  std::vector<int32_t> stop_token_ids;
  uint32_t num_computed = 0;
  std::vector<BlockId> blocks;
  bool admitted = false;
  bool failed = false;
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

  // Guesses of what follows a sequence's last token, from its tokens: those who decode have them verified.
  using Draft = std::function<std::vector<int32_t>(const DrivenSequence&)>;
  void set_draft(Draft draft) { draft_ = std::move(draft); }

  // One step with at most `chunk` rows of each sequence that is not done; false if there was nothing to do.
  bool Step(uint32_t chunk) {
    MakePlan(chunk);
    if (plan_.tokens.empty()) return false;
    QUIRE_CHECK(runner_.Run(plan_, result_).ok());
    Take();
    return true;
  }
  void Run(uint32_t chunk = std::numeric_limits<uint32_t>::max()) {
    while (Step(chunk)) {
    }
  }

  // The next step forks the sequence; returns the child. REQUIRES: nothing of the parent waits to be computed but its
  // last token.
  size_t Fork(size_t parent, uint32_t stream) {
    sequences_.push_back(sequences_[parent]);
    const size_t child = sequences_.size() - 1;
    DrivenSequence& sequence = sequences_.back();
    sequence.stream = stream;
    forks_.push_back({SeatOf(parent), SeatOf(child), stream});
    if (sequence.num_computed % block_size_ != 0) {
      const BlockId source = sequence.blocks.back();
      sequence.blocks.back() = TakeBlock();
      copies_.push_back({.seat = SeatOf(child),
                         .table_index = static_cast<uint32_t>(sequence.blocks.size() - 1),
                         .source = source,
                         .destination = sequence.blocks.back()});
    }
    return child;
  }

  // In two halves, for tests that look at the runner alone.
  const StepPlan& MakePlan(uint32_t chunk) {
    plan_.Clear();
    ++plan_.step;
    plan_.forks.swap(forks_);
    plan_.copies.swap(copies_);
    for (size_t i = 0; i < sequences_.size(); ++i) {
      if (!sequences_[i].done()) Plan(SeatOf(i), sequences_[i], chunk);
    }
    return plan_;
  }
  StepResult& result() { return result_; }
  void Take() {
    for (const PlanSpan& span : plan_.spans) {
      DrivenSequence& sequence = sequences_[static_cast<size_t>(span.seat)];
      sequence.num_computed =
          std::min(span.first_position + span.num_rows, static_cast<uint32_t>(sequence.tokens.size()));
    }
    for (size_t i = 0; i < plan_.tasks.size(); ++i) TakeTask(i);
  }

 private:
  static SeatId SeatOf(size_t index) { return SeatId{static_cast<uint32_t>(index)}; }
  BlockId TakeBlock() {
    const BlockId block = free_blocks_.back();
    free_blocks_.pop_back();
    return block;
  }

  void Plan(SeatId seat, DrivenSequence& sequence, uint32_t chunk) {
    const auto size = static_cast<uint32_t>(sequence.tokens.size());
    if (!sequence.admitted) {
      sequence.admitted = true;
      plan_.admissions.push_back({.seat = seat,
                                  .stream = sequence.stream,
                                  .params = sequence.params,
                                  .stop_token_ids = sequence.stop_token_ids,
                                  .history = sequence.tokens,
                                  .num_prompt_tokens = sequence.num_prompt});
    }
    const uint32_t first = sequence.num_computed;
    const uint32_t end = first + std::min(chunk, size - first);
    std::vector<int32_t> drafts;
    if (draft_ && end == size && size > sequence.num_prompt) drafts = draft_(sequence);
    while (sequence.blocks.size() * block_size_ < end + drafts.size()) {
      sequence.blocks.push_back(TakeBlock());
      plan_.appended_blocks.push_back({.seat = seat,
                                       .table_index = static_cast<uint32_t>(sequence.blocks.size() - 1),
                                       .block = sequence.blocks.back()});
    }
    const auto first_row = static_cast<uint32_t>(plan_.tokens.size());
    plan_.spans.push_back({seat, first_row, end - first + static_cast<uint32_t>(drafts.size()), first});
    for (uint32_t p = first; p < end; ++p) {
      plan_.tokens.push_back(sequence.tokens[p]);
      AddTask(seat, sequence, first_row + p - first, p + 1);
    }
    if (drafts.empty()) return;
    plan_.tokens.insert(plan_.tokens.end(), drafts.begin(), drafts.end());
    plan_.tasks.back().kind = RowTask::Kind::kVerify;
    plan_.tasks.back().draws = static_cast<uint32_t>(drafts.size()) + 1;
  }

  void AddTask(SeatId seat, const DrivenSequence& sequence, uint32_t row, uint32_t position) {
    if (position == sequence.tokens.size()) {
      plan_.tasks.push_back({.kind = RowTask::Kind::kSample,
                             .row = row,
                             .seat = seat,
                             .stream = sequence.stream,
                             .position = position,
                             .draws = position == sequence.num_prompt ? sequence.num_draws : 1});
    } else if (sequence.params.prompt_logprobs && position < sequence.num_prompt) {
      plan_.tasks.push_back({.kind = RowTask::Kind::kScore,
                             .row = row,
                             .seat = seat,
                             .position = position,
                             .target = sequence.tokens[position]});
    }
  }

  void TakeTask(size_t index) {
    const RowTask& task = plan_.tasks[index];
    const TaskResult& outcome = result_.tasks[index];
    const auto seat = static_cast<size_t>(task.seat);
    DrivenSequence& sequence = sequences_[seat];
    if (outcome.status == TaskResult::Status::kNan) {
      sequence.failed = true;
      return;
    }
    if (task.kind == RowTask::Kind::kVerify) return TakeVerified(sequence, outcome);
    const Spoken spoken = MakeSpoken(result_.tokens[outcome.first_token], result_.candidates);
    if (task.kind == RowTask::Kind::kScore) {
      sequence.scores.push_back(spoken);
      return;
    }
    if (task.draws > 1) ForkDraws(seat, task, outcome);
    sequences_[seat].output.push_back(spoken);
    sequences_[seat].tokens.push_back(spoken.token);
  }

  // All but the last one have been computed already.
  void TakeVerified(DrivenSequence& sequence, const TaskResult& outcome) {
    for (uint32_t i = 0; i < outcome.num_tokens && !sequence.done(); ++i) {
      const Spoken spoken = MakeSpoken(result_.tokens[outcome.first_token + i], result_.candidates);
      sequence.output.push_back(spoken);
      sequence.tokens.push_back(spoken.token);
    }
    sequence.num_computed = static_cast<uint32_t>(sequence.tokens.size()) - 1;
  }

  // The first draw is the parent's own.
  void ForkDraws(size_t parent, const RowTask& task, const TaskResult& outcome) {
    for (uint32_t draw = 1; draw < task.draws; ++draw) {
      const size_t child = Fork(parent, task.stream + draw);
      const Spoken spoken = MakeSpoken(result_.tokens[outcome.first_token + draw], result_.candidates);
      sequences_[child].output.push_back(spoken);
      sequences_[child].tokens.push_back(spoken.token);
    }
  }

  StepRunner& runner_;
  const uint32_t block_size_;
  std::vector<BlockId> free_blocks_;
  std::vector<DrivenSequence> sequences_;
  Draft draft_;
  // Of the next step.
  std::vector<SeatFork> forks_;
  std::vector<BlockCopy> copies_;
  StepPlan plan_;
  StepResult result_;
};

}  // namespace quire
