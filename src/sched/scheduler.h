// Scheduler: decides what each step computes. A pure state machine, driven by one thread: no clock, no thread, no
// randomness.
//
//   Add, Abort, Finish        any time between two calls
//   Plan(now) -> StepPlan     reserves memory and promises rows
//   Apply(result) -> events   commits progress: only what has been computed counts
//
// One mechanism serves prompts and decodes: each step hands out a budget of tokens, first one to every sequence that
// decodes, then chunks to the prompts that run, then to groups that come back from swap space, then to waiting requests
// in order of arrival (or priority, or fairly between clients). A request starts when all its known tokens fit into
// free blocks. When a running group needs a block and there is none, the youngest gives up all of its blocks and waits:
// its content thrown away, to be computed again, or moved to swap space; so the oldest always goes on. What the tokens
// are never depends on any of this.
//
// The streams of a request share the prompt's blocks: it is computed once, then its sequence forks, and whoever first
// writes to a shared block copies it. A beam search forks and prunes the same way at every step.
//
// scheduler.cc plans; scheduler_memory.cc promises memory, preempts and resumes; scheduler_apply.cc commits what was
// computed; scheduler_transfers.cc moves blocks to and from disk; scheduler_report.cc accounts for every slot.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "kv/disk_index.h"
#include "kv/hit_rate_window.h"
#include "kv/kv_manager.h"
#include "kv/kv_policy.h"
#include "kv/slot_account.h"
#include "kv/swap_space.h"
#include "quire/result.h"
#include "sched/chunk_budget.h"
#include "sched/request.h"
#include "sched/scheduler_config.h"
#include "sched/sequence.h"
#include "sched/step_plan.h"
#include "sched/transfer_cost.h"
#include "sched/waiting_queue.h"

namespace quire {

// What happened to a request, which may have been aborted since. The spans point into the result that was applied, or
// into the scheduler. A request of several streams has kTokens and kFinished events for each: streams 0 to best_of - 1
// as they are sampled; of a beam search streams 0 to n - 1, the best hypothesis first, all tokens of each at once when
// the search ends.
struct SchedulerEvent {
  enum class Kind : uint8_t {
    kAdmitted,        // it runs: num_cached_tokens of it were in the prefix cache; or it runs again
    kPreempted,       // it waits again; what it has said stands. preemption and `error` (why) are set
    kPromptLogprobs,  // tokens: scores of the prompt's tokens from `position` on
    kTokens,          // tokens: generated for `stream`, from `position` on
    kFinished,        // `stream`: reason, stop_token; follows its last kTokens. With `last`, the scheduler has
                      // forgotten the request
    kFailed,          // the whole request: error, at `position`; the scheduler has forgotten it
  };
  Kind kind = Kind::kAdmitted;
  RequestId request = {};
  uint32_t stream = 0;
  uint32_t num_cached_tokens = 0;
  uint32_t position = 0;  // in prompt + output
  std::span<const TokenOutput> tokens;
  bool ends_by_token = false;             // kTokens: the last of them is an end token, and kFinished follows
  std::span<const Candidate> candidates;  // what TokenOutput::first_candidate counts in
  FinishReason reason = FinishReason::kNone;
  bool last = false;
  int32_t stop_token = -1;  // the member of stop_token_ids that ended it, or -1
  float score = 0;          // kFinished of a beam search: the hypothesis', with its length penalty
  PreemptionMode preemption = PreemptionMode::kRecompute;  // kRecompute or kSwap
  std::string_view error;                                  // static
};

struct SchedulerStats {
  uint32_t num_running = 0;  // sequences
  uint32_t num_waiting = 0;  // requests, with those that were preempted
  uint32_t num_swapped = 0;  // requests of these in swap space
  uint64_t num_waiting_tokens = 0;
  uint64_t num_preemptions_recompute = 0;
  uint64_t num_preemptions_swap = 0;
  uint64_t num_preemptions() const { return num_preemptions_recompute + num_preemptions_swap; }
  uint64_t num_blocks_swapped_out = 0;
  uint64_t num_blocks_swapped_in = 0;
  uint64_t num_swap_failures = 0;
  uint64_t num_blocks_copied = 0;  // on write
  uint32_t num_blocks_total = 0;
  uint32_t num_blocks_used = 0;
  uint32_t num_blocks_cached = 0;
  uint32_t num_blocks_free = 0;
  uint64_t prefix_query_tokens = 0;   // counted once per admission
  uint64_t prefix_hit_tokens = 0;     // in memory or on disk
  double recent_prefix_hit_rate = 0;  // of the latest thousand admissions
  uint32_t num_disk_blocks = 0;
  uint64_t num_disk_blocks_stored = 0;
  uint64_t num_disk_blocks_loaded = 0;
  uint64_t num_disk_store_failures = 0;
  uint64_t num_disk_load_failures = 0;  // files that were gone, damaged, foreign, or unreadable just then
  uint64_t num_disk_blocks_missed = 0;  // evicted from memory before they could be stored
  SlotAccount slots;
};

// What /debug/kv shows.
struct KvReport {
  struct Sequence {
    uint32_t stream = 0;
    uint32_t num_tokens = 0;
    uint32_t num_computed = 0;
    std::vector<BlockId> blocks;
    uint32_t num_shared_blocks = 0;  // of these, somebody else holds too
  };
  struct Group {
    RequestId request = {};
    const char* state = "";  // "waiting", "loading", "running", "swapped", "resuming"
    uint32_t num_prompt_tokens = 0;
    uint32_t num_swapped_blocks = 0;
    std::vector<Sequence> sequences;
  };
  SlotAccount slots;
  uint32_t block_size = 0;
  uint32_t num_blocks = 0;
  uint32_t num_pinned_blocks = 0;
  std::vector<Group> groups;
};

class Scheduler {
 public:
  // `on_disk`: what the prefix cache on disk holds already, the least recently used first.
  // REQUIRES: ValidateSchedulerConfig(config).
  explicit Scheduler(const SchedulerConfig& config, std::span<const PrefixDigest> on_disk = {});
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  const SchedulerConfig& config() const { return config_; }

