#include "sched/scheduler.h"

#include <algorithm>
#include <cmath>
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
          .hash_seed = config.hash_seed};
}

}  // namespace

bool Scheduler::Before::operator()(const SequenceGroup* a, const SequenceGroup* b) const {
  if (by_priority && a->request.priority != b->request.priority) return a->request.priority < b->request.priority;
  return a->order < b->order;
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      kv_policy_(KvPolicy::Of(KvPolicyKind::kPaged)),
      kv_(MakeKvConfig(config)),
      chunk_budget_(config.chunk_budget),
      waiting_(Before{config.policy == QueuePolicy::kPriority}),
      slots_(config.max_num_seqs, nullptr) {
  const Status valid = ValidateSchedulerConfig(config);
  QUIRE_CHECK(valid.ok(), "{}", valid.error().message);
  for (uint32_t i = config.max_num_seqs; i-- > 0;) free_slots_.push_back(SlotId{i});
  left_slots_.reserve(config.max_num_seqs);
  running_.reserve(config.max_num_seqs);
}

Status Scheduler::CanEverFit(const Request& request) const {
  const auto room = static_cast<int64_t>(config_.max_model_len) - static_cast<int64_t>(request.prompt.size());
  const int32_t max_tokens = request.params.max_tokens.value_or(static_cast<int32_t>(std::max<int64_t>(room, 1)));
  return ProveFits(config_, request.prompt.size(), max_tokens);
}

Status Scheduler::Add(Request request) {
  QUIRE_RETURN_IF_ERROR(CanEverFit(request));
  const RequestId id = request.id;
  if (groups_.contains(id)) return InvalidArgument("request {} is present already", static_cast<uint64_t>(id));
  auto group = std::make_unique<SequenceGroup>(std::move(request), next_order_++, kv_.MakeTable());
  waiting_.insert(group.get());
  groups_.emplace(id, std::move(group));
  return {};
}

void Scheduler::Finish(RequestId id, FinishReason reason) {
  QUIRE_CHECK(reason != FinishReason::kNone);
  Forget(id);
}

void Scheduler::Forget(RequestId id) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return;
  SequenceGroup& group = *found->second;
  if (group.sequence().slot) {
    std::erase(running_, &group);
    Leave(group);
  } else {
    waiting_.erase(&group);
  }
  groups_.erase(found);
}

void Scheduler::Leave(SequenceGroup& group) {
  Sequence& sequence = group.sequence();
  slots_[static_cast<size_t>(*sequence.slot)] = nullptr;
  left_slots_.push_back(*sequence.slot);
  sequence.slot.reset();
  sequence.table.Clear();
  sequence.chain = {};
  sequence.num_computed = 0;
}

const StepPlan& Scheduler::Plan(TimeUs /*now*/) {
  QUIRE_CHECK(!in_flight_, "step {} has not been applied", plan_.step);
  BeginPlan();
  PlanDecodes();
  rows_.prompt_left = std::min(rows_.left, chunk_budget_.Limit(rows_.num_decode));
  PlanPrompts();
  if (!preempted_in_plan_) PlanWaiting();
  in_flight_ = !plan_.empty();
  return plan_;
}

void Scheduler::BeginPlan() {
  if (std::exchange(events_delivered_, false)) events_.clear();
  const uint64_t step = plan_.step + 1;
  plan_.Clear();
  plan_.step = step;
  rows_ = {.left = config_.max_num_batched_tokens};
  preempted_in_plan_ = false;
  for (const SlotId slot : left_slots_) {
    plan_.removals.push_back(slot);
    free_slots_.push_back(slot);
  }
  left_slots_.clear();
}

// Victims are always behind the one that needs memory, so no sequence loses its memory after it got rows.
void Scheduler::PlanDecodes() {
  for (size_t i = 0; i < running_.size() && rows_.left > 0; ++i) {
    SequenceGroup& group = *running_[i];
    if (group.sequence().num_remaining() != 1 || !Reserve(group, 1)) continue;
    AddRows(group, 1);
    ++rows_.num_decode;
  }
}

void Scheduler::PlanPrompts() {
  for (size_t i = 0; i < running_.size() && rows_.prompt_left > 0; ++i) {
    SequenceGroup& group = *running_[i];
    if (group.sequence().num_remaining() == 1) continue;
    const uint32_t num_rows = ChunkOf(group.sequence());
    if (!Reserve(group, num_rows)) continue;
    AddRows(group, num_rows);
    rows_.prompt_left -= num_rows;
    rows_.num_prompt += num_rows;
  }
}

