// The second half of a step: what the runner computed becomes progress.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"
#include "sched/stop_rules.h"

namespace quire {

std::span<const SchedulerEvent> Scheduler::Apply(const StepResult& result) {
  QUIRE_CHECK(in_flight_, "no step is in flight");
  QUIRE_CHECK_EQ(result.step, plan_.step);
  QUIRE_CHECK_EQ(result.tasks.size(), plan_.tasks.size());
  in_flight_ = false;
  chunk_budget_.Observe({.num_decode_tokens = rows_.num_decode,
                         .num_prompt_tokens = rows_.num_prompt,
                         .duration_us = result.forward_us + result.sample_us});
  size_t task = 0;
  for (const PlanSpan& span : plan_.spans) ApplySpan(span, task, result);
  events_delivered_ = true;
  return events_;
}

// A slot is not given to another sequence before the next plan: what is in it now is what the rows were for, or nothing
// if that has ended since.
void Scheduler::ApplySpan(const PlanSpan& span, size_t& task, const StepResult& result) {
  SequenceGroup* group = slots_[static_cast<size_t>(span.slot)];
  const size_t first_task = task;
  while (task < plan_.tasks.size() && plan_.tasks[task].row < span.first_row + span.num_rows) ++task;
  if (group == nullptr) return;

  const auto outcomes = std::span(result.tasks).subspan(first_task, task - first_task);
  const auto nan = std::ranges::find(outcomes, TaskResult::Status::kNan, &TaskResult::status);
  if (nan != outcomes.end()) {
    kv_.Forget(group->sequence().table.blocks());
    SchedulerEvent& failure = Emit(SchedulerEvent::Kind::kFailed, *group);
    failure.error = "the model produced a NaN";
    failure.position = plan_.tasks[first_task + static_cast<size_t>(nan - outcomes.begin())].position;
    Forget(group->request.id);
    return;
  }

  Sequence& sequence = group->sequence();
  sequence.num_computed += span.num_rows;
  sequence.chain = kv_.Commit(sequence.table, group->scope(), sequence.chain,
                              std::span(sequence.tokens).first(sequence.num_computed));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (!ApplyTask(*group, plan_.tasks[first_task + i], outcomes[i], result)) return;
  }
}

// False: the group has ended.
bool Scheduler::ApplyTask(SequenceGroup& group, const RowTask& task, const TaskResult& outcome,
                          const StepResult& result) {
  QUIRE_CHECK_LE(uint64_t{outcome.first_token} + outcome.num_tokens, result.tokens.size());
  const auto tokens = std::span(result.tokens).subspan(outcome.first_token, outcome.num_tokens);
  if (task.kind == RowTask::Kind::kScore) {
    EmitScores(group, task, tokens, result);
    return true;
  }
  return AppendTokens(group, task.position, tokens, result);
}

void Scheduler::EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                           const StepResult& result) {
  group.sequence().num_scored = task.position;
  // Scores that lie side by side make one event.
  if (!events_.empty()) {
    SchedulerEvent& last = events_.back();
    if (last.kind == SchedulerEvent::Kind::kPromptLogprobs && last.request == group.request.id &&
        last.tokens.data() + last.tokens.size() == scores.data()) {
      last.tokens = {last.tokens.data(), last.tokens.size() + scores.size()};
      return;
    }
  }
  SchedulerEvent& event = Emit(SchedulerEvent::Kind::kPromptLogprobs, group);
  event.position = task.position;
  event.tokens = scores;
  event.candidates = result.candidates;
}

