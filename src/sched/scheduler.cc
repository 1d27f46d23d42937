#include "sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "sched/prompt_limit.h"
#include "sched/stop_rules.h"

namespace quire {

using State = SequenceGroup::State;

Scheduler::Scheduler(const SchedulerConfig& config, std::span<const PrefixDigest> on_disk,
                     std::shared_ptr<Drafter> drafter)
    : config_(config),
      kv_(KvConfigOf(config), {.max_blocks = config.num_disk_blocks, .max_transfers = config.max_disk_transfers},
          on_disk),
      chunk_budget_(config.chunk_budget),
      speculation_({config.max_drafts, config.paces_drafts}, std::move(drafter)),
      waiting_({config.policy == QueuePolicy::kPriority}, config.fair),
      builder_({.num_seats = config.max_num_seqs,
                .block_size = config.block_size,
                .max_chunk = config.long_prefill_token_threshold,
                .ends_chunks_with_blocks = kv_.space->keeps_prefixes()}),
      residency_({config_, *kv_.space, builder_, waiting_, events_, chunk_budget_}),
      admitter_({config_, *kv_.space, kv_.disk, builder_, waiting_, residency_, events_}),
      streams_({config_, *kv_.space, builder_, residency_, waiting_, speculation_, events_}) {
  const Status valid = ValidateSchedulerConfig(config);
  QUIRE_CHECK(valid.ok(), "{}", valid.error().message);
}

Status Scheduler::CanEverFit(const Request& request) const {
  return ProveFits(config_, request, residency_.num_pinned_blocks());
}

Status Scheduler::Add(Request request) {
  QUIRE_RETURN_IF_ERROR(CanEverFit(request));
  const RequestId id = request.id;
  if (groups_.contains(id)) return InvalidArgument("request {} is present already", static_cast<uint64_t>(id));
  if (request.pins_prompt && !kv_.space->keeps_prefixes()) {
    return InvalidArgument("a shared prefix needs the prefix cache, which is off");
  }
  const uint32_t max_total_tokens = MaxTotalTokens(request, config_.max_model_len);
  const uint32_t max_width = NumSideBySide(config_, request, residency_.num_pinned_blocks());
  auto group = std::make_unique<SequenceGroup>(std::move(request), waiting_.NextOrder(), max_total_tokens, max_width,
                                               kv_.space->cache().MakeSequence());
  group->waits_since_step = builder_.number();
  waiting_.AddActive(*group);
  waiting_.Insert(*group);
  groups_.emplace(id, std::move(group));
  return {};
}

bool Scheduler::FinishStream(RequestId id, uint32_t stream, FinishReason reason) {
  QUIRE_CHECK(reason != FinishReason::kNone);
  const auto found = groups_.find(id);
  if (found == groups_.end()) return true;
  const Streams::End end = streams_.EndOne(*found->second, stream);
  if (end == Streams::End::kNextPart) residency_.BeginNextPart(*found->second);
  if (end == Streams::End::kOver) Forget(id);
  return end == Streams::End::kOver;
}

const StepPlan& Scheduler::Plan() {
  builder_.Begin(config_.max_num_batched_tokens);
  residency_.BeginStep();
  events_.ForgetDelivered();
  PlanShares();
  PlanJoins();
  PlanDecodes();
  builder_.LimitPrompts(PromptLimit(chunk_budget_, View()));
  PlanPrompts();
  PlanSwapped();
  PlanWaiting();
  PlanDisk();
  return builder_.Finish();
}

// Who holds more than its share gives way to a client that waits: before anybody gets rows. A static batch lets nobody
// in before it ends.
void Scheduler::PlanShares() {
  if (!config_.fair || config_.batching == Batching::kStatic || waiting_.empty()) return;
  if (residency_.swapped().empty()) residency_.ShareFairly(*waiting_.First());
}

// Those who come back to a group of several streams. First of all: it may cost others their memory.
void Scheduler::PlanJoins() {
  const std::vector<SequenceGroup*>& running = residency_.running();
  for (size_t i = 0; i < running.size(); ++i) {
    if (running[i]->state == State::kRunning) residency_.Join(*running[i]);
  }
}

// Victims are always behind the one that needs memory, so no group loses its memory after room was made for it.
void Scheduler::PlanDecodes() {
  const std::vector<SequenceGroup*>& running = residency_.running();
  for (size_t i = 0; i < running.size() && builder_.rows_left() > 0; ++i) {
    SequenceGroup& group = *running[i];
    if (kv_.space->gives_back() && group.state == State::kRunning) residency_.MakeRoomForPrompts(group);
    if (!group.Decodes() || !residency_.PrepareDecode(group)) continue;
    for (Sequence& sequence : group.sequences) {
      if (!sequence.decodes()) continue;
      speculation_.enabled() ? builder_.PromiseDecode(group, sequence) : builder_.AddDecode(group, sequence);
    }
  }
  if (speculation_.enabled()) PlanDrafts();
}

void Scheduler::PlanDrafts() {
  const std::span<const Decode> decodes = builder_.promised();
  speculation_.Choose(chunk_budget_.times(), builder_.step().decodes, decodes, builder_.rows_left());
  for (size_t i = 0; i < decodes.size(); ++i) {
    Sequence& sequence = *decodes[i].sequence;
    const std::span<const int32_t> drafts = speculation_.DraftsOf(i);
    const size_t num_fitting = drafts.empty() ? 0 : residency_.PrepareDrafts(sequence, drafts.size());
    builder_.AddPromised(decodes[i], drafts.first(num_fitting));
  }
}

void Scheduler::PlanPrompts() {
  for (SequenceGroup* group : residency_.running()) {
    if (group->state != State::kRunning) continue;
    for (Sequence& sequence : group->sequences) {
      if (sequence.seat && sequence.num_remaining() > 1) AddPromptRows(*group, sequence);
    }
  }
}

// As many of those that it can have as there are left.
void Scheduler::AddPromptRows(SequenceGroup& group, Sequence& sequence) {
  const uint32_t num_wanted = group.NumCatchUp(sequence);
  if (builder_.prompt_rows_left() == 0 || num_wanted == 0) return;
  const uint32_t num_rows = residency_.PreparePrompt(sequence, builder_.ChunkFor(sequence, num_wanted));
  if (num_rows > 0) builder_.AddPrompt(group, sequence, num_rows);
}

void Scheduler::PlanSwapped() {
  while (!residency_.preempted_in_step() && residency_.ResumeFirst()) {
  }
}

void Scheduler::PlanWaiting() {
  // A request whose prefix another one is computing right now stays behind for it; so many are looked at per step.
  constexpr int kMaxPassedOver = 16;
  const bool is_static = config_.batching == Batching::kStatic;
  if (residency_.preempted_in_step() || !residency_.swapped().empty()) return admitter_.SetLacksRoom(true);
  if (is_static && !residency_.batch_is_open()) return admitter_.SetLacksRoom(!waiting_.empty());
  admitter_.SetLacksRoom(false);
  int num_passed_over = 0;
  for (SequenceGroup* group = waiting_.First(); group != nullptr;) {
    if (builder_.prompt_rows_left() == 0 && !is_static) return admitter_.SetLacksRoom(!admitter_.HasRoomFor(*group));
    const Admitter::Outcome outcome = admitter_.TryAdmit(*group);
    if (outcome == Admitter::Outcome::kNoRoom) return admitter_.SetLacksRoom(true);
    if (outcome == Admitter::Outcome::kPrefixUnderWay) {
      if (++num_passed_over == kMaxPassedOver) return;
      group = waiting_.After(*group);
      continue;
    }
    if (group->state == State::kRunning) AddPromptRows(*group, group->front());
    num_passed_over = 0;
    group = waiting_.First();
  }
}

void Scheduler::PlanDisk() {
  if (!kv_.disk.enabled()) return;
  admitter_.PlanLoads();
  const auto num_watermark = static_cast<uint32_t>(config_.watermark * config_.num_blocks);
  const uint32_t num_kept = groups_.empty() ? 0 : residency_.num_seats() * kv_.space->num_groups() + num_watermark;
  const DiskTier::Writes writes = kv_.disk.PlanWrites(builder_.number(), builder_.plan().num_rows() > 0, num_kept);
  builder_.AddWrites(writes, kv_.space->cache().index());
  if (!residency_.preempted_in_step()) builder_.AwaitTransfers();
}

std::span<const SchedulerEvent> Scheduler::Apply(const StepResult& result) {
  const Step& step = builder_.Land(result);
  chunk_budget_.Observe(step.decodes, step.load, step.limit, result.forward_us + result.sample_us);
  ApplyTransfers(result);
  GroupRowsReader reader(step, result);
  while (const auto rows = reader.Next()) {
    const auto found = groups_.find(rows->owner);
    if (found == groups_.end()) continue;
    const auto pin = [this](const SequenceGroup& group) { return residency_.PinPrompt(group, groups_); };
    const Streams::End end = streams_.Apply(*found->second, *rows, result, pin);
    if (end == Streams::End::kNextPart) residency_.BeginNextPart(*found->second);
    if (end == Streams::End::kOver) Forget(rows->owner);
    if (end == Streams::End::kAnswered) events_.Keep(Take(rows->owner));
  }
  return events_.Deliver();
}

void Scheduler::ApplyTransfers(const StepResult& result) {
  residency_.ObserveSwaps(result);
  const TransferLedger& ledger = builder_.ledger();
  const auto end_stores = [&](const std::vector<uint64_t>& ids, bool completed) {
    for (const uint64_t id : ids) {
      const PendingTransfer& transfer = ledger.At(id);
      if (transfer.kind == Transfer::Kind::kStore) kv_.disk.EndStore(transfer.digest, completed, builder_.number());
    }
  };
  end_stores(result.transfers_completed, true);
  end_stores(result.transfers_failed, false);
  // Backwards: stored blocks go back in front of those that were stored before them.
  for (size_t i = result.transfers_completed.size(); i-- > 0;) ApplyTransfer(result.transfers_completed[i], true);
  for (size_t i = result.transfers_failed.size(); i-- > 0;) ApplyTransfer(result.transfers_failed[i], false);
}

void Scheduler::ApplyTransfer(uint64_t id, bool completed) {
  const PendingTransfer transfer = builder_.ledger().Remove(id);
  SequenceGroup* group = nullptr;  // whose stay in memory it is part of, if that goes on
  if (const auto found = groups_.find(transfer.request); found != groups_.end()) {
    if (found->second->epoch == transfer.epoch) group = found->second.get();
  }
  if (transfer.is_swap()) residency_.ReportSwap(group, transfer.kind, completed);
  if (transfer.kind == Transfer::Kind::kStore) kv_.disk.GiveBack(*transfer.held, completed);
  if (transfer.kind == Transfer::Kind::kLoad) admitter_.ReportLoad(group, transfer, completed);
}

// Out of wherever it is. Null: there is none.
std::unique_ptr<SequenceGroup> Scheduler::Take(RequestId id) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return nullptr;
  std::unique_ptr<SequenceGroup> group = std::move(found->second);
  residency_.Remove(*group);
  waiting_.RemoveActive(*group);
  speculation_.Forget(id);
  groups_.erase(found);
  return group;
}

bool Scheduler::ResetPrefixCache() {
  if (!kv_.space->cache().ResetPrefixCache(residency_.num_pinned_blocks())) return false;
  kv_.disk.Clear();
  return true;
}

void Scheduler::PreemptAll() {
  QUIRE_CHECK(!builder_.in_flight());
  events_.ForgetDelivered();
  residency_.PreemptAll();
}

void Scheduler::CheckInvariants() const {
  QUIRE_CHECK_EQ(groups_.size(), residency_.running().size() + residency_.swapped().size() + waiting_.size());
  CheckInvariantsOf(View(), Account());
}

}  // namespace quire
