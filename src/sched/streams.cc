#include "sched/streams.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {

std::span<const TokenOutput> TokensOf(const TaskResult& outcome, const StepResult& result) {
  QUIRE_CHECK_LE(uint64_t{outcome.first_token} + outcome.num_tokens, result.tokens.size());
  return std::span(result.tokens).subspan(outcome.first_token, outcome.num_tokens);
}

std::optional<GroupRows> GroupRowsReader::Next() {
  const std::vector<PlanSpan>& spans = step_.plan.spans;
  const std::vector<RowTask>& tasks = step_.plan.tasks;
  if (span_ == spans.size()) return std::nullopt;
  const size_t first_span = span_, first_task = task_;
  const RequestId owner = step_.owners[span_];
  while (span_ < spans.size() && step_.owners[span_] == owner) ++span_;
  const PlanSpan& last = spans[span_ - 1];
  while (task_ < tasks.size() && tasks[task_].row < last.first_row + last.num_rows) ++task_;
  return GroupRows{.owner = owner,
                   .spans = std::span(spans).subspan(first_span, span_ - first_span),
                   .tasks = std::span(tasks).subspan(first_task, task_ - first_task),
                   .outcomes = std::span(result_.tasks).subspan(first_task, task_ - first_task)};
}

// A seat is not given to another request's sequence while its own still has rows in the plan; a sequence that has ended
// since is not found by its seat any more.
Streams::End Streams::Apply(SequenceGroup& group, const GroupRows& rows, const StepResult& result,
                            FunctionRef<bool(const SequenceGroup&)> pin) {
  const auto nan = std::ranges::find(rows.outcomes, TaskResult::Status::kNan, &TaskResult::status);
  if (nan != rows.outcomes.end()) return Fail(group, rows.tasks[static_cast<size_t>(nan - rows.outcomes.begin())]);
  for (const PlanSpan& span : rows.spans) CommitRows(group, span);
  return group.is_beams() ? ApplyBeams(group, rows, result) : ApplySamples(group, rows, result, pin);
}

Streams::End Streams::Fail(SequenceGroup& group, const RowTask& task) {
  // One after the other, so that what they share is nobody else's when the last one comes to it.
  for (Sequence& sequence : group.sequences) {
    parts_.space.cache().Forget(sequence.kv);
    sequence.kv.Clear();
  }
  SchedulerEvent& failure = parts_.events.Emit(SchedulerEvent::Kind::kFailed, group);
  failure.stream = task.stream;
  failure.error = "the model produced a NaN";
  failure.position = task.position;
  return End::kOver;
}

void Streams::CommitRows(SequenceGroup& group, const PlanSpan& span) {
  Sequence* sequence = group.Find(span.seat);
  if (sequence == nullptr) return;
  // Rows of drafts count once these are accepted.
  Commit(group, *sequence, std::min(span.first_position + span.num_rows, sequence->num_tokens()));
}

void Streams::Commit(SequenceGroup& group, Sequence& sequence, uint32_t num_computed) {
  sequence.kv.num_computed = num_computed;
  if (group.request.writes_prefix_cache) {
    parts_.space.cache().Commit(sequence.kv, group.scope(), std::span(sequence.tokens).first(num_computed));
  }
  if (parts_.space.gives_back()) parts_.residency.GiveBackUnseen(group, sequence);
}

void Streams::EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                         const StepResult& result) {
  group.num_scored = task.position;
  // Scores that lie side by side make one event.
  SchedulerEvent* last = parts_.events.last();
  if (last != nullptr && last->kind == SchedulerEvent::Kind::kPromptLogprobs && last->request == group.request.id &&
      last->tokens.data() + last->tokens.size() == scores.data()) {
    last->tokens = {last->tokens.data(), last->tokens.size() + scores.size()};
    return;
  }
  SchedulerEvent& event = parts_.events.Emit(SchedulerEvent::Kind::kPromptLogprobs, group);
  event.position = task.position;
  event.tokens = scores;
  event.candidates = result.candidates;
}

void Streams::AddSequences(SequenceGroup& group) {
  group.sequences.reserve(group.width);
  while (group.sequences.size() < group.width) {
    Sequence& child = group.sequences.emplace_back(parts_.space.cache().MakeSequence(), group.request.prompt);
    child.stream = group.first_stream + static_cast<uint32_t>(group.sequences.size() - 1);
    if (!group.reserved.empty()) {
      child.kv = std::move(group.reserved.back());
      group.reserved.pop_back();
    }
    parts_.builder.TakeSeat(child);
  }
  group.has_forked = true;
}

// The child, which has a seat, becomes a copy of the parent.
void Streams::ForkInto(SequenceGroup& group, Sequence& child, const Sequence& parent) {
  child.tokens = parent.tokens;
  child.outputs = parent.outputs;
  child.candidates = parent.candidates;
  std::vector<KvSpace::Copy> copies = parts_.space.Fork(parent.kv, child.kv, parent.num_blocks_sent.front());
  child.kv.num_computed = parent.kv.num_computed;
  child.kv.chain = parent.kv.chain;
  parts_.residency.CountCopies(copies.size());
  parts_.builder.Fork(parent, child, std::move(copies));
  group.ExpectGrowth(child, parts_.space.cache().groups(), parts_.config.block_size);
}

}  // namespace quire
