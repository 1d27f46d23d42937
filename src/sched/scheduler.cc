// What a step computes: who gets rows, in which order, under which budget.
#include "sched/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "sched/stop_rules.h"

namespace quire {
namespace {

KvConfig MakeKvConfig(const SchedulerConfig& config) {
  return {.num_blocks = config.num_blocks,
          .block_size = config.block_size,
          .enable_prefix_caching = config.enable_prefix_caching,
          .num_watermark_blocks = static_cast<uint32_t>(config.watermark * config.num_blocks),
          .hash_seed = config.hash_seed,
          .policy = config.kv_policy,
          .max_model_len = config.max_model_len};
}

SchedulerConfig WithPolicy(SchedulerConfig config) {
  // Contiguous memory is shared by nobody, so that no prefix can be kept either.
  if (KvPolicy::Of(config.kv_policy).contiguous()) config.enable_prefix_caching = false;
  if (!config.enable_prefix_caching) config.num_disk_blocks = 0;
  return config;
}

// Whether a group goes to swap space or comes back: then the next plan finds something else.
bool MovesSwapped(const StepPlan& plan) {
  return std::ranges::any_of(plan.transfers, [](const Transfer& transfer) {
    return transfer.kind == Transfer::Kind::kSwapOut || transfer.kind == Transfer::Kind::kSwapIn;
  });
}

}  // namespace

Scheduler::Scheduler(const SchedulerConfig& config, std::span<const PrefixDigest> on_disk)
    : config_(WithPolicy(config)),
      kv_policy_(KvPolicy::Of(config.kv_policy)),
      before_{config.policy == QueuePolicy::kPriority},
      kv_(MakeKvConfig(config_)),
      swap_(config.num_swap_blocks),
      disk_(config_.num_disk_blocks, on_disk),
      chunk_budget_(config.chunk_budget),
      waiting_(before_, config.fair),
      slots_(config.max_num_seqs, nullptr),
      counted_in_(config.num_blocks, 0) {
  const Status valid = ValidateSchedulerConfig(config);
  QUIRE_CHECK(valid.ok(), "{}", valid.error().message);
  for (uint32_t i = config.max_num_seqs; i-- > 0;) free_slots_.push_back(SlotId{i});
  left_slots_.reserve(config.max_num_seqs);
  running_.reserve(config.max_num_seqs);
  drops_ = disk_.TakeExcess();
}

Status Scheduler::CanEverFit(const Request& request) const { return FitsBeside(request, num_pinned_blocks_); }

Status Scheduler::FitsBeside(const Request& request, uint32_t num_pinned_blocks) const {
  const auto room = static_cast<int64_t>(config_.max_model_len) - static_cast<int64_t>(request.prompt.size());
  SamplingParams params = request.params;
  if (!params.max_tokens) params.max_tokens = static_cast<int32_t>(std::max<int64_t>(room, 1));
  return ProveFits(config_, request.prompt.size(), params, num_pinned_blocks);
}

Status Scheduler::Add(Request request) {
  QUIRE_RETURN_IF_ERROR(CanEverFit(request));
  const RequestId id = request.id;
  if (groups_.contains(id)) return InvalidArgument("request {} is present already", static_cast<uint64_t>(id));
  if (request.pins_prompt && !config_.enable_prefix_caching) {
    return InvalidArgument("a shared prefix needs the prefix cache, which is off");
  }
  const uint32_t max_total_tokens = MaxTotalTokens(request, config_.max_model_len);
  auto group = std::make_unique<SequenceGroup>(std::move(request), next_order_++, max_total_tokens, kv_.MakeTable());
  group->waits_since_step = plan_.step;
  waiting_.AddActive(*group);
  waiting_.Insert(*group);
  num_waiting_tokens_ += group->front().num_tokens();
  groups_.emplace(id, std::move(group));
  return {};
}

bool Scheduler::FinishStream(RequestId id, uint32_t stream, FinishReason reason) {
  QUIRE_CHECK(reason != FinishReason::kNone);
  const auto found = groups_.find(id);
  if (found == groups_.end()) return true;
  SequenceGroup& group = *found->second;
  QUIRE_CHECK(!group.is_beams(), "the beams of request {} end together", static_cast<uint64_t>(id));
  const auto sequence = std::ranges::find(group.sequences, stream, &Sequence::stream);
  if (sequence == group.sequences.end()) return false;
  if (group.sequences.size() == 1 && group.has_forked) {
    Forget(id);
    return true;
  }
  QUIRE_CHECK(group.has_forked, "stream {} of request {} has not begun", stream, static_cast<uint64_t>(id));
  EndStream(group, *sequence);
  return false;
}

const StepPlan& Scheduler::Plan(TimeUs /*now*/) {
  QUIRE_CHECK(!in_flight_, "step {} has not been applied", plan_.step);
  BeginPlan();
  PlanJoins();
  PlanDecodes();
  rows_.limit = PromptBudget();
  rows_.prompt_left = std::min(rows_.left, rows_.limit.num_tokens);
  PlanPrompts();
  if (!preempted_in_plan_) PlanSwapped();
  if (!preempted_in_plan_ && swapped_.empty()) {
    PlanWaiting();
  } else {
    lacks_room_ = true;
  }
  if (uses_disk()) PlanDisk();
  plan_.await_transfers = plan_.tokens.empty() && plan_.admissions.empty() && num_disk_transfers_ > 0 &&
                          !preempted_in_plan_ && !MovesSwapped(plan_);
  in_flight_ = !plan_.empty();
  return plan_;
}

void Scheduler::ForgetDelivered() {
  if (!std::exchange(events_delivered_, false)) return;
  events_.clear();
  answered_.clear();
}

void Scheduler::BeginPlan() {
  ForgetDelivered();
  const uint64_t step = plan_.step + 1;
  plan_.Clear();
  plan_.step = step;
  span_requests_.clear();
  rows_ = {.left = config_.max_num_batched_tokens};
  preempted_in_plan_ = false;
  if (running_.empty()) held_.clear();
  batch_is_open_ = running_.empty() && swapped_.empty();
  SendForks();
  for (const SlotId slot : left_slots_) {
    plan_.removals.push_back(slot);
    free_slots_.push_back(slot);
  }
  left_slots_.clear();
}

void Scheduler::SendForks() {
  for (const PendingFork& pending : forks_) {
    plan_.forks.push_back(pending.fork);
    for (uint32_t i = 0; i < pending.copies.size(); ++i) {
      plan_.copies.push_back({pending.fork.child, i, pending.copies[i].first, pending.copies[i].second});
    }
  }
  forks_.clear();
  plan_.token_appends.swap(token_appends_);
  token_appends_.clear();
}

bool Scheduler::Decodes(const SequenceGroup& group) const {
  if (group.state != State::kRunning) return false;
  const auto decodes = [](const Sequence& s) { return s.slot && s.num_remaining() == 1; };
  return group.is_beams() ? std::ranges::all_of(group.sequences, decodes)
                          : std::ranges::any_of(group.sequences, decodes);
}

// Those who come back to a group of several streams. First of all: it may cost others their memory.
void Scheduler::PlanJoins() {
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->state == State::kRunning) JoinSequences(*running_[i]);
  }
}

