#include "sched/fake_runner_testing.h"

#include <algorithm>

#include "base/error.h"

namespace quire {
namespace {

uint64_t Mix(uint64_t a, uint64_t b) {
  uint64_t x = a * 0x9E3779B97F4A7C15ULL + b + 0x632BE59BD9B4E019ULL;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// What a group's slot holds of it.
uint64_t InGroup(uint64_t digest, uint32_t group) { return digest + group; }

uint64_t Digest(uint64_t before, int32_t token) { return Mix(before, static_cast<uint32_t>(token)); }

int32_t DrawnToken(uint64_t digest, uint64_t seed, uint32_t position, int32_t vocab_size) {
  return static_cast<int32_t>(Mix(Mix(digest, seed), position) % static_cast<uint64_t>(vocab_size));
}

}  // namespace

FakeRunner::FakeRunner(const FakeRunnerOptions& options)
    : options_(options),
      seats_(options.num_seats),
      cells_(options.verify ? size_t{options.num_blocks} * options.block_size : 0),
      num_tables_(options.num_blocks),
      swap_(options.verify ? size_t{options.num_swap_blocks} * options.block_size : 0),
      num_holds_(options.num_blocks) {}

std::vector<int32_t> FakeRunner::Continue(std::vector<int32_t> tokens, uint64_t seed, uint32_t num_tokens,
                                          int32_t vocab_size) {
  uint64_t digest = 0;
  for (const int32_t token : tokens) digest = Digest(digest, token);
  std::vector<int32_t> output;
  for (auto position = static_cast<uint32_t>(tokens.size()); output.size() < num_tokens; ++position) {
    output.push_back(DrawnToken(digest, seed, position, vocab_size));
    digest = Digest(digest, output.back());
  }
  return output;
}

uint32_t FakeRunner::num_occupied_seats() const {
  return static_cast<uint32_t>(std::ranges::count_if(seats_, [](const Seat& seat) { return seat.occupied; }));
}

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

Status FakeRunner::Sample(std::span<const std::span<const uint32_t>> /*masks*/) {
  return Unimplemented("the fake runner takes no masks");
}

Status FakeRunner::Collect(StepResult& result) {
  if (!submitted_) return Internal("no step has been submitted");
  submitted_ = false;
  std::swap(result, result_);
  return {};
}

Status FakeRunner::ApplyTables(const StepPlan& plan) {
  for (const SeatFork& fork : plan.forks) QUIRE_RETURN_IF_ERROR(Fork(fork));
  for (const SeatId seat : plan.removals) QUIRE_RETURN_IF_ERROR(Remove(seat));
  for (const Admission& admission : plan.admissions) QUIRE_RETURN_IF_ERROR(Admit(admission));
  for (const BlockAppend& append : plan.appended_blocks) QUIRE_RETURN_IF_ERROR(AppendBlock(append));
  return {};
}

Result<FakeRunner::Seat*> FakeRunner::Occupied(SeatId seat) {
  const auto index = static_cast<size_t>(seat);
  if (index >= seats_.size() || !seats_[index].occupied) return Internal("seat {} is empty", index);
  return &seats_[index];
}

Status FakeRunner::Fork(const SeatFork& fork) {
  QUIRE_ASSIGN_OR_RETURN(const Seat* parent, Occupied(fork.parent));
  const auto index = static_cast<size_t>(fork.child);
  if (index >= seats_.size() || fork.child == fork.parent) return Internal("a fork to seat {}", index);
  if (seats_[index].occupied) QUIRE_RETURN_IF_ERROR(Remove(fork.child));
  seats_[index] = *parent;
  seats_[index].admission.stream = fork.stream;
  for (const auto& table : parent->tables) {
    for (const std::optional<BlockId> block : table) {
      if (block) ++num_tables_[static_cast<size_t>(*block)];
    }
  }
  return {};
}

Status FakeRunner::Remove(SeatId id) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(id));
  for (const auto& table : seat->tables) {
    for (const std::optional<BlockId> block : table) {
      if (block) --num_tables_[static_cast<size_t>(*block)];
    }
  }
  seat->occupied = false;
  return {};
}

