#include "sched/step_builder.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sched/stop_rules.h"

namespace quire {

StepBuilder::StepBuilder(const StepBuilderOptions& options) : options_(options) {
  for (uint32_t i = options.num_seats; i-- > 0;) free_seats_.push_back(SeatId{i});
  left_seats_.reserve(options.num_seats);
}

void StepBuilder::Begin(uint32_t max_rows) {
  QUIRE_CHECK(!in_flight_, "step {} has not been applied", step_.plan.step);
  StepPlan& plan = step_.plan;
  const uint64_t number = plan.step + 1;
  plan.Clear();
  plan.step = number;
  step_.owners.clear();
  step_.load = step_.decodes = {};
  step_.limit = {};
  promised_.clear();
  rows_left_ = max_rows;
  prompt_rows_left_ = 0;
  SendForks();
  SendRemovals();
}

const StepPlan& StepBuilder::Finish() {
  in_flight_ = !step_.plan.empty();
  return step_.plan;
}

const Step& StepBuilder::Land(const StepResult& result) {
  QUIRE_CHECK(in_flight_, "no step is in flight");
  QUIRE_CHECK_EQ(result.step, step_.plan.step);
  QUIRE_CHECK_EQ(result.tasks.size(), step_.plan.tasks.size());
  in_flight_ = false;
  return step_;
}

void StepBuilder::LimitPrompts(const ChunkLimit& limit) {
  step_.limit = limit;
  prompt_rows_left_ = std::min(rows_left_, limit.num_tokens);
}

void StepBuilder::SendForks() {
  StepPlan& plan = step_.plan;
  for (const PendingFork& pending : forks_) {
    plan.forks.push_back(pending.fork);
    for (const KvSpace::Copy& copy : pending.copies) {
      plan.copies.push_back({.seat = pending.fork.child,
                             .group = copy.group,
                             .table_index = copy.table_index,
                             .source = copy.source,
                             .destination = copy.destination});
    }
  }
  forks_.clear();
}

void StepBuilder::SendRemovals() {
  for (const SeatId seat : left_seats_) {
    step_.plan.removals.push_back(seat);
    free_seats_.push_back(seat);
  }
  left_seats_.clear();
}

void StepBuilder::TakeSeat(Sequence& child) {
  QUIRE_CHECK(!free_seats_.empty(), "all {} seats are taken", options_.num_seats);
  child.seat = free_seats_.back();
  free_seats_.pop_back();
}

void StepBuilder::Admit(const SequenceGroup& group, Sequence& sequence) {
  TakeSeat(sequence);
  for (uint32_t& num_sent : sequence.num_blocks_sent) num_sent = 0;
  step_.plan.admissions.push_back({.seat = *sequence.seat,
                                   .request = group.request.id,
                                   .stream = sequence.stream,
                                   .params = group.request.params,
                                   .stop_token_ids = MaskedStopTokens(group.request),
                                   .history = sequence.tokens,
                                   .num_prompt_tokens = group.num_prompt_tokens(),
                                   .adapter_id = group.request.adapter_id});
}

void StepBuilder::FreeSeat(Sequence& sequence) {
  if (!sequence.seat) return;
  const SeatId seat = *std::exchange(sequence.seat, std::nullopt);
  left_seats_.push_back(seat);
  for (PendingFork& pending : forks_) {
    if (pending.fork.child == seat) pending.copies.clear();
  }
}

void StepBuilder::Drop(SequenceGroup& group) {
  StepPlan& plan = step_.plan;
  const auto is_own = [&](const auto& entry) {
    return std::ranges::any_of(group.sequences, [&](const Sequence& s) { return s.seat == entry.seat; });
  };
  std::erase_if(plan.appended_blocks, is_own);
  std::erase_if(plan.copies, is_own);
  for (Sequence& sequence : group.sequences) {
    if (!sequence.seat) continue;
    const size_t num_erased =
        std::erase_if(plan.admissions, [&](const Admission& a) { return a.seat == *sequence.seat; });
    if (num_erased > 0) free_seats_.push_back(*std::exchange(sequence.seat, std::nullopt));
  }
}

void StepBuilder::Fork(const Sequence& parent, Sequence& child, std::vector<KvSpace::Copy> copies) {
  forks_.push_back(
      {.fork = {.parent = *parent.seat, .child = *child.seat, .stream = child.stream}, .copies = std::move(copies)});
  child.num_blocks_sent = parent.num_blocks_sent;
}

void StepBuilder::SendNewBlocks(Sequence& sequence, uint32_t group, uint32_t end) {
  const BlockTable& table = sequence.kv.table(group);
  uint32_t& num_sent = sequence.num_blocks_sent[group];
  const uint32_t num_blocks = BlocksForTokens(end, options_.block_size);
  num_sent = std::max(num_sent, std::min(table.first_block(), num_blocks));
  for (; num_sent < num_blocks; ++num_sent) {
    step_.plan.appended_blocks.push_back(
        {.seat = *sequence.seat, .group = group, .table_index = num_sent, .block = table.at(num_sent)});
  }
}

void StepBuilder::AddCopies(const Sequence& sequence, uint32_t group, std::span<const CopyOnWrite> copies) {
  for (const CopyOnWrite& copy : copies) {
    QUIRE_CHECK_LT(copy.table_index, sequence.num_blocks_sent[group]);
    step_.plan.copies.push_back({.seat = *sequence.seat,
                                 .group = group,
                                 .table_index = copy.table_index,
                                 .source = copy.source,
                                 .destination = copy.destination});
  }
}

Transfer& StepBuilder::AddTransfer(const PendingTransfer& pending) {
  Transfer& transfer = step_.plan.transfers.emplace_back();
  transfer.id = ledger_.Add(pending);
  transfer.kind = pending.kind;
  transfer.digest = pending.digest;
  if (pending.held) transfer.block = *pending.held;
  return transfer;
}

void StepBuilder::AttachTokens(Transfer& transfer, std::span<const int32_t> tokens) {
  std::vector<int32_t>& attached = step_.plan.transfer_tokens;
  transfer.first_token = static_cast<uint32_t>(attached.size());
  transfer.num_tokens = static_cast<uint32_t>(tokens.size());
  attached.insert(attached.end(), tokens.begin(), tokens.end());
}

void StepBuilder::AddWrites(const DiskTier::Writes& writes, const PrefixIndex& index) {
  for (const PrefixDigest& digest : writes.drops) AddTransfer({.kind = Transfer::Kind::kDrop, .digest = digest});
  for (const BlockId block : writes.stores) {
    Transfer& transfer = AddTransfer({.kind = Transfer::Kind::kStore, .held = block, .digest = index.DigestOf(block)});
    transfer.parent = index.ParentDigestOf(block);
    AttachTokens(transfer, index.TokensOf(block));
  }
}

uint32_t StepBuilder::ChunkFor(const Sequence& sequence, uint32_t num_wanted) const {
  uint32_t chunk = std::min(num_wanted, prompt_rows_left_);
  if (options_.max_chunk > 0) chunk = std::min(chunk, options_.max_chunk);
  if (!options_.ends_chunks_with_blocks || chunk == num_wanted) return chunk;
  // A chunk that ends with a block leaves nothing computed that cannot be shared yet: worth a small part of the chunk.
  constexpr uint32_t kSmallPart = 8;
  const uint32_t odd = (sequence.kv.num_computed + chunk) % options_.block_size;
  return odd <= chunk / kSmallPart ? chunk - odd : chunk;
}

void StepBuilder::PromiseDecode(SequenceGroup& group, Sequence& sequence) {
  promised_.push_back({&group, &sequence});
  step_.decodes.Add(1, sequence.kv.num_computed);
  --rows_left_;
}

void StepBuilder::AddDecode(const SequenceGroup& group, Sequence& sequence) {
  AddRows(group, sequence, 1, {});
  step_.decodes = step_.load;
}

void StepBuilder::AddPromised(const Decode& decode, std::span<const int32_t> drafts) {
  ++rows_left_;
  AddRows(*decode.group, *decode.sequence, 1, drafts);
  step_.decodes = step_.load;
}

void StepBuilder::AddPrompt(const SequenceGroup& group, Sequence& sequence, uint32_t num_rows) {
  AddRows(group, sequence, num_rows, {});
  prompt_rows_left_ -= num_rows;
}

void StepBuilder::AddRows(const SequenceGroup& group, Sequence& sequence, uint32_t num_known,
                          std::span<const int32_t> drafts) {
  StepPlan& plan = step_.plan;
  const uint32_t num_rows = num_known + static_cast<uint32_t>(drafts.size());
  const PlanSpan span = {.seat = *sequence.seat,
                         .first_row = static_cast<uint32_t>(plan.tokens.size()),
                         .num_rows = num_rows,
                         .first_position = sequence.kv.num_computed};
  for (uint32_t i = 0; i < sequence.kv.num_groups(); ++i) SendBlocks(sequence, i, span.first_position + num_rows);
  for (uint32_t i = 0; i < num_known; ++i) plan.tokens.push_back(sequence.tokens[span.first_position + i]);
  for (const int32_t draft : drafts) plan.tokens.push_back(draft);
  plan.spans.push_back(span);
  step_.owners.push_back(group.request.id);
  rows_left_ -= num_rows;
  step_.load.Add(num_rows, span.first_position);
  AddTasks(group, sequence, span, num_known);
}

void StepBuilder::AddScores(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span) {
  for (uint32_t i = 0; i < span.num_rows; ++i) {
    const uint32_t position = span.first_position + i + 1;
    if (position <= group.num_scored || position >= group.num_prompt_tokens()) continue;
    step_.plan.tasks.push_back({.kind = RowTask::Kind::kScore,
                                .row = span.first_row + i,
                                .seat = span.seat,
                                .stream = sequence.stream,
                                .position = position,
                                .target = sequence.tokens[position]});
  }
}

void StepBuilder::AddTasks(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span,
                           uint32_t num_known) {
  if (group.wants_prompt_scores()) AddScores(group, sequence, span);
  if (span.first_position + num_known < sequence.num_tokens()) return;
  RowTask task = {.kind = RowTask::Kind::kSample,
                  .row = span.first_row + num_known - 1,
                  .seat = span.seat,
                  .stream = sequence.stream,
                  .position = sequence.num_tokens(),
                  .draws = group.has_forked ? 1 : group.width};
  if (num_known < span.num_rows) {
    task.kind = RowTask::Kind::kVerify;
    task.draws = span.num_rows - num_known + 1;
  }
  if (group.is_beams()) {
    task.kind = RowTask::Kind::kBest;
    const auto num_logprobs = static_cast<uint32_t>(group.request.params.logprobs.value_or(0));
    task.draws = std::max(group.beams->num_candidates(), num_logprobs);
  }
  step_.plan.tasks.push_back(task);
}

void StepBuilder::AwaitTransfers() {
  const StepPlan& plan = step_.plan;
  const auto is_swap = [](const Transfer& transfer) {
    return transfer.kind == Transfer::Kind::kSwapOut || transfer.kind == Transfer::Kind::kSwapIn;
  };
  // Whoever goes to swap space or comes back leaves the next plan something else.
  step_.plan.await_transfers = plan.tokens.empty() && plan.admissions.empty() && ledger_.num_on_disk() > 0 &&
                               std::ranges::none_of(plan.transfers, is_swap);
}

void StepBuilder::CheckInvariants(std::span<const SeatId> taken) const {
  std::vector<bool> seen(options_.num_seats, false);
  for (const auto seats : {taken, std::span<const SeatId>(free_seats_), std::span<const SeatId>(left_seats_)}) {
    for (const SeatId seat : seats) {
      QUIRE_CHECK(!seen.at(static_cast<size_t>(seat)), "seat {} is in two places", static_cast<uint32_t>(seat));
      seen[static_cast<size_t>(seat)] = true;
    }
  }
  QUIRE_CHECK(std::ranges::find(seen, false) == seen.end(), "a seat is nowhere");
}

}  // namespace quire