// Victims are always behind the one that needs memory, so no group loses its memory after it got rows.
void Scheduler::PlanDecodes() {
  for (size_t i = 0; i < running_.size() && rows_.left > 0; ++i) {
    SequenceGroup& group = *running_[i];
    if (!Decodes(group)) continue;
    if (MakeRoom(group, NumBlocksToDecode(group)) != Memory::kReserved) continue;
    for (Sequence& sequence : group.sequences) {
      if (!sequence.slot || sequence.num_remaining() != 1) continue;
      PrepareWrite(sequence, sequence.num_tokens());
      AddRows(group, sequence, 1);
    }
  }
  rows_.decodes = rows_.planned;
}

// Who waits for seats or memory is not put off by decodes.
ChunkLimit Scheduler::PromptBudget() const {
  constexpr int kMostAsked = 16;  // of those who do not run yet: by more of them no step would be changed
  if (!chunk_budget_.Limits(rows_.decodes)) return {};
  PromptDemand demand = chunk_budget_.NoDemand();
  for (const SequenceGroup* group : running_) {
    if (group->state != State::kRunning || Decodes(*group)) continue;
    const Sequence& front = group->front();
    demand.Add(front.num_remaining(), front.num_computed, plan_.step - group->waits_since_step);
  }
  const SequenceGroup* group = lacks_room_ ? nullptr : waiting_.First();
  for (int i = 0; i < kMostAsked && group != nullptr; ++i, group = waiting_.After(*group)) {
    demand.Add(group->front().num_tokens(), 0, plan_.step - group->waits_since_step);
  }
  // Most steps only decode: then there is nobody whom a limit would concern.
  if (demand.num_prompts() == 0 && waiting_.First() == nullptr && swapped_.empty()) return {};
  return chunk_budget_.Limit(rows_.decodes, demand);
}

void Scheduler::PlanPrompts() {
  for (size_t i = 0; i < running_.size() && rows_.prompt_left > 0; ++i) {
    if (running_[i]->state == State::kRunning) PlanPromptOf(*running_[i]);
  }
}