void Scheduler::PlanWaiting() {
  // A request whose prefix another one is computing right now stays behind for it; so many are looked at per step.
  constexpr int kMaxPassedOver = 16;
  int num_passed_over = 0;
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    if (running_.size() == config_.max_num_seqs || rows_.prompt_left == 0) return;
    SequenceGroup& group = **it;
    const Admit admit = TryAdmit(group);
    if (admit == Admit::kNoMemory) return;
    if (admit == Admit::kPrefixUnderWay) {
      if (++num_passed_over == kMaxPassedOver) return;
      ++it;
      continue;
    }
    it = waiting_.erase(it);
    const uint32_t num_rows = ChunkOf(group.sequence());
    AddRows(group, num_rows);
    rows_.prompt_left -= num_rows;
    rows_.num_prompt += num_rows;
  }
}

Scheduler::Admit Scheduler::TryAdmit(SequenceGroup& group) {
  const Sequence& sequence = group.sequence();
  // Scores need the rows that a hit would save.
  const KvManager::Match match =
      group.wants_prompt_scores() ? kv_.NoMatch(group.scope()) : kv_.MatchPrefix(group.scope(), sequence.tokens);
  const auto num_matched = static_cast<uint32_t>(match.blocks.size()) * config_.block_size;
  if (!group.wants_prompt_scores() && PrefixIsUnderWay(group, num_matched)) return Admit::kPrefixUnderWay;
  const uint32_t num_slots =
      kv_policy_.SlotsAtAdmission({.num_known_tokens = sequence.num_tokens(),
                                   .max_total_tokens = MaxTotalTokens(group.request, config_.max_model_len)});
  const KvFit fit = kv_.CanStart(BlocksForTokens(num_slots, config_.block_size), match, running_.empty());
  QUIRE_CHECK(fit != KvFit::kNever, "request {} was admitted and needs {} token slots",
              static_cast<uint64_t>(group.request.id), num_slots);
  if (fit == KvFit::kLater) return Admit::kNoMemory;
  Enter(group, match);
  const bool reserved = TryReserve(group.sequence(), num_slots);
  QUIRE_CHECK(reserved, "{} token slots were available", num_slots);
  return Admit::kYes;
}

// Whether a running prompt will soon have computed more of this one's prefix than is indexed now.
bool Scheduler::PrefixIsUnderWay(const SequenceGroup& group, uint32_t num_matched_tokens) const {
  if (!config_.enable_prefix_caching) return false;
  const std::vector<int32_t>& tokens = group.sequence().tokens;
  const uint32_t worth_waiting = num_matched_tokens + config_.block_size;
  if (tokens.size() <= worth_waiting) return false;
  return std::ranges::any_of(running_, [&](const SequenceGroup* other) {
    const Sequence& sequence = other->sequence();
    return sequence.num_tokens() >= worth_waiting && sequence.num_computed < worth_waiting &&
           other->request.adapter_id == group.request.adapter_id &&
           other->request.cache_salt == group.request.cache_salt &&
           std::equal(tokens.begin(), tokens.begin() + worth_waiting, sequence.tokens.begin());
  });
}

void Scheduler::Enter(SequenceGroup& group, const KvManager::Match& match) {
  Sequence& sequence = group.sequence();
  const SlotId slot = free_slots_.back();
  free_slots_.pop_back();
  slots_[static_cast<size_t>(slot)] = &group;
  sequence.slot = slot;
  ExpectGrowth(group);
  sequence.table.Share(match.blocks);
  sequence.chain = match.chain;
  sequence.num_computed = static_cast<uint32_t>(match.blocks.size()) * config_.block_size;
  running_.insert(std::upper_bound(running_.begin(), running_.end(), &group, waiting_.key_comp()), &group);
  plan_.admissions.push_back({.slot = slot,
                              .request = group.request.id,
                              .stream = sequence.stream,
                              .params = group.request.params,
                              .stop_token_ids = MaskedStopTokens(group.request),
                              .history = sequence.tokens,
                              .num_prompt_tokens = group.num_prompt_tokens()});
  SendBlocks(sequence, 0);
  if (config_.enable_prefix_caching && !group.wants_prompt_scores()) {
    prefix_query_tokens_ += sequence.num_tokens();
    prefix_hit_tokens_ += sequence.num_computed;
    hit_rate_.Add(1, sequence.num_tokens(), sequence.num_computed);
  }
  Emit(SchedulerEvent::Kind::kAdmitted, group).num_cached_tokens = sequence.num_computed;
}

// So that decoding allocates nothing on the heap, up to a bound on what an unusually long answer may set aside.
void Scheduler::ExpectGrowth(SequenceGroup& group) {
  constexpr uint32_t kMaxExpected = 4096;
  Sequence& sequence = group.sequence();
  const uint32_t num_total =
      std::min(MaxTotalTokens(group.request, config_.max_model_len), sequence.num_tokens() + kMaxExpected);
  sequence.tokens.reserve(num_total);
  sequence.table.ExpectBlocks(BlocksForTokens(num_total, config_.block_size));
}

