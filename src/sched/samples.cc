// Streams that are sampled: each draws its own tokens and ends for itself.
#include <algorithm>

#include "base/check.h"
#include "sched/stop_rules.h"
#include "sched/streams.h"

namespace quire {

Streams::End Streams::ApplySamples(SequenceGroup& group, const GroupRows& rows, const StepResult& result,
                                   FunctionRef<bool(const SequenceGroup&)> pin) {
  for (size_t i = 0; i < rows.tasks.size(); ++i) {
    const std::span<const TokenOutput> tokens = TokensOf(rows.outcomes[i], result);
    if (rows.tasks[i].kind == RowTask::Kind::kScore) {
      EmitScores(group, rows.tasks[i], tokens, result);
    } else if (const End end = ApplyDraws(group, rows.tasks[i], tokens, result, pin); end != End::kNone) {
      return end;
    }
  }
  return End::kNone;
}

// The prompt's last row draws the first token of every stream.
Streams::End Streams::ApplyDraws(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> drawn,
                                 const StepResult& result, FunctionRef<bool(const SequenceGroup&)> pin) {
  QUIRE_CHECK(!drawn.empty(), "a sample task of request {} drew nothing", static_cast<uint64_t>(group.request.id));
  Sequence* sequence = group.Find(task.seat);
  if (sequence == nullptr) return End::kNone;
  if (task.kind == RowTask::Kind::kVerify) {
    parts_.speculation.Observe(*sequence, task.draws - 1, static_cast<uint32_t>(drawn.size()) - 1);
  }
  if (group.has_forked) return AppendTokens(group, *sequence, drawn, result, pin);
  QUIRE_CHECK_EQ(drawn.size(), size_t{group.width});
  AddSequences(group);
  for (uint32_t i = 1; i < group.width; ++i) ForkInto(group, group.sequences[i], group.front());
  // Streams leave the group as they end: by number, not by place.
  End end = End::kNone;
  for (uint32_t i = 0; i < drawn.size() && end == End::kNone; ++i) {
    Sequence& drawing = *std::ranges::find(group.sequences, group.first_stream + i, &Sequence::stream);
    end = AppendTokens(group, drawing, drawn.subspan(i, 1), result, pin);
  }
  return end;
}

Streams::End Streams::EndOne(SequenceGroup& group, uint32_t stream) {
  const auto id = static_cast<uint64_t>(group.request.id);
  QUIRE_CHECK(!group.is_beams(), "the beams of request {} end together", id);
  const auto sequence = std::ranges::find(group.sequences, stream, &Sequence::stream);
  if (sequence == group.sequences.end()) return End::kNone;
  QUIRE_CHECK(group.has_forked, "stream {} of request {} has not begun", stream, id);
  if (group.sequences.size() == 1) return group.has_next_part() ? End::kNextPart : End::kOver;
  parts_.residency.EndStream(group, *sequence);
  return End::kNone;
}

// Tokens behind the one that ends the stream are dropped.
Streams::End Streams::AppendTokens(SequenceGroup& group, Sequence& sequence, std::span<const TokenOutput> drawn,
                                   const StepResult& result, FunctionRef<bool(const SequenceGroup&)> pin) {
  SchedulerEvent& event = parts_.events.Emit(SchedulerEvent::Kind::kTokens, group);
  event.stream = sequence.stream;
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
                                     .max_model_len = parts_.config.max_model_len});
  }
  event.tokens = drawn.first(num_taken);
  event.ends_by_token = stop.reason == FinishReason::kStop;
  parts_.waiting.Charge(group, num_taken);
  if (stop.reason == FinishReason::kNone) {
    if (num_taken > 1) Commit(group, sequence, sequence.num_tokens() - 1);  // drafts were right
    return End::kNone;
  }

  if (group.request.pins_prompt && !pin(group)) {
    parts_.events.Emit(SchedulerEvent::Kind::kFailed, group).error =
        "beside the shared prefix, a request that waits would not fit";
    return End::kOver;
  }
  SchedulerEvent& end = parts_.events.Emit(SchedulerEvent::Kind::kFinished, group);
  end.stream = sequence.stream;
  end.reason = stop.reason;
  end.stop_token = stop.stop_token;
  const bool ends_part = group.sequences.size() == 1;
  end.last = ends_part && !group.has_next_part();
  if (ends_part) return end.last ? End::kOver : End::kNextPart;
  parts_.residency.EndStream(group, sequence);
  return End::kNone;
}

}  // namespace quire
