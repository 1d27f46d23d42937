// FakeRunner: a StepRunner without a model, for tests and benchmarks. It keeps, per physical token slot, what a model
// would have written there: the token and a digest of everything before it, read through the block table. The token
// that a row draws is a hash of that digest, the seed and the position: a function of the sequence alone, so that any
// mistake in sharing, copying or reusing blocks shows as a wrong token. Before a span is computed, the whole history
// behind it is compared with the tokens that the sequence should have; a difference, or a plan that breaks the
// protocol, is an error.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "sched/step_runner.h"

namespace quire {

struct FakeRunnerOptions {
  uint32_t num_slots = 256;
  uint32_t num_blocks = 0;
  uint32_t block_size = 16;
  int32_t vocab_size = 1000;
  bool verify = true;         // false: tokens depend on the seed and position only, and nothing is read or checked
  int64_t step_us = 0;        // simulated time: of a step,
  int64_t prompt_row_us = 0;  // and of each row beyond the first of a span
};

class FakeRunner final : public StepRunner {
 public:
  explicit FakeRunner(const FakeRunnerOptions& options);

  Status Submit(const StepPlan& plan) override;
  Status Sample(std::span<const std::span<const uint32_t>> masks) override;
  Status Collect(StepResult& result) override;

  // The logits that draw this request's token at `position` hold a NaN.
  void InjectNan(RequestId request, uint32_t position) { nans_.emplace(request, position); }

  // What a request says when it is served alone: `num_tokens` tokens after `prompt`.
  static std::vector<int32_t> Continue(std::vector<int32_t> prompt, uint64_t seed, uint32_t num_tokens,
                                       int32_t vocab_size);

  uint32_t num_occupied_slots() const;

 private:
  struct Cell {  // what one physical token slot holds
    int32_t token = -1;
    uint64_t digest = 0;  // of the sequence up to and with the token
  };
  struct Slot {
    bool occupied = false;
    Admission admission;
    std::vector<int32_t> history;
    std::vector<BlockId> table;
  };

  Status ApplyTables(const StepPlan& plan);
  Status Remove(SlotId slot);
  Status Admit(const Admission& admission);
  Status AppendBlock(const BlockAppend& append);
  Status Copy(const BlockCopy& copy);
  Status RunSpan(const StepPlan& plan, const PlanSpan& span);
  Status VerifyHistory(const Slot& slot, uint32_t end) const;
  Status RunTask(const RowTask& task);
  Result<Slot*> Occupied(SlotId slot);
  Result<Cell*> CellAt(const Slot& slot, uint32_t position);
  Result<int32_t> TokenOf(const TokenSource& source) const;
  void Draw(int32_t token, uint64_t digest, std::optional<int32_t> num_candidates);

  const FakeRunnerOptions options_;
  std::vector<Slot> slots_;
  std::vector<Cell> cells_;            // [blocks, block_size]
  std::vector<uint32_t> num_tables_;   // [blocks]: tables that hold it
  std::vector<uint64_t> row_digests_;  // [rows] of the step
  std::set<std::pair<RequestId, uint32_t>> nans_;
  std::vector<int32_t> previous_;  // by task of the step before
  bool submitted_ = false;
  StepResult result_;
};

}  // namespace quire