  // Whether it could run alone. Between steps.
  Status CanEverFit(const Request& request) const;
  // Queues it. Refuses what can never fit and an id that is present.
  Status Add(Request request);
  // Forgets a request, with no event; an unknown id is none of its business. Memory is free at once, its slots with the
  // next plan.
  void Abort(RequestId id) { Forget(id); }
  // A stream that the engine has seen to its end, such as by a stop string. True: it was the request's last, which is
  // forgotten. REQUIRES: it is not a beam search.
  bool FinishStream(RequestId id, uint32_t stream, FinishReason reason);

  // The next step. An empty plan need not be submitted; any other must be applied before the next is asked for. The
  // plan is valid until the next call of Plan.
  const StepPlan& Plan(TimeUs now);
  // REQUIRES: `result` answers the last plan. Sequences that have ended since are skipped. The events, and those of the
  // plan, are valid until the next call of Plan, and their spans while `result` is unchanged.
  std::span<const SchedulerEvent> Apply(const StepResult& result);

  // Whether a request runs or waits, or a transfer is under way.
  bool HasWork() const { return !groups_.empty() || !transfers_.empty(); }
  // Whether somebody waited for seats or memory in the last plan, and not for its budget of tokens alone.
  bool lacks_room() const { return lacks_room_; }
  SchedulerStats Stats() const;
  KvReport ReportKv() const;
  // Forgets every cached prefix that is not pinned, in memory and on disk; false, and nothing has changed, while any
  // other block is in use.
  bool ResetPrefixCache();
  uint32_t num_pinned_blocks() const { return num_pinned_blocks_; }
  // Has the plans that follow store every cached prefix that is not on disk yet, as far as the disk cache has room: for
  // a process that is about to end. It is over when all is stored, or a store has failed.
  void StorePrefixCache();
  bool stores_prefix_cache() const { return stores_all_; }
  bool prefix_cache_is_stored() const { return all_stored_; }  // by the last StorePrefixCache
  // Moves every running group back to waiting, to be computed again. REQUIRES: no step is in flight.
  void PreemptAll();

  void CheckInvariants() const;

 private:
  using State = SequenceGroup::State;
  enum class Admit : uint8_t { kYes, kNoRoom, kPrefixUnderWay };
  enum class Memory : uint8_t { kReserved, kPreempted, kMustWait };
  struct Rows {
    uint32_t left = 0;         // of the step
    uint32_t prompt_left = 0;  // of these, for prompts
    StepLoad planned;          // so far
    StepLoad decodes;          // of these
    ChunkLimit limit;          // of prompt_left
  };
  // A transfer that has not been reported. The block is held by it.
  struct PendingTransfer {
    Transfer::Kind kind = Transfer::Kind::kStore;
    std::optional<BlockId> held;
    PrefixDigest digest;
    RequestId request = {};
    uint32_t epoch = 0;         // of the group's stay in memory
    uint32_t loaded_index = 0;  // of SequenceGroup::loaded
  };
  // What a beam that was replaced, or a new stream, takes from its parent; the runner hears of it with the next plan.
  struct PendingFork {
    SlotFork fork;
    std::vector<std::pair<BlockId, BlockId>> copies;  // contiguous memory: the parent's blocks to the child's own
  };