uint32_t Scheduler::ChunkOf(const Sequence& sequence) const {
  const uint32_t remaining = sequence.num_remaining();
  uint32_t chunk = std::min(remaining, rows_.prompt_left);
  if (config_.long_prefill_token_threshold > 0) chunk = std::min(chunk, config_.long_prefill_token_threshold);
  if (!config_.enable_prefix_caching || chunk == remaining) return chunk;
  // A chunk that ends with a block leaves nothing computed that cannot be shared yet.
  const uint32_t odd = (sequence.num_computed + chunk) % config_.block_size;
  return odd < chunk ? chunk - odd : chunk;
}

bool Scheduler::Reserve(SequenceGroup& group, uint32_t num_rows) {
  Sequence& sequence = group.sequence();
  while (!TryReserve(sequence, sequence.num_computed + num_rows)) {
    SequenceGroup& victim = *running_.back();
    QUIRE_CHECK(running_.size() > 1, "request {} runs alone and has {} blocks of {}",
                static_cast<uint64_t>(group.request.id), sequence.table.num_blocks(), config_.num_blocks);
    Preempt(victim);
    if (&victim == &group) return false;
  }
  return true;
}

bool Scheduler::TryReserve(Sequence& sequence, uint32_t end) {
  const uint32_t num_before = sequence.table.num_blocks();
  copies_.clear();
  if (!sequence.table.PrepareWrite(sequence.num_computed, end, copies_)) return false;
  SendBlocks(sequence, num_before);
  for (const CopyOnWrite& copy : copies_) {
    plan_.copies.push_back({*sequence.slot, copy.table_index, copy.source, copy.destination});
  }
  return true;
}

void Scheduler::SendBlocks(const Sequence& sequence, uint32_t first) {
  for (const BlockId block : sequence.table.blocks().subspan(first)) {
    plan_.appended_blocks.push_back({*sequence.slot, block});
  }
}

void Scheduler::AddRows(SequenceGroup& group, uint32_t num_rows) {
  const Sequence& sequence = group.sequence();
  const PlanSpan span = {.slot = *sequence.slot,
                         .first_row = static_cast<uint32_t>(plan_.tokens.size()),
                         .num_rows = num_rows,
                         .first_position = sequence.num_computed};
  for (uint32_t i = 0; i < num_rows; ++i) {
    plan_.tokens.push_back({TokenSource::Kind::kLiteral, sequence.tokens[span.first_position + i]});
  }
  plan_.spans.push_back(span);
  rows_.left -= num_rows;
  AddTasks(group, span);
}

void Scheduler::AddTasks(const SequenceGroup& group, const PlanSpan& span) {
  const Sequence& sequence = group.sequence();
  if (group.wants_prompt_scores()) {
    for (uint32_t i = 0; i < span.num_rows; ++i) {
      const uint32_t position = span.first_position + i + 1;
      if (position <= sequence.num_scored || position >= group.num_prompt_tokens()) continue;
      plan_.tasks.push_back({.kind = RowTask::Kind::kScore,
                             .row = span.first_row + i,
                             .slot = span.slot,
                             .stream = sequence.stream,
                             .position = position,
                             .target = sequence.tokens[position]});
    }
  }
  if (span.first_position + span.num_rows < sequence.num_tokens()) return;
  plan_.tasks.push_back({.kind = RowTask::Kind::kSample,
                         .row = span.first_row + span.num_rows - 1,
                         .slot = span.slot,
                         .stream = sequence.stream,
                         .position = sequence.num_tokens()});
}

void Scheduler::Preempt(SequenceGroup& group) {
  QUIRE_CHECK(running_.back() == &group);
  running_.pop_back();
  Leave(group);
  // The runner learns of it with this very plan: the victim has no rows in it.
  plan_.removals.push_back(left_slots_.back());
  free_slots_.push_back(left_slots_.back());
  left_slots_.pop_back();
  waiting_.insert(&group);
  preempted_in_plan_ = true;
  ++num_preemptions_;
  Emit(SchedulerEvent::Kind::kPreempted, group);
}

void Scheduler::PreemptAll() {
  QUIRE_CHECK(!in_flight_);
  for (; !running_.empty(); running_.pop_back()) {
    SequenceGroup& group = *running_.back();
    Leave(group);
    waiting_.insert(&group);
    ++num_preemptions_;
    Emit(SchedulerEvent::Kind::kPreempted, group);
  }
}

SchedulerEvent& Scheduler::Emit(SchedulerEvent::Kind kind, const SequenceGroup& group) {
  return events_.emplace_back(
      SchedulerEvent{.kind = kind, .request = group.request.id, .stream = group.sequence().stream});
}

}  // namespace quire