Status FakeRunner::Admit(const Admission& admission) {
  const auto index = static_cast<size_t>(admission.seat);
  if (index >= seats_.size()) return Internal("there is no seat {}", index);
  Seat& seat = seats_[index];
  if (seat.occupied) return Internal("seat {} is occupied", index);
  if (admission.num_prompt_tokens == 0 || admission.num_prompt_tokens > admission.history.size()) {
    return Internal("{} prompt tokens of {}", admission.num_prompt_tokens, admission.history.size());
  }
  seat.occupied = true;
  seat.admission = admission;
  seat.history = admission.history;
  seat.digests.clear();
  seat.tables.assign(options_.kv_groups.size(), {});
  return {};
}

Status FakeRunner::AppendBlock(const BlockAppend& append) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(append.seat));
  if (static_cast<uint32_t>(append.block) >= options_.num_blocks) {
    return Internal("there is no block {}", static_cast<uint32_t>(append.block));
  }
  if (append.group >= seat->tables.size()) return Internal("there is no KV group {}", append.group);
  auto& table = seat->tables[append.group];
  if (append.table_index < table.size()) {
    return Internal("a block is appended at {}, behind {}", append.table_index, table.size());
  }
  if (append.table_index > table.size() && options_.kv_groups[append.group].window == 0) {
    return Internal("a block is appended at {}, where {} are", append.table_index, table.size());
  }
  table.resize(append.table_index);
  table.push_back(append.block);
  ++num_tables_[static_cast<size_t>(append.block)];
  return {};
}

Status FakeRunner::Copy(const BlockCopy& copy) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(copy.seat));
  if (copy.group >= seat->tables.size()) return Internal("there is no KV group {}", copy.group);
  auto& table = seat->tables[copy.group];
  if (copy.table_index >= table.size() || table[copy.table_index] != copy.source) {
    return Internal("copy of block {}, which is not at {} of {} in group {}", static_cast<uint32_t>(copy.source),
                    copy.table_index, table.size(), copy.group);
  }
  if (static_cast<uint32_t>(copy.destination) >= options_.num_blocks || copy.destination == copy.source) {
    return Internal("copy to block {}", static_cast<uint32_t>(copy.destination));
  }
  --num_tables_[static_cast<size_t>(copy.source)];
  ++num_tables_[static_cast<size_t>(copy.destination)];
  table[copy.table_index] = copy.destination;
  if (options_.verify) {
    std::copy_n(&cells_[static_cast<size_t>(copy.source) * options_.block_size], options_.block_size,
                &cells_[static_cast<size_t>(copy.destination) * options_.block_size]);
  }
  return {};
}

Result<std::span<FakeRunner::Cell>> FakeRunner::CellsOf(BlockId block) {
  if (static_cast<uint32_t>(block) >= options_.num_blocks) {
    return Internal("there is no block {}", static_cast<uint32_t>(block));
  }
  if (!options_.verify) return std::span<Cell>();
  return std::span(cells_).subspan(static_cast<size_t>(block) * options_.block_size, options_.block_size);
}

void FakeRunner::Report(const Transfer& transfer, bool completed) {
  (completed ? result_.transfers_completed : result_.transfers_failed).push_back(transfer.id);
}

bool FakeRunner::Fails(const Transfer& transfer) const {
  return options_.transfer_fails && options_.transfer_fails(transfer);
}

Status FakeRunner::SwapOut(const StepPlan& plan) {
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind != Transfer::Kind::kSwapOut) continue;
    if (transfer.place >= options_.num_swap_blocks) return Internal("there is no swap place {}", transfer.place);
    QUIRE_ASSIGN_OR_RETURN(const std::span<Cell> cells, CellsOf(transfer.block));
    const bool completed = !Fails(transfer);
    if (completed) std::ranges::copy(cells, swap_.begin() + static_cast<ptrdiff_t>(transfer.place * cells.size()));
    result_.swap_out_us += options_.swap_block_us;
    Report(transfer, completed);
  }
  return {};
}

