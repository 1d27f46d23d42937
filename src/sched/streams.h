// Streams: how a step's outcomes become tokens. A request's streams are samples (n, best_of) or the beams of a search;
// nothing else knows the difference. The prompt is computed once, by the first sequence; then the others fork from it.
// Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "kv/kv_space.h"
#include "sched/beam_search.h"
#include "sched/residency.h"
#include "sched/scheduler_event.h"
#include "sched/sequence.h"
#include "sched/speculation.h"
#include "sched/step_builder.h"
#include "sched/waiting_queue.h"

namespace quire {

// The spans of one group in a plan, with their tasks and what came of them; its rows were planned together.
struct GroupRows {
  RequestId owner = {};
  std::span<const PlanSpan> spans;
  std::span<const RowTask> tasks;
  std::span<const TaskResult> outcomes;
};

// The groups of a step, one after the other.
class GroupRowsReader {
 public:
  // Both outlive it.
  GroupRowsReader(const Step& step, const StepResult& result) : step_(step), result_(result) {}
  std::optional<GroupRows> Next();

 private:
  const Step& step_;
  const StepResult& result_;
  size_t span_ = 0;
  size_t task_ = 0;
};

class Streams {
 public:
  // What it works on. All outlive it.
  struct Parts {
    const SchedulerConfig& config;
    KvSpace& space;
    StepBuilder& builder;
    Residency& residency;
    WaitingQueue& waiting;
    Speculation& speculation;
    EventLog& events;
  };
  explicit Streams(const Parts& parts) : parts_(parts) {}

  enum class End : uint8_t {
    kNone,
    kNextPart,  // the streams that run side by side have ended, others wait for their turn
    kOver,      // the group is to be forgotten
    kAnswered,  // the same, but events point into it
  };
  // Commits the rows and what they drew. `pin`: keeps the prompt of a request that has ended and asked for it, unless
  // somebody could not run any more.
  End Apply(SequenceGroup& group, const GroupRows& rows, const StepResult& result,
            FunctionRef<bool(const SequenceGroup&)> pin);
  // One stream ends from outside. kNone as well if it has ended already. REQUIRES: it is not a beam search.
  End EndOne(SequenceGroup& group, uint32_t stream);

 private:
  void CommitRows(SequenceGroup& group, const PlanSpan& span);
  void Commit(SequenceGroup& group, Sequence& sequence, uint32_t num_computed);
  void EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                  const StepResult& result);
  End Fail(SequenceGroup& group, const RowTask& task);
  void AddSequences(SequenceGroup& group);
  void ForkInto(SequenceGroup& group, Sequence& child, const Sequence& parent);

  // samples.cc
  End ApplySamples(SequenceGroup& group, const GroupRows& rows, const StepResult& result,
                   FunctionRef<bool(const SequenceGroup&)> pin);
  End ApplyDraws(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> drawn,
                 const StepResult& result, FunctionRef<bool(const SequenceGroup&)> pin);
  End AppendTokens(SequenceGroup& group, Sequence& sequence, std::span<const TokenOutput> drawn,
                   const StepResult& result, FunctionRef<bool(const SequenceGroup&)> pin);

  // beams.cc
  End ApplyBeams(SequenceGroup& group, const GroupRows& rows, const StepResult& result);
  void KeepHypotheses(SequenceGroup& group, std::span<const BeamSearch::Ended> ended);
  void ApplySurvivors(SequenceGroup& group, std::span<const BeamSearch::Survivor> survivors);
  void Answer(SequenceGroup& group);

  const Parts parts_;
  // Of one step of a search, kept for their capacity: by beam, its best tokens, and those that the search looks at.
  std::vector<std::span<const TokenOutput>> best_;
  std::vector<std::span<const TokenOutput>> search_;
};

std::span<const TokenOutput> TokensOf(const TaskResult& outcome, const StepResult& result);

}  // namespace quire
