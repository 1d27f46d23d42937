// A step as a whole, and its rows.
#include "sched/fake_runner_testing.h"

#include <algorithm>

#include "base/error.h"
#include "sched/fake_tokens_testing.h"

namespace quire {
namespace {

// What a group's slot holds of it.
uint64_t InGroup(uint64_t digest, uint32_t group) { return digest + group; }

}  // namespace

FakeRunner::FakeRunner(const FakeRunnerOptions& options)
    : options_(options),
      seats_(options.num_seats),
      cells_(options.verify ? size_t{options.num_blocks} * options.block_size : 0),
      num_tables_(options.num_blocks),
      swap_(options.verify ? size_t{options.num_swap_blocks} * options.block_size : 0),
      num_holds_(options.num_blocks) {}

Status FakeRunner::Submit(const StepPlan& plan) {
  if (submitted_) return Internal("step {}: the step before has not been collected", plan.step);
  if (plan.masks_follow) return Unimplemented("the fake runner takes no masks");
  result_.Clear();
  result_.step = plan.step;
  QUIRE_RETURN_IF_ERROR(ApplyTables(plan));
  QUIRE_RETURN_IF_ERROR(SwapOut(plan));
  for (const BlockCopy& copy : plan.copies) QUIRE_RETURN_IF_ERROR(Copy(copy));
  QUIRE_RETURN_IF_ERROR(TransferIn(plan));
  row_digests_.assign(plan.num_rows(), 0);
  uint32_t num_rows = 0;
  for (const PlanSpan& span : plan.spans) {
    if (span.first_row != num_rows) return Internal("a span starts at row {}, not {}", span.first_row, num_rows);
    num_rows += span.num_rows;
    if (num_rows > plan.num_rows()) return Internal("spans have more than {} rows", plan.num_rows());
    QUIRE_RETURN_IF_ERROR(RunSpan(plan, span));
  }
  if (num_rows != plan.num_rows()) return Internal("spans have {} of {} rows", num_rows, plan.num_rows());
  uint32_t last_row = 0;
  for (const RowTask& task : plan.tasks) {
    if (task.row < last_row || task.row >= num_rows) return Internal("task of row {} after {}", task.row, last_row);
    last_row = task.row;
    QUIRE_RETURN_IF_ERROR(RunTask(plan, task));
  }
  ForgetUnseen(plan);
  EndDiskTransfers(plan);
  result_.forward_us = TimeOf(plan);
  submitted_ = true;
  return {};
}

int64_t FakeRunner::TimeOf(const StepPlan& plan) const {
  if (!options_.time_us) {
    return options_.step_us + options_.prompt_row_us * static_cast<int64_t>(plan.num_rows() - plan.spans.size());
  }
  StepLoad load;
  for (const PlanSpan& span : plan.spans) load.Add(span.num_rows, span.first_position);
  return options_.time_us(load);
}

Status FakeRunner::Sample(const StepMasks& /*masks*/) { return Unimplemented("the fake runner takes no masks"); }

Status FakeRunner::Collect(StepResult& result) {
  if (!submitted_) return Internal("no step has been submitted");
  submitted_ = false;
  std::swap(result, result_);
  return {};
}

// How many of the span's last rows are drafts.
uint32_t FakeRunner::NumDrafts(const StepPlan& plan, const PlanSpan& span) {
  const auto is_its_own = [&](const RowTask& task) {
    return task.kind == RowTask::Kind::kVerify && task.row >= span.first_row &&
           task.row < span.first_row + span.num_rows;
  };
  const auto task = std::ranges::find_if(plan.tasks, is_its_own);
  return task == plan.tasks.end() ? 0 : task->draws - 1;
}

Status FakeRunner::RunSpan(const StepPlan& plan, const PlanSpan& span) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(span.seat));
  if (!options_.verify) return {};
  if (span.num_rows == 0 || span.first_position > seat->history.size()) {
    return Internal("request {} stream {}: {} rows at position {}, after {} tokens",
                    static_cast<uint64_t>(seat->admission.request), seat->admission.stream, span.num_rows,
                    span.first_position, seat->history.size());
  }
  QUIRE_ASSIGN_OR_RETURN(uint64_t digest, VerifyHistory(*seat, span.first_position));
  const uint32_t num_known = span.num_rows - NumDrafts(plan, span);
  seat->num_computed = span.first_position + num_known;
  for (uint32_t i = 0; i < span.num_rows; ++i) {
    const uint32_t position = span.first_position + i;
    const int32_t token = plan.tokens[span.first_row + i];
    const bool is_draft = i >= num_known;
    if (is_draft && position < seat->history.size()) return Internal("a draft at {}, which is known", position);
    if (!is_draft && position == seat->history.size()) seat->history.push_back(token);
    if (!is_draft && seat->history[position] != token) return Internal("row has token {} at {}", token, position);
    digest = ExtendDigest(digest, token);
    QUIRE_RETURN_IF_ERROR(WriteRow(*seat, position, token, digest));
    row_digests_[span.first_row + i] = digest;
  }
  return {};
}

