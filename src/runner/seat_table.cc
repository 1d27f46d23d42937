#include "runner/seat_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "sampling/sampler.h"
#include "sched/drafter.h"

namespace quire {
namespace {

size_t Index(SeatId seat) { return static_cast<size_t>(seat); }

}  // namespace

SeatTable::SeatTable(const SeatLimits& limits) : limits_(limits), seats_(static_cast<size_t>(limits.num_seats)) {}

const Seat& SeatTable::at(SeatId seat) const {
  QUIRE_CHECK_LT(Index(seat), seats_.size());
  QUIRE_CHECK(seats_[Index(seat)].active, "seat {} is empty", Index(seat));
  return seats_[Index(seat)];
}

Seat& SeatTable::Find(SeatId seat) { return const_cast<Seat&>(std::as_const(*this).at(seat)); }

void SeatTable::Apply(const StepPlan& plan) {
  for (const SeatFork& fork : plan.forks) Fork(fork);
  for (const SeatId seat : plan.removals) Find(seat).active = false;
  for (const Admission& admission : plan.admissions) Admit(admission);
  for (const BlockAppend& append : plan.appended_blocks) Append(append);
  for (const BlockCopy& copy : plan.copies) Replace(copy);
}

// What is skipped is never read; it is a block that exists all the same.
void SeatTable::Append(const BlockAppend& append) {
  QUIRE_CHECK_LT(static_cast<int64_t>(append.block), limits_.num_blocks);
  Seat& seat = Find(append.seat);
  QUIRE_CHECK_LT(append.group, seat.num_blocks.size());
  QUIRE_CHECK_LT(append.table_index, seat.table_stride);
  uint32_t& num_blocks = seat.num_blocks[append.group];
  QUIRE_CHECK_LE(num_blocks, append.table_index);
  uint32_t* table = &seat.block_tables[append.group * seat.table_stride];
  std::fill(table + num_blocks, table + append.table_index, 0U);
  table[append.table_index] = static_cast<uint32_t>(append.block);
  num_blocks = append.table_index + 1;
}

void SeatTable::Replace(const BlockCopy& copy) {
  QUIRE_CHECK_LT(static_cast<int64_t>(copy.source), limits_.num_blocks);
  QUIRE_CHECK_LT(static_cast<int64_t>(copy.destination), limits_.num_blocks);
  Seat& seat = Find(copy.seat);
  QUIRE_CHECK_LT(copy.group, seat.num_blocks.size());
  QUIRE_CHECK_LT(copy.table_index, seat.num_blocks[copy.group]);
  seat.block_tables[copy.group * seat.table_stride + copy.table_index] = static_cast<uint32_t>(copy.destination);
}

void SeatTable::Fork(const SeatFork& fork) {
  const Seat& parent = at(fork.parent);
  QUIRE_CHECK_LT(Index(fork.child), seats_.size());
  QUIRE_CHECK_NE(Index(fork.child), Index(fork.parent));
  Seat& child = seats_[Index(fork.child)];
  child.longest = parent.longest;
  child.uses_penalties = parent.uses_penalties;
  Reserve(child);  // copies keep the capacity that is there
  child.active = true;
  child.request = parent.request;
  child.stream = fork.stream;
  child.num_prompt_tokens = parent.num_prompt_tokens;
  child.num_known = parent.num_known;
  child.params = parent.params;
  child.stop_token_ids = parent.stop_token_ids;
  if (parent.uses_penalties) child.counts = parent.counts;
  child.num_blocks = parent.num_blocks;
  for (size_t group = 0; group < parent.num_blocks.size(); ++group) {
    std::ranges::copy(parent.table(group), &child.block_tables[group * child.table_stride]);
  }
}

void SeatTable::Admit(const Admission& admission) {
  QUIRE_CHECK_LT(Index(admission.seat), seats_.size());
  Seat& seat = seats_[Index(admission.seat)];
  QUIRE_CHECK(!seat.active, "seat {} is taken", Index(admission.seat));
  QUIRE_CHECK_EQ(admission.adapter_id, 0U);
  QUIRE_CHECK_LE(admission.num_prompt_tokens, admission.history.size());
  seat.active = true;
  seat.request = admission.request;
  seat.stream = admission.stream;
  seat.num_prompt_tokens = admission.num_prompt_tokens;
  seat.num_known = static_cast<uint32_t>(admission.history.size());
  seat.longest = LongestOf(admission);
  seat.params = admission.params;
  seat.stop_token_ids = admission.stop_token_ids;
  std::ranges::sort(seat.stop_token_ids);
  seat.uses_penalties = UsesPenalties(admission.params);
  seat.counts.Reset();
  Reserve(seat);
  seat.num_blocks.assign(static_cast<size_t>(limits_.num_groups), 0);
  if (!seat.uses_penalties) return;
  for (size_t i = 0; i < admission.history.size(); ++i) {
    const int32_t token = admission.history[i];
    QUIRE_CHECK(token >= 0 && token < limits_.vocab_size, "token {}", token);
    i < admission.num_prompt_tokens ? seat.counts.AddPrompt(token) : seat.counts.AddOutput(token);
  }
}

size_t SeatTable::LongestOf(const Admission& admission) const {
  auto longest = static_cast<size_t>(limits_.max_model_len);
  if (admission.params.max_tokens) {
    longest = std::min(longest, admission.num_prompt_tokens + static_cast<size_t>(*admission.params.max_tokens));
  }
  return std::max(longest, admission.history.size());
}

void SeatTable::Reserve(Seat& seat) const {
  const auto block_size = static_cast<size_t>(limits_.block_size);
  // Drafts may reach behind the last token.
  seat.table_stride = (seat.longest + kMaxDrafts + block_size - 1) / block_size;
  seat.block_tables.resize(static_cast<size_t>(limits_.num_groups) * seat.table_stride);
  if (seat.uses_penalties) seat.counts.Reserve(std::min(seat.longest, static_cast<size_t>(limits_.vocab_size)));
}

void SeatTable::ExtendHistory(SeatId seat, uint32_t first_position, std::span<const int32_t> tokens) {
  Seat& state = Find(seat);
  QUIRE_CHECK_LE(first_position, state.num_known);
  const size_t num_old = std::min<size_t>(state.num_known - first_position, tokens.size());
  for (const int32_t token : tokens.subspan(num_old)) {
    ++state.num_known;
    if (state.uses_penalties) state.counts.AddOutput(token);
  }
}

bool SeatTable::Covers(const Seat& seat, uint64_t end) const {
  const uint32_t num_blocks = *std::ranges::min_element(seat.num_blocks);
  return end <= static_cast<uint64_t>(limits_.max_model_len) &&
         end <= num_blocks * static_cast<uint64_t>(limits_.block_size);
}

}  // namespace quire