// Tokens behind the one that ends the sequence are dropped.
bool Scheduler::AppendTokens(SequenceGroup& group, uint32_t position, std::span<const TokenOutput> drawn,
                             const StepResult& result) {
  QUIRE_CHECK(!drawn.empty(), "a sample task of request {} drew nothing", static_cast<uint64_t>(group.request.id));
  Sequence& sequence = group.sequence();
  StopDecision stop;
  size_t num_taken = 0;
  while (num_taken < drawn.size() && stop.reason == FinishReason::kNone) {
    const int32_t token = drawn[num_taken++].token;
    sequence.tokens.push_back(token);
    stop = CheckStop(group.request, {.token = token,
                                     .num_output = sequence.num_tokens() - group.num_prompt_tokens(),
                                     .num_total = sequence.num_tokens(),
                                     .max_model_len = config_.max_model_len});
  }
  SchedulerEvent& event = Emit(SchedulerEvent::Kind::kTokens, group);
  event.position = position;
  event.tokens = drawn.first(num_taken);
  event.candidates = result.candidates;
  if (stop.reason == FinishReason::kNone) return true;

  SchedulerEvent& end = Emit(SchedulerEvent::Kind::kFinished, group);
  end.reason = stop.reason;
  end.stop_token = stop.stop_token;
  Forget(group.request.id);
  return false;
}

SchedulerStats Scheduler::Stats() const {
  const BlockPool& pool = kv_.pool();
  SchedulerStats stats = {.num_running = static_cast<uint32_t>(running_.size()),
                          .num_waiting = static_cast<uint32_t>(waiting_.size()),
                          .num_preemptions = num_preemptions_,
                          .num_blocks_total = pool.num_total(),
                          .num_blocks_used = pool.num_used(),
                          .num_blocks_cached = pool.num_cached(),
                          .num_blocks_free = pool.num_free(),
                          .prefix_query_tokens = prefix_query_tokens_,
                          .prefix_hit_tokens = prefix_hit_tokens_,
                          .recent_prefix_hit_rate = hit_rate_.Rate()};
  for (const SequenceGroup* group : running_) {
    const Sequence& sequence = group->sequence();
    const uint32_t num_promised = std::min(sequence.num_tokens(), sequence.table.num_slots());
    stats.num_slots_written += sequence.num_computed;
    stats.num_slots_reserved += num_promised - std::min(num_promised, sequence.num_computed);
    stats.num_slots_wasted += sequence.table.num_slots() - num_promised;
  }
  return stats;
}

void Scheduler::CheckInvariants() const {
  kv_.CheckInvariants();
  QUIRE_CHECK_EQ(groups_.size(), running_.size() + waiting_.size());
  QUIRE_CHECK(std::ranges::is_sorted(running_, waiting_.key_comp()));
  QUIRE_CHECK_EQ(running_.size() + free_slots_.size() + left_slots_.size(), slots_.size());
  std::vector<uint32_t> references(config_.num_blocks, 0);
  for (const SequenceGroup* group : running_) {
    const Sequence& sequence = group->sequence();
    QUIRE_CHECK(sequence.slot && slots_[static_cast<size_t>(*sequence.slot)] == group);
    QUIRE_CHECK_LT(sequence.num_computed, sequence.num_tokens());
    QUIRE_CHECK_LE(sequence.num_computed, sequence.table.num_slots());
    QUIRE_CHECK_LE(sequence.chain.depth, sequence.num_computed / config_.block_size);
    QUIRE_CHECK_LE(sequence.table.num_blocks(), BlocksForTokens(sequence.num_tokens(), config_.block_size));
    QUIRE_CHECK(sequence.num_tokens() < config_.max_model_len);
    sequence.table.CheckInvariants();
    for (const BlockId block : sequence.table.blocks()) ++references[static_cast<size_t>(block)];
  }
  for (const SequenceGroup* group : waiting_) {
    QUIRE_CHECK(!group->sequence().slot && group->sequence().table.num_blocks() == 0);
  }
  for (const auto slots : {std::span(free_slots_), std::span(left_slots_)}) {
    for (const SlotId slot : slots) QUIRE_CHECK(slots_[static_cast<size_t>(slot)] == nullptr);
  }
  // Every reference is some running sequence's: nothing leaks.
  for (uint32_t i = 0; i < config_.num_blocks; ++i) QUIRE_CHECK_EQ(kv_.pool().references(BlockId{i}), references[i]);
}

}  // namespace quire