Status FakeRunner::TransferIn(const StepPlan& plan) {
  for (const Transfer& transfer : plan.transfers) {
    if (transfer.kind == Transfer::Kind::kSwapOut) continue;
    if (transfer.kind != Transfer::Kind::kSwapIn) {
      const auto tokens = std::span(plan.transfer_tokens).subspan(transfer.first_token, transfer.num_tokens);
      const uint64_t delay = options_.disk_delay_steps == 0 ? 0 : Mix(transfer.id, 1) % options_.disk_delay_steps;
      disk_transfers_.push_back({transfer, {tokens.begin(), tokens.end()}, plan.step + delay});
      if (transfer.kind != Transfer::Kind::kDrop) ++num_holds_[static_cast<size_t>(transfer.block)];
      continue;
    }
    if (transfer.place >= options_.num_swap_blocks) return Internal("there is no swap place {}", transfer.place);
    QUIRE_ASSIGN_OR_RETURN(const std::span<Cell> cells, CellsOf(transfer.block));
    const bool completed = !Fails(transfer);
    if (completed) {
      std::ranges::copy(std::span(swap_).subspan(transfer.place * cells.size(), cells.size()), cells.begin());
    }
    result_.swap_in_us += options_.swap_block_us;
    Report(transfer, completed);
  }
  return {};
}

void FakeRunner::EndDiskTransfers(const StepPlan& plan) {
  bool must_end_one = plan.await_transfers;
  for (auto it = disk_transfers_.begin(); it != disk_transfers_.end();) {
    if (it->ends_at_step > plan.step && !must_end_one) {
      ++it;
      continue;
    }
    must_end_one = false;
    if (it->transfer.kind != Transfer::Kind::kDrop) --num_holds_[static_cast<size_t>(it->transfer.block)];
    Report(it->transfer, !Fails(it->transfer) && EndDiskTransfer(*it));
    it = disk_transfers_.erase(it);
  }
}

bool FakeRunner::EndDiskTransfer(const DiskTransfer& ended) {
  const Transfer& transfer = ended.transfer;
  if (options_.disk == nullptr) return false;
  auto& entries = options_.disk->entries;
  if (transfer.kind == Transfer::Kind::kDrop) return entries.erase(transfer.digest) > 0;
  const Result<std::span<Cell>> cells = CellsOf(transfer.block);
  if (!cells.ok()) return false;
  if (transfer.kind == Transfer::Kind::kStore) {
    entries[transfer.digest] = {transfer.parent, ended.tokens, {cells->begin(), cells->end()}};
    return true;
  }
  const auto entry = entries.find(transfer.digest);
  if (entry == entries.end() || entry->second.parent != transfer.parent || entry->second.tokens != ended.tokens) {
    return false;
  }
  std::ranges::copy(entry->second.cells, cells->begin());
  return true;
}

Result<BlockId> FakeRunner::BlockAt(const Seat& seat, uint32_t group, uint32_t position) const {
  const size_t index = position / options_.block_size;
  const auto& table = seat.tables[group];
  if (index >= table.size() || !table[index]) {
    return Internal("request {}: position {} has no block in group {}, which has {}",
                    static_cast<uint64_t>(seat.admission.request), position, group, table.size());
  }
  return *table[index];
}

// The digest of the first `end` tokens.
Result<uint64_t> FakeRunner::VerifyHistory(Seat& seat, uint32_t end) const {
  while (seat.digests.size() < seat.history.size()) {
    const uint64_t before = seat.digests.empty() ? 0 : seat.digests.back();
    seat.digests.push_back(Digest(before, seat.history[seat.digests.size()]));
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
    digest = Digest(digest, token);
    QUIRE_RETURN_IF_ERROR(WriteRow(*seat, position, token, digest));
    row_digests_[span.first_row + i] = digest;
  }
  return {};
}

