// Streams that are the beams of one search: they go on together, fork and prune, and answer when the search ends.
#include <algorithm>

#include "base/check.h"
#include "sched/streams.h"

namespace quire {
namespace {

const Hypothesis kNoHypothesis = {
    .tokens = {}, .candidates = {}, .score = BeamSearch::kLost, .reason = FinishReason::kLength, .stop_token = -1};

uint32_t NumLogprobs(const SequenceGroup& group) {
  return static_cast<uint32_t>(group.request.params.logprobs.value_or(0));
}

// A beam's next token, with the alternatives that were asked for, of which it is one or not.
void AppendOutput(std::span<const TokenOutput> best, uint32_t rank, uint32_t num_logprobs,
                  std::vector<TokenOutput>& outputs, std::vector<Candidate>& candidates) {
  TokenOutput& token = outputs.emplace_back(best[rank]);
  token.first_candidate = static_cast<uint32_t>(candidates.size());
  token.num_candidates = std::min(num_logprobs, static_cast<uint32_t>(best.size()));
  for (const TokenOutput& other : best.first(token.num_candidates)) candidates.push_back({other.token, other.logprob});
}

}  // namespace

// One step of the search, once every beam's candidates are there.
Streams::End Streams::ApplyBeams(SequenceGroup& group, const GroupRows& rows, const StepResult& result) {
  best_.clear();
  for (size_t i = 0; i < rows.tasks.size(); ++i) {
    const std::span<const TokenOutput> tokens = TokensOf(rows.outcomes[i], result);
    if (rows.tasks[i].kind == RowTask::Kind::kScore) {
      EmitScores(group, rows.tasks[i], tokens, result);
    } else {
      best_.push_back(tokens);
    }
  }
  if (best_.empty()) return End::kNone;
  QUIRE_CHECK_EQ(best_.size(), group.sequences.size());
  const uint32_t num_candidates = group.beams->num_candidates();
  search_.clear();
  for (const auto& tokens : best_) search_.push_back(tokens.first(std::min<size_t>(tokens.size(), num_candidates)));
  const BeamSearch::Outcome outcome = group.beams->Step(search_);
  KeepHypotheses(group, outcome.ended);
  if (outcome.done) {
    Answer(group);
    return End::kAnswered;
  }
  ApplySurvivors(group, outcome.survivors);
  for (size_t i = 0; i < group.sequences.size(); ++i) {
    Sequence& sequence = group.sequences[i];
    const BeamSearch::Survivor& survivor = outcome.survivors[i];
    AppendOutput(best_[survivor.parent], survivor.rank, NumLogprobs(group), sequence.outputs, sequence.candidates);
    sequence.tokens.push_back(survivor.token);
  }
  parts_.waiting.Charge(group, group.sequences.size());
  return End::kNone;
}

void Streams::KeepHypotheses(SequenceGroup& group, std::span<const BeamSearch::Ended> ended_now) {
  for (const BeamSearch::Ended& ended : ended_now) {
    Hypothesis& kept = group.hypotheses[ended.place];
    kept.tokens = group.sequences[ended.parent].outputs;
    kept.candidates = group.sequences[ended.parent].candidates;
    kept.score = ended.score;
    kept.reason = ended.reason;
    kept.stop_token = ended.stop_token;
    AppendOutput(best_[ended.parent], ended.rank, NumLogprobs(group), kept.tokens, kept.candidates);
  }
}

// Every parent with a survivor keeps its own place; all others become copies of theirs, before any token is appended.
void Streams::ApplySurvivors(SequenceGroup& group, std::span<const BeamSearch::Survivor> survivors) {
  if (!group.has_forked) AddSequences(group);
  // Memory of those that are dropped comes back first.
  for (size_t i = 0; i < survivors.size(); ++i) {
    if (survivors[i].parent != i) parts_.space.Prune(group.sequences[i].kv);
  }
  for (size_t i = 0; i < survivors.size(); ++i) {
    if (survivors[i].parent != i) ForkInto(group, group.sequences[i], group.sequences[survivors[i].parent]);
  }
}

// The best hypotheses become the answer's streams. Where so much is masked that there are fewer than were asked for,
// the others are empty.
void Streams::Answer(SequenceGroup& group) {
  const std::vector<uint32_t> places = group.beams->RankedPlaces();
  const auto num_answers = static_cast<uint32_t>(group.request.params.n);
  for (uint32_t stream = 0; stream < num_answers; ++stream) {
    const bool found = stream < places.size();
    const Hypothesis& hypothesis = found ? group.hypotheses[places[stream]] : kNoHypothesis;
    if (found) {
      SchedulerEvent& event = parts_.events.Emit(SchedulerEvent::Kind::kTokens, group);
      event.stream = stream;
      event.position = group.num_prompt_tokens();
      event.tokens = hypothesis.tokens;
      event.ends_by_token = hypothesis.reason == FinishReason::kStop;
      event.candidates = hypothesis.candidates;
    }
    SchedulerEvent& end = parts_.events.Emit(SchedulerEvent::Kind::kFinished, group);
    end.stream = stream;
    end.reason = hypothesis.reason;
    end.stop_token = hypothesis.stop_token;
    end.score = hypothesis.score;
    end.last = stream + 1 == num_answers;
  }
}

}  // namespace quire