void Scheduler::PlanPromptOf(SequenceGroup& group) {
  for (Sequence& sequence : group.sequences) {
    if (rows_.prompt_left == 0) return;
    const uint32_t num_wanted = group.NumCatchUp(sequence);
    if (!sequence.slot || sequence.num_remaining() == 1 || num_wanted == 0) continue;
    const uint32_t num_rows = ChunkOf(sequence, num_wanted);
    const uint32_t end = sequence.num_computed + num_rows;
    QUIRE_CHECK_EQ(sequence.table.NumBlocksToWrite(sequence.num_computed, end), 0U);  // since it joined
    AddRows(group, sequence, num_rows);
    rows_.prompt_left -= num_rows;
  }
}

void Scheduler::PlanSwapped() {
  while (!swapped_.empty() && ResumeSwapped(*swapped_.front())) {
  }
}

void Scheduler::PlanWaiting() {
  // A request whose prefix another one is computing right now stays behind for it; so many are looked at per step.
  constexpr int kMaxPassedOver = 16;
  const bool is_static = config_.batching == Batching::kStatic;
  lacks_room_ = false;
  if (is_static && !batch_is_open_) {
    lacks_room_ = waiting_.First() != nullptr;
    return;
  }
  int num_passed_over = 0;
  for (SequenceGroup* group = waiting_.First(); group != nullptr;) {
    if (rows_.prompt_left == 0 && !is_static) {
      lacks_room_ = !HasRoomFor(*group);
      return;
    }
    const Admit admit = TryAdmit(*group);
    lacks_room_ = admit == Admit::kNoRoom;
    if (lacks_room_) return;
    if (admit == Admit::kPrefixUnderWay) {
      if (++num_passed_over == kMaxPassedOver) return;
      group = waiting_.After(*group);
      continue;
    }
    Sequence& front = group->front();
    if (group->state == State::kRunning && rows_.prompt_left > 0 && group->NumCatchUp(front) > 0) {
      const uint32_t num_rows = ChunkOf(front, group->NumCatchUp(front));
      AddRows(*group, front, num_rows);
      rows_.prompt_left -= num_rows;
    }
    num_passed_over = 0;
    group = waiting_.First();
  }
}

// If no prefix of it is cached.
bool Scheduler::HasRoomFor(const SequenceGroup& group) const {
  return num_seats_ + group.num_seats() <= config_.max_num_seqs && FitsNow(group, kv_.NoMatch(group.scope()));
}

Scheduler::Admit Scheduler::TryAdmit(SequenceGroup& group) {
  // Matching a long prompt costs more than a step should spend on who cannot run.
  constexpr uint64_t kStepsBetweenTries = 16;
  if (num_seats_ + group.num_seats() > config_.max_num_seqs) return Admit::kNoRoom;
  const uint32_t num_available = kv_.pool().num_available();
  if (!running_.empty() && num_available <= group.num_available_then && plan_.step < group.asked_again_at_step) {
    return Admit::kNoRoom;
  }
  // Scores need the rows that a hit would save.
  const bool reads = config_.enable_prefix_caching && group.request.reads_prefix_cache && !group.wants_prompt_scores();
  const KvManager::Match match =
      reads ? kv_.MatchPrefix(group.scope(), group.front().tokens) : kv_.NoMatch(group.scope());
  if (reads && config_.batching == Batching::kContinuous &&
      PrefixIsUnderWay(group, static_cast<uint32_t>(match.blocks.size()) * config_.block_size)) {
    return Admit::kPrefixUnderWay;
  }
  if (!FitsNow(group, match)) {
    if (reads) {
      group.num_available_then = num_available;
      group.asked_again_at_step = plan_.step + kStepsBetweenTries;
    }
    return Admit::kNoRoom;
  }
  group.asked_again_at_step = 0;
  waiting_.Remove(group);
  num_waiting_tokens_ -= group.front().num_tokens();
  const auto num_matched = static_cast<uint32_t>(match.blocks.size());
  if (uses_disk()) {  // what is hot in memory is not what the disk gives up
    for (size_t i = num_matched; i-- > 0;) disk_.Touch(kv_.index().DigestOf(match.blocks[i]));
  }
  const PrefixDigest matched = match.chain.digest;
  const bool first_admission = group.rank == SequenceGroup::kNotAdmitted;
  if (first_admission) group.rank = config_.fair ? next_rank_++ : group.order;
  Enter(group, match);
  const Sequence& front = group.front();
  if (first_admission) waiting_.Charge(group, front.num_remaining());
  std::span<const PrefixDigest> on_disk;
  if (reads) {
    counters_.prefix_query_tokens += front.num_tokens();
    on_disk = MatchOnDisk(group, num_matched, matched);
  }
  if (on_disk.empty()) {
    ReportAdmission(group);
  } else {
    StartLoads(group, num_matched, matched, on_disk);
  }
  return Admit::kYes;
}