Status FakeRunner::RunTask(const StepPlan& plan, const RowTask& task) {
  QUIRE_ASSIGN_OR_RETURN(Seat * seat, Occupied(task.seat));
  const SamplingParams& params = seat->admission.params;
  const auto first_token = static_cast<uint32_t>(result_.tokens.size());
  if (task.kind == RowTask::Kind::kVerify) return Verify(plan, task, *seat);
  if (nans_.contains({seat->admission.request, task.position})) {
    result_.tasks.push_back({TaskResult::Status::kNan, first_token, 0});
    return {};
  }
  const uint64_t digest = row_digests_[task.row];
  if (task.kind == RowTask::Kind::kScore) {
    if (options_.verify && seat->history.at(task.position) != task.target) return Internal("score of a wrong target");
    Draw(task.target, digest, params.prompt_logprobs);
  } else if (task.kind == RowTask::Kind::kBest) {
    DrawBest(*seat, task, options_.verify ? digest : Mix(task.row, task.position));
  } else {
    for (uint32_t draw = 0; draw < task.draws; ++draw) {
      const uint64_t seed = params.seed.value_or(0) + task.stream + draw;
      Draw(DrawnToken(digest, seed, task.position, options_.vocab_size), digest, params.logprobs);
    }
  }
  result_.tasks.push_back(
      {TaskResult::Status::kOk, first_token, static_cast<uint32_t>(result_.tokens.size()) - first_token});
  return {};
}

Status FakeRunner::Verify(const StepPlan& plan, const RowTask& task, Seat& seat) {
  const SamplingParams& params = seat.admission.params;
  const auto first_token = static_cast<uint32_t>(result_.tokens.size());
  if (task.draws == 0 || task.row + task.draws > plan.num_rows()) return Internal("a verify task of {}", task.draws);
  for (uint32_t i = 0; i < task.draws; ++i) {
    if (nans_.contains({seat.admission.request, task.position + i})) {
      if (i > 0) break;  // the next step comes to it again
      result_.tasks.push_back({TaskResult::Status::kNan, first_token, 0});
      return {};
    }
    // A history that is not verified is a function of seed and position alone.
    const uint64_t digest = options_.verify ? row_digests_[task.row + i] : 0;
    const uint64_t seed = params.seed.value_or(0) + task.stream;
    const int32_t token = DrawnToken(digest, seed, task.position + i, options_.vocab_size);
    Draw(token, digest, params.logprobs);
    if (i + 1 == task.draws || plan.tokens[task.row + i + 1] != token) break;
    if (options_.verify) seat.history.push_back(token);
  }
  seat.num_computed = task.position - 1 + static_cast<uint32_t>(result_.tokens.size()) - first_token;
  result_.tasks.push_back(
      {TaskResult::Status::kOk, first_token, static_cast<uint32_t>(result_.tokens.size()) - first_token});
  return {};
}

// Likelihoods that fall with the rank, by steps that depend on the sequence; ranks that depend on it too.
void FakeRunner::DrawBest(const Seat& seat, const RowTask& task, uint64_t digest) {
  const Admission& admission = seat.admission;
  const bool masks = static_cast<int64_t>(task.position) - admission.num_prompt_tokens < admission.params.min_tokens;
  const auto first = static_cast<int32_t>(Mix(digest, task.position) % static_cast<uint64_t>(options_.vocab_size));
  float logprob = 0;
  uint32_t num_drawn = 0;
  for (int32_t i = 0; i < options_.vocab_size && num_drawn < task.draws; ++i) {
    const int32_t token = (first + i) % options_.vocab_size;
    logprob -= 0.01F + static_cast<float>(Mix(digest, static_cast<uint32_t>(i)) % 64) / 64.0F;
    if (masks && std::ranges::find(admission.stop_token_ids, token) != admission.stop_token_ids.end()) continue;
    result_.tokens.push_back({.token = token, .logprob = logprob, .rank = static_cast<uint32_t>(i) + 1});
    ++num_drawn;
  }
}

void FakeRunner::Draw(int32_t token, uint64_t digest, std::optional<int32_t> num_candidates) {
  TokenOutput output = {.token = token,
                        .logprob = -static_cast<float>(Mix(digest, static_cast<uint32_t>(token)) % 1000) / 100.0F,
                        .rank = 1,
                        .first_candidate = static_cast<uint32_t>(result_.candidates.size())};
  for (int32_t i = 0; i < num_candidates.value_or(0); ++i) {
    result_.candidates.push_back({(token + i) % options_.vocab_size, output.logprob - static_cast<float>(i)});
    ++output.num_candidates;
  }
  result_.tokens.push_back(output);
}

}  // namespace quire