  // scheduler.cc
  Status FitsBeside(const Request& request, uint32_t num_pinned_blocks) const;
  void ForgetDelivered();
  void BeginPlan();
  void SendForks();
  void PlanJoins();
  void PlanDecodes();
  bool Decodes(const SequenceGroup& group) const;
  ChunkLimit PromptBudget() const;
  void PlanPrompts();
  void PlanPromptOf(SequenceGroup& group);
  void PlanSwapped();
  void PlanWaiting();
  bool HasRoomFor(const SequenceGroup& group) const;
  Admit TryAdmit(SequenceGroup& group);
  bool PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const;
  uint32_t ChunkOf(const Sequence& sequence, uint32_t num_wanted) const;
  void SendBlocks(Sequence& sequence, uint32_t end);
  void AddRows(SequenceGroup& group, Sequence& sequence, uint32_t num_rows);
  void AddTasks(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span);
  void ReportAdmission(const SequenceGroup& group);

  // scheduler_memory.cc
  uint32_t NumSlotsAtAdmission(const SequenceGroup& group) const;
  bool FitsNow(const SequenceGroup& group, const KvManager::Match& match) const;
  void Enter(SequenceGroup& group, const KvManager::Match& match);
  void ReserveChunks(SequenceGroup& group);
  void SitDown(SequenceGroup& group, Sequence& sequence);
  SlotId TakeSlot();
  void ExpectGrowth(const SequenceGroup& group, Sequence& sequence);
  uint32_t NumSharedWithFront(const SequenceGroup& group, const Sequence& sequence) const;
  void JoinSequences(SequenceGroup& group);
  uint32_t NumBlocksToDecode(const SequenceGroup& group) const;
  // Makes num_blocks available, by preemption of younger groups if need be.
  Memory MakeRoom(SequenceGroup& group, uint32_t num_blocks);
  void PrepareWrite(Sequence& sequence, uint32_t end);
  bool ResumeSwapped(SequenceGroup& group);
  PreemptionMode ChoosePreemption(const SequenceGroup& victim) const;
  void Preempt(SequenceGroup& group);
  bool SwapOut(SequenceGroup& group);
  void DropFromPlan(SequenceGroup& group);
  void Wait(SequenceGroup& group);
  // Gives back memory and slots. The group stays known.
  void Leave(SequenceGroup& group);
  void LeaveSlot(Sequence& sequence);
  void EndStream(SequenceGroup& group, Sequence& sequence);
  void HoldForBatch(Sequence& sequence);
  void Forget(RequestId id);
  void Dismiss(SequenceGroup& group);
  bool PinPrompt(const SequenceGroup& group);
  void Insert(std::vector<SequenceGroup*>& groups, SequenceGroup& group);

  // scheduler_apply.cc
  // The spans of one group in the plan, with their tasks; its rows were planned together.
  struct GroupRows {
    std::span<const PlanSpan> spans;
    std::span<const RowTask> tasks;
    std::span<const TaskResult> outcomes;
  };
  GroupRows NextGroup(size_t& span, size_t& task, const StepResult& result) const;
  void ApplyGroup(SequenceGroup& group, const GroupRows& rows, const StepResult& result);
  void CommitRows(SequenceGroup& group, const PlanSpan& span);
  void EmitScores(SequenceGroup& group, const RowTask& task, std::span<const TokenOutput> scores,
                  const StepResult& result);
  void ApplyDraws(RequestId id, const RowTask& task, std::span<const TokenOutput> drawn, const StepResult& result);
  void AddSequences(SequenceGroup& group);
  void AppendTokens(RequestId id, uint32_t stream, std::span<const TokenOutput> drawn, const StepResult& result);
  void ApplyBeams(SequenceGroup& group, const GroupRows& rows, const StepResult& result);
  void ApplySurvivors(SequenceGroup& group, std::span<const BeamSearch::Survivor> survivors);
  void AnswerBeams(SequenceGroup& group);
  void ForkInto(SequenceGroup& group, Sequence& child, const Sequence& parent);
  void Fail(SequenceGroup& group, const RowTask& task);
  SchedulerEvent& Emit(SchedulerEvent::Kind kind, const SequenceGroup& group);