void Scheduler::ReportAdmission(const SequenceGroup& group) {
  const Sequence& front = group.front();
  if (config_.enable_prefix_caching && group.request.reads_prefix_cache && !group.wants_prompt_scores()) {
    counters_.prefix_hit_tokens += front.num_computed;
    hit_rate_.Add(1, front.num_tokens(), front.num_computed);
  }
  Emit(SchedulerEvent::Kind::kAdmitted, group).num_cached_tokens = front.num_computed;
}

// Whether a running prompt will soon have computed more of this one's prefix than is indexed now.
bool Scheduler::PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const {
  const std::vector<int32_t>& tokens = group.front().tokens;
  const uint32_t worth_waiting = num_matched_tokens + config_.block_size;
  if (tokens.size() <= worth_waiting) return false;
  return std::ranges::any_of(running_, [&](const SequenceGroup* other) {
    const Sequence& sequence = other->front();
    return sequence.num_tokens() >= worth_waiting && sequence.num_computed < worth_waiting &&
           other->request.writes_prefix_cache && other->request.adapter_id == group.request.adapter_id &&
           other->request.cache_salt == group.request.cache_salt &&
           std::equal(tokens.begin(), tokens.begin() + worth_waiting, sequence.tokens.begin());
  });
}

// REQUIRES: num_wanted and what is left for prompts are above 0.
uint32_t Scheduler::ChunkOf(const Sequence& sequence, uint32_t num_wanted) const {
  uint32_t chunk = std::min(num_wanted, rows_.prompt_left);
  if (config_.long_prefill_token_threshold > 0) chunk = std::min(chunk, config_.long_prefill_token_threshold);
  if (!config_.enable_prefix_caching || chunk == num_wanted) return chunk;
  // A chunk that ends with a block leaves nothing computed that cannot be shared yet: worth a small part of the chunk.
  constexpr uint32_t kSmallPart = 8;
  const uint32_t odd = (sequence.num_computed + chunk) % config_.block_size;
  return odd <= chunk / kSmallPart ? chunk - odd : chunk;
}

// The blocks of tokens [0, end), as far as the runner does not know them.
void Scheduler::SendBlocks(Sequence& sequence, uint32_t end) {
  const uint32_t num_blocks = BlocksForTokens(end, config_.block_size);
  for (; sequence.num_blocks_sent < num_blocks; ++sequence.num_blocks_sent) {
    plan_.appended_blocks.push_back({*sequence.slot, sequence.table.blocks()[sequence.num_blocks_sent]});
  }
}

void Scheduler::AddRows(SequenceGroup& group, Sequence& sequence, uint32_t num_rows) {
  const PlanSpan span = {.slot = *sequence.slot,
                         .first_row = static_cast<uint32_t>(plan_.tokens.size()),
                         .num_rows = num_rows,
                         .first_position = sequence.num_computed};
  SendBlocks(sequence, span.first_position + num_rows);
  for (uint32_t i = 0; i < num_rows; ++i) {
    plan_.tokens.push_back({TokenSource::Kind::kLiteral, sequence.tokens[span.first_position + i]});
  }
  plan_.spans.push_back(span);
  span_requests_.push_back(group.request.id);
  rows_.left -= num_rows;
  rows_.planned.Add(num_rows, span.first_position);
  AddTasks(group, sequence, span);
}

void Scheduler::AddTasks(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span) {
  if (group.wants_prompt_scores()) {
    for (uint32_t i = 0; i < span.num_rows; ++i) {
      const uint32_t position = span.first_position + i + 1;
      if (position <= group.num_scored || position >= group.num_prompt_tokens()) continue;
      plan_.tasks.push_back({.kind = RowTask::Kind::kScore,
                             .row = span.first_row + i,
                             .slot = span.slot,
                             .stream = sequence.stream,
                             .position = position,
                             .target = sequence.tokens[position]});
    }
  }
  if (span.first_position + span.num_rows < sequence.num_tokens()) return;
  RowTask task = {.kind = RowTask::Kind::kSample,
                  .row = span.first_row + span.num_rows - 1,
                  .slot = span.slot,
                  .stream = sequence.stream,
                  .position = sequence.num_tokens(),
                  .draws = group.has_forked ? 1 : group.width};
  if (group.is_beams()) {
    task.kind = RowTask::Kind::kBest;
    const auto num_logprobs = static_cast<uint32_t>(group.request.params.logprobs.value_or(0));
    task.draws = std::max(group.beams->num_candidates(), num_logprobs);
  }
  plan_.tasks.push_back(task);
}

SchedulerEvent& Scheduler::Emit(SchedulerEvent::Kind kind, const SequenceGroup& group) {
  return events_.emplace_back(SchedulerEvent{.kind = kind, .request = group.request.id});
}

}  // namespace quire
