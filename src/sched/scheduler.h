// Scheduler: decides what each step computes. A pure state machine, driven by one thread: no clock, no thread, no
// randomness.
//
//   Add, Abort, FinishStream   any time between two calls
//   Plan() -> StepPlan         reserves memory and promises rows
//   Apply(result) -> events    commits progress: only what has been computed counts
//
// One mechanism serves prompts and decodes: each step hands out a budget of tokens, first one to every sequence that
// decodes, then chunks to the prompts that run, then to groups that come back from swap space, then to waiting requests
// in order of arrival (or priority, or fairly between clients). A request starts when all its known tokens (of a
// window, as many as a prompt needs to go on) fit into free blocks. When a running group needs a block and there is
// none, the youngest gives up all of its blocks and waits: its content thrown away, to be computed again, or moved to
// swap space; so the oldest always goes on. What the tokens are never depends on any of this.
//
// The streams of a request share the prompt's blocks: it is computed once, then its sequence forks, and whoever first
// writes to a shared block copies it. A beam search forks and prunes the same way at every step.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "kv/kv_tiers.h"
#include "quire/result.h"
#include "sched/admitter.h"
#include "sched/chunk_budget.h"
#include "sched/request.h"
#include "sched/residency.h"
#include "sched/scheduler_config.h"
#include "sched/scheduler_event.h"
#include "sched/scheduler_report.h"
#include "sched/sequence.h"
#include "sched/speculation.h"
#include "sched/step_builder.h"
#include "sched/streams.h"
#include "sched/waiting_queue.h"

namespace quire {

class Scheduler {
 public:
  // `on_disk`: what the prefix cache on disk holds already, the least recently used first. `drafter`: whose guesses are
  // verified beside what is drawn anyway, if any.
  // REQUIRES: ValidateSchedulerConfig(config).
  explicit Scheduler(const SchedulerConfig& config, std::span<const PrefixDigest> on_disk = {},
                     std::shared_ptr<Drafter> drafter = nullptr);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  const SchedulerConfig& config() const { return config_; }

  // Whether it could run alone. Between steps.
  Status CanEverFit(const Request& request) const;
  // Queues it. Refuses what can never fit and an id that is present.
  Status Add(Request request);
  // Forgets a request, with no event; an unknown id is none of its business. Memory is free at once, its seats with the
  // next plan.
  void Abort(RequestId id) { Forget(id); }
  // A stream that the engine has seen to its end, such as by a stop string. True: it was the request's last, which is
  // forgotten. REQUIRES: it is not a beam search.
  bool FinishStream(RequestId id, uint32_t stream, FinishReason reason);

  // The next step. An empty plan need not be submitted; any other must be applied before the next is asked for. The
  // plan is valid until the next call of Plan.
  const StepPlan& Plan();
  // REQUIRES: `result` answers the last plan. Sequences that have ended since are skipped. The events, and those of the
  // plan, are valid until the next call of Plan, and their spans while `result` is unchanged.
  std::span<const SchedulerEvent> Apply(const StepResult& result);

  // Whether a request runs or waits, or a transfer is under way.
  bool HasWork() const { return !groups_.empty() || !builder_.ledger().empty(); }
  // Whether somebody waited for seats or memory in the last plan, and not for its budget of tokens alone.
  bool lacks_room() const { return admitter_.lacks_room(); }
  SchedulerStats Stats() const { return StatsOf(View(), Account()); }
  KvReport ReportKv() const { return ReportOf(View(), Account()); }
  void CheckInvariants() const;
  // Forgets every cached prefix that is not pinned, in memory and on disk; false, and nothing has changed, while any
  // other block is in use.
  bool ResetPrefixCache();
  uint32_t num_pinned_blocks() const { return residency_.num_pinned_blocks(); }
  // Has the plans that follow store every cached prefix that is not on disk yet, as far as the disk cache has room: for
  // a process that is about to end. It is over when all is stored, or a store has failed.
  void StorePrefixCache() { kv_.disk.StoreAll(); }
  bool stores_prefix_cache() const { return kv_.disk.stores_all(); }
  bool prefix_cache_is_stored() const { return kv_.disk.all_stored(); }  // by the last StorePrefixCache
  // Moves every running group back to waiting, to be computed again. REQUIRES: no step is in flight.
  void PreemptAll();

 private:
  void PlanShares();
  void PlanJoins();
  void PlanDecodes();
  void PlanDrafts();
  void PlanPrompts();
  void PlanSwapped();
  void PlanWaiting();
  void PlanDisk();
  void AddPromptRows(SequenceGroup& group, Sequence& sequence);
  void ApplyTransfers(const StepResult& result);
  void ApplyTransfer(uint64_t id, bool completed);
  void Forget(RequestId id) { Take(id); }
  std::unique_ptr<SequenceGroup> Take(RequestId id);
  SchedulerView View() const {
    return {config_, *kv_.space, kv_.disk, builder_, waiting_, residency_, admitter_, speculation_};
  }
  SlotAccount Account() const { return accountant_.Account(View()); }

  const SchedulerConfig config_;
  KvTiers kv_;
  ChunkBudget chunk_budget_;
  Speculation speculation_;
  SequenceGroups groups_;
  WaitingQueue waiting_;
  StepBuilder builder_;
  EventLog events_;
  Residency residency_;
  Admitter admitter_;
  Streams streams_;
  mutable SlotAccountant accountant_;
};

}  // namespace quire