  // scheduler_transfers.cc
  bool uses_disk() const { return disk_.max_blocks() > 0; }
  uint32_t NumWritesLeft() const;
  Transfer& AddTransfer(const PendingTransfer& pending);
  std::span<const PrefixDigest> MatchOnDisk(const SequenceGroup& group, uint32_t num_matched,
                                            const PrefixDigest& matched);
  void StartLoads(SequenceGroup& group, uint32_t first_block, PrefixDigest parent,
                  std::span<const PrefixDigest> digests);
  void PlanLoads();
  void IssueLoad(SequenceGroup& group);
  void AttachTokens(Transfer& transfer, std::span<const int32_t> tokens);
  void PlanDisk();
  void ChooseStores();
  void ChooseRemainingStores();
  uint32_t NumStoresLeft() const;
  void ApplyTransfers(const StepResult& result);
  void ApplyTransfer(uint64_t id, bool completed);
  void ApplySwap(SequenceGroup* group, Transfer::Kind kind, bool completed);
  void FinishLoads(SequenceGroup& group);

  // scheduler_report.cc
  SlotAccount Account() const;
  void CountTail(const SequenceGroup& group, const Sequence& sequence, SlotAccount& account) const;
  uint64_t NumHeld() const;
  uint64_t NumExternal() const;
  KvReport::Group ReportGroup(const SequenceGroup& group) const;
  void CheckGroups() const;
  void CheckReferences() const;

  const SchedulerConfig config_;
  const KvPolicy& kv_policy_;
  const Before before_;
  KvManager kv_;
  SwapSpace swap_;
  DiskIndex disk_;
  ChunkBudget chunk_budget_;
  TransferCost swap_cost_;

  std::unordered_map<RequestId, std::unique_ptr<SequenceGroup>> groups_;
  WaitingQueue waiting_;
  std::vector<SequenceGroup*> swapped_;  // by Before: the oldest first
  std::vector<SequenceGroup*> running_;  // by Before; loading and resuming ones too
  std::vector<SequenceGroup*> slots_;    // [max_num_seqs]; null: empty
  std::vector<SlotId> free_slots_;       // the runner has none of these
  std::vector<SlotId> left_slots_;       // empty here, but the runner has yet to be told
  uint32_t num_seats_ = 0;               // of the running groups
  uint64_t next_order_ = 0;
  uint64_t next_rank_ = 0;
  uint64_t num_waiting_tokens_ = 0;

  std::vector<BlockTable> pinned_;
  uint32_t num_pinned_blocks_ = 0;
  std::vector<BlockTable> held_;  // of ended sequences whose batch has not ended

  std::unordered_map<uint64_t, PendingTransfer> transfers_;
  uint32_t num_disk_transfers_ = 0;
  uint32_t num_disk_writes_ = 0;          // of these, stores
  uint32_t num_disk_reads_ = 0;           // of these, loads
  std::optional<BlockId> next_to_store_;  // where ChooseStores goes on,
  uint32_t num_passed_ = 0;               // so many blocks from the next eviction
  uint64_t stores_resume_at_step_ = 0;
  bool stores_all_ = false;                // StorePrefixCache is under way
  bool all_stored_ = false;                // it has been, without a failure
  std::vector<BlockId> remaining_stores_;  // from the end
  uint64_t swapping_resumes_at_step_ = 0;
  uint32_t num_blocks_in_transfer_ = 0;
  uint64_t next_transfer_ = 1;
  std::vector<PrefixDigest> drops_;

  StepPlan plan_;
  std::vector<RequestId> span_requests_;  // by span of the plan: whose slot it was
  Rows rows_;
  bool in_flight_ = false;
  bool preempted_in_plan_ = false;
  bool batch_is_open_ = false;  // a static batch is being filled
  bool lacks_room_ = false;
  bool events_delivered_ = false;
  std::vector<SchedulerEvent> events_;
  std::vector<std::unique_ptr<SequenceGroup>> answered_;  // events point into these
  std::vector<PendingFork> forks_;
  std::vector<TokenAppend> token_appends_;

  // Reused, so that steps allocate nothing.
  std::vector<CopyOnWrite> copies_;
  std::vector<SwapMove> moves_;
  std::vector<std::span<const TokenOutput>> best_;
  std::vector<std::span<const TokenOutput>> search_;
  std::vector<PrefixDigest> on_disk_;
  std::vector<BlockId> stores_;
  mutable std::vector<std::pair<BlockId, uint32_t>> write_counts_;
  mutable std::vector<uint32_t> counted_in_;  // [blocks]: the account that counted it last
  mutable uint32_t account_number_ = 0;
  mutable std::vector<uint32_t> held_counts_;  // [blocks]: by how many tables of held_

  SchedulerStats counters_;  // what only ever grows
  HitRateWindow hit_rate_;
};

}  // namespace quire
