// SeatTable: a runner's mirror of the running sequences. It follows the plans' forks, removals, admissions, tokens and
// blocks, and checks that they are consistent. Memory of a seat is reserved when a sequence enters it, for its whole
// life, and kept for the next one: a fork into a seat that has held a sequence of the same kind allocates nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quire/sampling_params.h"
#include "sampling/token_counts.h"
#include "sched/step_plan.h"

namespace quire {

struct SeatLimits {
  int32_t num_seats = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 0;
  int32_t num_groups = 1;  // KV groups
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
};

struct Seat {
  bool active = false;
  RequestId request = {};
  uint32_t stream = 0;
  uint32_t num_prompt_tokens = 0;
  uint32_t num_known = 0;  // tokens of its history
  size_t longest = 0;      // tokens that it may come to hold: what is reserved
  SamplingParams params;
  std::vector<int32_t> stop_token_ids;
  bool uses_penalties = false;  // only then are tokens counted
  TokenCounts counts;
  std::vector<uint32_t> num_blocks;    // of each KV group's table
  std::vector<uint32_t> block_tables;  // [groups, table_stride]
  size_t table_stride = 0;

  std::span<const uint32_t> table(size_t group) const {
    return std::span(block_tables).subspan(group * table_stride, num_blocks[group]);
  }
};

class SeatTable {
 public:
  explicit SeatTable(const SeatLimits& limits);

  // Forks, removals, admissions, appended blocks, and the tables' side of copies, in this order.
  void Apply(const StepPlan& plan);
  // The sequence has these tokens from first_position on: those that are known already, and new ones behind them.
  void ExtendHistory(SeatId seat, uint32_t first_position, std::span<const int32_t> tokens);

  // REQUIRES: a sequence is in it.
  const Seat& at(SeatId seat) const;
  // Whether the seat's tables reach behind positions [0, end).
  bool Covers(const Seat& seat, uint64_t end) const;

 private:
  Seat& Find(SeatId seat);
  void Append(const BlockAppend& append);
  void Replace(const BlockCopy& copy);
  void Fork(const SeatFork& fork);
  void Admit(const Admission& admission);
  size_t LongestOf(const Admission& admission) const;
  void Reserve(Seat& seat) const;

  SeatLimits limits_;
  std::vector<Seat> seats_;
};

}  // namespace quire
