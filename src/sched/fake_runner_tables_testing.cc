// Seats and block tables: what forks, removals, admissions, appended blocks and copies do to them.
#include <algorithm>

#include "base/error.h"
#include "sched/fake_runner_testing.h"

namespace quire {

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

Result<BlockId> FakeRunner::BlockAt(const Seat& seat, uint32_t group, uint32_t position) const {
  const size_t index = position / options_.block_size;
  const auto& table = seat.tables[group];
  if (index >= table.size() || !table[index]) {
    return Internal("request {}: position {} has no block in group {}, which has {}",
                    static_cast<uint64_t>(seat.admission.request), position, group, table.size());
  }
  return *table[index];
}

uint32_t FakeRunner::num_occupied_seats() const {
  return static_cast<uint32_t>(std::ranges::count_if(seats_, [](const Seat& seat) { return seat.occupied; }));
}

}  // namespace quire