// The digest of the first `end` tokens.
Result<uint64_t> FakeRunner::VerifyHistory(Seat& seat, uint32_t end) const {
  while (seat.digests.size() < seat.history.size()) {
    const uint64_t before = seat.digests.empty() ? 0 : seat.digests.back();
    seat.digests.push_back(ExtendDigest(before, seat.history[seat.digests.size()]));
  }
  for (uint32_t group = 0; group < options_.kv_groups.size(); ++group) {
    for (uint32_t first = options_.kv_groups[group].FirstSeen(end); first < end;) {
      QUIRE_ASSIGN_OR_RETURN(const BlockId block, BlockAt(seat, group, first));
      const uint32_t last = std::min(end, (first / options_.block_size + 1) * options_.block_size);
      for (const Cell* cell = &cells_[CellIndex(block, first)]; first < last; ++first, ++cell) {
        if (cell->token == seat.history[first] && cell->digest == InGroup(seat.digests[first], group)) continue;
        return Internal("request {}: block {} of group {} holds token {} where position {} has {}",
                        static_cast<uint64_t>(seat.admission.request), static_cast<uint32_t>(block), group, cell->token,
                        first, seat.history[first]);
      }
    }
  }
  return end == 0 ? 0 : seat.digests[end - 1];
}

Status FakeRunner::WriteRow(const Seat& seat, uint32_t position, int32_t token, uint64_t digest) {
  for (uint32_t group = 0; group < options_.kv_groups.size(); ++group) {
    QUIRE_ASSIGN_OR_RETURN(const BlockId block, BlockAt(seat, group, position));
    if (num_tables_[static_cast<size_t>(block)] != 1) {
      return Internal("a write to block {}, which is shared", static_cast<uint32_t>(block));
    }
    if (num_holds_[static_cast<size_t>(block)] > 0) {
      return Internal("a write to block {}, which a transfer holds", static_cast<uint32_t>(block));
    }
    cells_[CellIndex(block, position)] = {token, InGroup(digest, group)};
  }
  return {};
}

// What no row of a sequence will see any more may be others' from the next step on.
void FakeRunner::ForgetUnseen(const StepPlan& plan) {
  if (!options_.verify) return;
  for (const PlanSpan& span : plan.spans) {
    Seat& seat = seats_[static_cast<size_t>(span.seat)];
    for (size_t group = 0; group < seat.tables.size(); ++group) {
      const uint32_t end = options_.kv_groups[group].FirstSeen(seat.num_computed) / options_.block_size;
      for (uint32_t i = end; i-- > 0 && seat.tables[group][i];) {
        --num_tables_[static_cast<size_t>(*seat.tables[group][i])];
        seat.tables[group][i].reset();
      }
    }
  }
}

}  // namespace quire
