// Scheduler: decides what each step computes. A pure state machine, driven by one thread: no clock, no thread, no
// randomness.
//
//   Add, Abort, Finish        any time between two calls
//   Plan(now) -> StepPlan     reserves memory and promises rows
//   Apply(result) -> events   commits progress: only what has been computed counts
//
// One mechanism serves prompts and decodes: each step hands out a budget of tokens, first one to every sequence that
// decodes, then chunks to the prompts that run, then to waiting requests in order of arrival (or priority). A request
// starts when all its known tokens fit into free blocks. When a running sequence needs a block and there is none, the
// youngest gives up all of its blocks and waits, keeping its tokens, to be computed again; so the oldest always goes
// on. What the tokens are never depends on any of this.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "kv/hit_rate_window.h"
#include "kv/kv_manager.h"
#include "kv/kv_policy.h"
#include "quire/result.h"
#include "sched/chunk_budget.h"
#include "sched/request.h"
#include "sched/scheduler_config.h"
#include "sched/sequence.h"
#include "sched/step_plan.h"

namespace quire {

// What happened to a request, which may have been aborted since. The spans point into the result that was applied.
struct SchedulerEvent {
  enum class Kind : uint8_t {
    kAdmitted,        // it runs: num_cached_tokens of it were in the prefix cache
    kPreempted,       // it waits again; what it has said stands
    kPromptLogprobs,  // tokens: scores of the prompt's tokens from `position` on
    kTokens,          // tokens: generated, from `position` on
    kFinished,        // reason, stop_token; follows its last kTokens; the scheduler has forgotten it
    kFailed,          // error, at `position`; the scheduler has forgotten it
  };
  Kind kind = Kind::kAdmitted;
  RequestId request = {};
  uint32_t stream = 0;
  uint32_t num_cached_tokens = 0;
  uint32_t position = 0;  // in prompt + output
  std::span<const TokenOutput> tokens;
  std::span<const Candidate> candidates;  // all of the result's: what TokenOutput::first_candidate counts in
  FinishReason reason = FinishReason::kNone;
  int32_t stop_token = -1;  // the member of stop_token_ids that ended it, or -1
  std::string_view error;   // static
};

struct SchedulerStats {
  uint32_t num_running = 0;
  uint32_t num_waiting = 0;
  uint64_t num_preemptions = 0;
  uint32_t num_blocks_total = 0;
  uint32_t num_blocks_used = 0;
  uint32_t num_blocks_cached = 0;
  uint32_t num_blocks_free = 0;
  uint64_t prefix_query_tokens = 0;  // counted once per admission
  uint64_t prefix_hit_tokens = 0;
  double recent_prefix_hit_rate = 0;  // of the latest thousand admissions
  // Token slots of the running sequences, a shared block counted in each: written, promised to tokens that are known,
  // and left over behind the last token (less than a block each).
  uint64_t num_slots_written = 0;
  uint64_t num_slots_reserved = 0;
  uint64_t num_slots_wasted = 0;
};

class Scheduler {
 public:
  // REQUIRES: ValidateSchedulerConfig(config).
  explicit Scheduler(const SchedulerConfig& config);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  const SchedulerConfig& config() const { return config_; }

  // Whether it could run alone. Reads the configuration only: any thread.
  Status CanEverFit(const Request& request) const;
  // Queues it. Refuses what can never fit and an id that is present.
  Status Add(Request request);
  // Forgets a request, with no event; an unknown id is none of its business. Memory is free at once, its slot with the
  // next plan.
  void Abort(RequestId id) { Forget(id); }
  // The same for a request that the engine has seen to its end, such as by a stop string.
  void Finish(RequestId id, FinishReason reason);

  // The next step. An empty plan need not be submitted; any other must be applied before the next is asked for. The
  // plan is valid until the next call of Plan.
  const StepPlan& Plan(TimeUs now);
  // REQUIRES: `result` answers the last plan. Sequences that have ended since are skipped. The events, and those of the
  // plan, are valid until the next call of Plan, and their spans while `result` is unchanged.
  std::span<const SchedulerEvent> Apply(const StepResult& result);

  // Whether a request runs or waits.
  bool HasWork() const { return !groups_.empty(); }
  SchedulerStats Stats() const;
  // Forgets every cached prefix; false while any block is in use.
  bool ResetPrefixCache() { return kv_.ResetPrefixCache(); }
  // Moves every running sequence back to waiting, to be computed again. REQUIRES: no step is in flight.
  void PreemptAll();

  void CheckInvariants() const;

 private:
  struct Before {
    bool by_priority = false;
    bool operator()(const SequenceGroup* a, const SequenceGroup* b) const;
  };
  enum class Admit : uint8_t { kYes, kNoMemory, kPrefixUnderWay };
  struct Rows {
    uint32_t left = 0;         // of the step
    uint32_t prompt_left = 0;  // of these, for prompts
    uint32_t num_decode = 0;
    uint32_t num_prompt = 0;
  };

  void BeginPlan();
  void PlanDecodes();
  void PlanPrompts();
  void PlanWaiting();
  Admit TryAdmit(SequenceGroup& group);
  bool PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const;
  uint32_t ChunkOf(const Sequence& sequence) const;
  // Memory for the next `num_rows` tokens, by preemption of younger ones if need be; false: it was itself preempted.
  bool Reserve(SequenceGroup& group, uint32_t num_rows);
  bool TryReserve(Sequence& sequence, uint32_t end);
  void SendBlocks(const Sequence& sequence, uint32_t first);
  void AddRows(SequenceGroup& group, uint32_t num_rows);
  void AddTasks(const SequenceGroup& group, const PlanSpan& span);
  void Enter(SequenceGroup& group, const KvManager::Match& match);
  void ExpectGrowth(SequenceGroup& group);
  void Preempt(SequenceGroup& group);
  // Gives back memory and slot. The group stays known.
  void Leave(SequenceGroup& group);
  void Forget(RequestId id);

  void ApplySpan(const PlanSpan& span, size_t& task, const StepResult& result);
  bool ApplyTask(SequenceGroup& group, const RowTask& task, const TaskResult& outcome, const StepResult& result);
  bool AppendTokens(SequenceGroup& group, uint32_t position, std::span<const TokenOutput> drawn,
                    const StepResult& result);
  void EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                  const StepResult& result);
  SchedulerEvent& Emit(SchedulerEvent::Kind kind, const SequenceGroup& group);

  const SchedulerConfig config_;
  const KvPolicy& kv_policy_;
  KvManager kv_;
  ChunkBudget chunk_budget_;

  std::unordered_map<RequestId, std::unique_ptr<SequenceGroup>> groups_;
  std::set<SequenceGroup*, Before> waiting_;
  std::vector<SequenceGroup*> running_;  // by Before: the oldest first
  std::vector<SequenceGroup*> slots_;    // [max_num_seqs]; null: empty
  std::vector<SlotId> free_slots_;       // the runner has none of these
  std::vector<SlotId> left_slots_;       // empty here, but the runner has yet to be told
  uint64_t next_order_ = 0;

  StepPlan plan_;
  Rows rows_;
  bool in_flight_ = false;
  bool preempted_in_plan_ = false;
  bool events_delivered_ = false;
  std::vector<SchedulerEvent> events_;
  std::vector<CopyOnWrite> copies_;

  uint64_t num_preemptions_ = 0;
  uint64_t prefix_query_tokens_ = 0;
  uint64_t prefix_hit_tokens_ = 0;
  HitRateWindow hit_rate_;
};

}  // namespace quire
