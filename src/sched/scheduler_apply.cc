// The second half of a step: what the runner computed becomes progress.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler.h"
#include "sched/stop_rules.h"

namespace quire {
namespace {

std::span<const TokenOutput> TokensOf(const TaskResult& outcome, const StepResult& result) {
  QUIRE_CHECK_LE(uint64_t{outcome.first_token} + outcome.num_tokens, result.tokens.size());
  return std::span(result.tokens).subspan(outcome.first_token, outcome.num_tokens);
}

const Hypothesis kNoHypothesis = {
    .tokens = {}, .candidates = {}, .score = BeamSearch::kLost, .reason = FinishReason::kLength, .stop_token = -1};

// What a beam says next: the token with the alternatives that were asked for, of which it is one or not.
void Say(std::span<const TokenOutput> best, uint32_t rank, uint32_t num_logprobs, std::vector<TokenOutput>& said,
         std::vector<Candidate>& candidates) {
  TokenOutput& token = said.emplace_back(best[rank]);
  token.first_candidate = static_cast<uint32_t>(candidates.size());
  token.num_candidates = std::min(num_logprobs, static_cast<uint32_t>(best.size()));
  for (const TokenOutput& other : best.first(token.num_candidates)) candidates.push_back({other.token, other.logprob});
}

}  // namespace

std::span<const SchedulerEvent> Scheduler::Apply(const StepResult& result) {
  QUIRE_CHECK(in_flight_, "no step is in flight");
  QUIRE_CHECK_EQ(result.step, plan_.step);
  QUIRE_CHECK_EQ(result.tasks.size(), plan_.tasks.size());
  in_flight_ = false;
  chunk_budget_.Observe(rows_.decodes, rows_.planned, rows_.limit, result.forward_us + result.sample_us);
  ApplyTransfers(result);
  for (size_t span = 0, task = 0; span < plan_.spans.size();) {
    const RequestId id = span_requests_[span];
    const GroupRows rows = NextGroup(span, task, result);
    const auto group = groups_.find(id);
    if (group != groups_.end()) ApplyGroup(*group->second, rows, result);
  }
  events_delivered_ = true;
  return events_;
}

// The spans from `span` on that belong to one request, and their tasks.
Scheduler::GroupRows Scheduler::NextGroup(size_t& span, size_t& task, const StepResult& result) const {
  const size_t first_span = span, first_task = task;
  const RequestId id = span_requests_[span];
  while (span < plan_.spans.size() && span_requests_[span] == id) ++span;
  const PlanSpan& last = plan_.spans[span - 1];
  while (task < plan_.tasks.size() && plan_.tasks[task].row < last.first_row + last.num_rows) ++task;
  return {.spans = std::span(plan_.spans).subspan(first_span, span - first_span),
          .tasks = std::span(plan_.tasks).subspan(first_task, task - first_task),
          .outcomes = std::span(result.tasks).subspan(first_task, task - first_task)};
}

// A slot is not given to another request's sequence while its own still has rows in the plan; a sequence that has ended
// since is not found by its slot any more.
void Scheduler::ApplyGroup(SequenceGroup& group, const GroupRows& rows, const StepResult& result) {
  const auto nan = std::ranges::find(rows.outcomes, TaskResult::Status::kNan, &TaskResult::status);
  if (nan != rows.outcomes.end()) return Fail(group, rows.tasks[static_cast<size_t>(nan - rows.outcomes.begin())]);
  for (const PlanSpan& span : rows.spans) CommitRows(group, span);
  const RequestId id = group.request.id;
  if (group.is_beams()) return ApplyBeams(group, rows, result);
  for (size_t i = 0; i < rows.tasks.size(); ++i) {
    const std::span<const TokenOutput> tokens = TokensOf(rows.outcomes[i], result);
    if (rows.tasks[i].kind == RowTask::Kind::kScore) {
      EmitScores(group, rows.tasks[i], tokens, result);
    } else {
      ApplyDraws(id, rows.tasks[i], tokens, result);  // the last one may end the group
    }
  }
}

void Scheduler::Fail(SequenceGroup& group, const RowTask& task) {
  // One after the other, so that what they share is nobody else's when the last one comes to it.
  for (Sequence& sequence : group.sequences) {
    kv_.Forget(sequence.table.blocks());
    sequence.table.Clear();
  }
  SchedulerEvent& failure = Emit(SchedulerEvent::Kind::kFailed, group);
  failure.stream = task.stream;
  failure.error = "the model produced a NaN";
  failure.position = task.position;
  Forget(group.request.id);
}

void Scheduler::CommitRows(SequenceGroup& group, const PlanSpan& span) {
  Sequence* sequence = group.Find(span.slot);
  if (sequence == nullptr) return;
  sequence->num_computed = span.first_position + span.num_rows;
  if (!group.request.writes_prefix_cache) return;
  sequence->chain = kv_.Commit(sequence->table, group.scope(), sequence->chain,
                               std::span(sequence->tokens).first(sequence->num_computed));
}

void Scheduler::EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                           const StepResult& result) {
  group.num_scored = task.position;
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

// The prompt's last row draws the first token of every stream.
void Scheduler::ApplyDraws(RequestId id, const RowTask& task, std::span<const TokenOutput> drawn,
                           const StepResult& result) {
  QUIRE_CHECK(!drawn.empty(), "a sample task of request {} drew nothing", static_cast<uint64_t>(id));
  SequenceGroup& group = *groups_.at(id);
  Sequence* sequence = group.Find(task.slot);
  if (sequence == nullptr) return;
  if (group.has_forked) return AppendTokens(id, sequence->stream, drawn, result);
  QUIRE_CHECK_EQ(drawn.size(), size_t{group.width});
  AddSequences(group);
  for (uint32_t stream = 1; stream < group.width; ++stream) ForkInto(group, group.sequences[stream], group.front());
  for (uint32_t stream = 0; stream < drawn.size(); ++stream) {
    token_appends_.push_back({*group.sequences[stream].slot, drawn[stream].token});
  }
  // Streams leave the group as they end: by number, not by place.
  for (uint32_t stream = 0; stream < drawn.size(); ++stream) {
    AppendTokens(id, stream, drawn.subspan(stream, 1), result);
  }
}

void Scheduler::AddSequences(SequenceGroup& group) {
  group.sequences.reserve(group.width);
  while (group.sequences.size() < group.width) {
    Sequence& child = group.sequences.emplace_back(kv_.MakeTable(), group.request.prompt);
    child.stream = static_cast<uint32_t>(group.sequences.size() - 1);
    if (!group.spare_tables.empty()) {
      child.table = std::move(group.spare_tables.back());
      group.spare_tables.pop_back();
    }
    child.slot = TakeSlot();
    slots_[static_cast<size_t>(*child.slot)] = &group;
  }
  group.has_forked = true;
}

// The child, which has a slot, becomes a copy of the parent: its blocks are shared, or copied where memory is
// contiguous.
void Scheduler::ForkInto(SequenceGroup& group, Sequence& child, const Sequence& parent) {
  PendingFork& pending = forks_.emplace_back();
  pending.fork = {.parent = *parent.slot, .child = *child.slot, .stream = child.stream};
  child.tokens = parent.tokens;
  child.said = parent.said;
  child.candidates = parent.candidates;
  child.num_computed = parent.num_computed;
  child.num_blocks_sent = parent.num_blocks_sent;
  child.chain = parent.chain;
  if (kv_policy_.contiguous()) {
    for (uint32_t i = 0; i < parent.num_blocks_sent; ++i) {
      pending.copies.emplace_back(parent.table.blocks()[i], child.table.blocks()[i]);
      ++counters_.num_blocks_copied;
    }
  } else {
    child.table = parent.table.Fork();
  }
  ExpectGrowth(group, child);
}

// Tokens behind the one that ends the stream are dropped.
void Scheduler::AppendTokens(RequestId id, uint32_t stream, std::span<const TokenOutput> drawn,
                             const StepResult& result) {
  SequenceGroup& group = *groups_.at(id);
  Sequence& sequence = *std::ranges::find(group.sequences, stream, &Sequence::stream);
  SchedulerEvent& event = Emit(SchedulerEvent::Kind::kTokens, group);
  event.stream = stream;
  event.position = sequence.num_tokens();
  event.candidates = result.candidates;
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
  event.tokens = drawn.first(num_taken);
  event.ends_by_token = stop.reason == FinishReason::kStop;
  waiting_.Charge(group, num_taken);
  if (stop.reason == FinishReason::kNone) return;

  if (group.request.pins_prompt && !PinPrompt(group)) {
    Emit(SchedulerEvent::Kind::kFailed, group).error = "beside the shared prefix, a request that waits would not fit";
    return Forget(id);
  }
  SchedulerEvent& end = Emit(SchedulerEvent::Kind::kFinished, group);
  end.stream = stream;
  end.reason = stop.reason;
  end.stop_token = stop.stop_token;
  end.last = group.sequences.size() == 1;
  if (!end.last) return EndStream(group, sequence);
  Forget(id);
}

// One step of the search, once every beam's candidates are there.
void Scheduler::ApplyBeams(SequenceGroup& group, const GroupRows& rows, const StepResult& result) {
  best_.clear();
  for (size_t i = 0; i < rows.tasks.size(); ++i) {
    const std::span<const TokenOutput> tokens = TokensOf(rows.outcomes[i], result);
    if (rows.tasks[i].kind == RowTask::Kind::kScore) {
      EmitScores(group, rows.tasks[i], tokens, result);
    } else {
      best_.push_back(tokens);
    }
  }
  if (best_.empty()) return;
  QUIRE_CHECK_EQ(best_.size(), group.sequences.size());
  const uint32_t num_candidates = group.beams->num_candidates();
  search_.clear();
  for (const auto& tokens : best_) search_.push_back(tokens.first(std::min<size_t>(tokens.size(), num_candidates)));
  const BeamSearch::Outcome outcome = group.beams->Step(search_);
  const auto num_logprobs = static_cast<uint32_t>(group.request.params.logprobs.value_or(0));
  for (const BeamSearch::Ended& ended : outcome.ended) {
    Hypothesis& kept = group.hypotheses[ended.place];
    kept.tokens = group.sequences[ended.parent].said;
    kept.candidates = group.sequences[ended.parent].candidates;
    kept.score = ended.score;
    kept.reason = ended.reason;
    kept.stop_token = ended.stop_token;
    Say(best_[ended.parent], ended.rank, num_logprobs, kept.tokens, kept.candidates);
  }
  if (outcome.done) return AnswerBeams(group);
  ApplySurvivors(group, outcome.survivors);
  for (size_t i = 0; i < group.sequences.size(); ++i) {
    Sequence& sequence = group.sequences[i];
    const BeamSearch::Survivor& survivor = outcome.survivors[i];
    Say(best_[survivor.parent], survivor.rank, num_logprobs, sequence.said, sequence.candidates);
    sequence.tokens.push_back(survivor.token);
    token_appends_.push_back({*sequence.slot, survivor.token});
  }
  waiting_.Charge(group, group.sequences.size());
}

// Every parent with a survivor keeps its own place; all others become copies of theirs, before any token is appended.
void Scheduler::ApplySurvivors(SequenceGroup& group, std::span<const BeamSearch::Survivor> survivors) {
  if (!group.has_forked) AddSequences(group);
  // Memory of those that are dropped comes back first.
  if (!kv_policy_.contiguous()) {
    for (size_t i = 0; i < survivors.size(); ++i) {
      if (survivors[i].parent != i) group.sequences[i].table.Clear();
    }
  }
  for (size_t i = 0; i < survivors.size(); ++i) {
    if (survivors[i].parent != i) ForkInto(group, group.sequences[i], group.sequences[survivors[i].parent]);
  }
}

// The best hypotheses become the answer's streams. Where so much is masked that there are fewer than were asked for,
// the others are empty.
void Scheduler::AnswerBeams(SequenceGroup& group) {
  const std::vector<uint32_t> places = group.beams->RankedPlaces();
  const auto num_answers = static_cast<uint32_t>(group.request.params.n);
  for (uint32_t stream = 0; stream < num_answers; ++stream) {
    const bool found = stream < places.size();
    const Hypothesis& hypothesis = found ? group.hypotheses[places[stream]] : kNoHypothesis;
    if (found) {
      SchedulerEvent& event = Emit(SchedulerEvent::Kind::kTokens, group);
      event.stream = stream;
      event.position = group.num_prompt_tokens();
      event.tokens = hypothesis.tokens;
      event.ends_by_token = hypothesis.reason == FinishReason::kStop;
      event.candidates = hypothesis.candidates;
    }
    SchedulerEvent& end = Emit(SchedulerEvent::Kind::kFinished, group);
    end.stream = stream;
    end.reason = hypothesis.reason;
    end.stop_token = hypothesis.stop_token;
    end.score = hypothesis.score;
    end.last = stream + 1 == num_answers;
  }
  // The events point into it until the next plan.
  const auto node = groups_.find(group.request.id);
  std::unique_ptr<SequenceGroup> answered = std::move(node->second);
  Dismiss(*answered);
  groups_.erase(node);
  answered_.push_back(std::move(answered));
}

}  // namespace quire
