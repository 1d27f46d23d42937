// FakeRunner: a StepRunner without a model, for tests and benchmarks. It keeps, per physical token slot, what a model
// would have written there: the token and a digest of everything before it, and of the KV group, read through the
// group's block table. The token that a row draws is a hash of that digest, the seed and the position: a function of
// the sequence alone, so that any mistake in sharing, copying or reusing blocks shows as a wrong token. Before a span
// is computed, what its first row sees of the history, in each group, is compared with the tokens that the sequence
// should have; a difference, or a plan that breaks the protocol, is an error. So is a write to a block that a transfer
// holds.
//
// Swap space and disk are arrays in memory. Transfers with the disk take a number of steps, and read or write their
// block only when they end, so that whoever touches it before is found out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "kv/kv_group.h"
#include "sched/step_runner.h"
#include "sched/step_times.h"

namespace quire {

// What a fake runner has on disk; outlives it, as files do.
struct FakeDisk {
  struct Cell {  // what one physical token slot holds
    int32_t token = -1;
    uint64_t digest = 0;  // of the sequence up to and with the token
  };
  struct Entry {
    PrefixDigest parent;
    std::vector<int32_t> tokens;
    std::vector<Cell> cells;
  };
  std::unordered_map<PrefixDigest, Entry> entries;
};

struct FakeRunnerOptions {
  uint32_t num_seats = 256;
  uint32_t num_blocks = 0;
  uint32_t block_size = 16;
  std::vector<KvGroup> kv_groups = {KvGroup{}};
  int32_t vocab_size = 1000;
  bool verify = true;         // false: tokens depend on the seed and position only, and nothing is read or checked
  int64_t step_us = 0;        // simulated time: of a step,
  int64_t prompt_row_us = 0;  // and of each row beyond the first of a span
  int64_t swap_block_us = 0;  // and of each block that is swapped
  std::function<int64_t(const StepLoad&)> time_us;  // or of a step as a whole
  uint32_t num_swap_blocks = 0;
  std::shared_ptr<FakeDisk> disk;                       // null: transfers with the disk fail
  uint32_t disk_delay_steps = 0;                        // how many steps later a transfer with the disk ends, at most
  std::function<bool(const Transfer&)> transfer_fails;  // asked once for each; empty: none does
};

class FakeRunner final : public StepRunner {
 public:
  explicit FakeRunner(const FakeRunnerOptions& options);

  Status Submit(const StepPlan& plan) override;
  Status Sample(const StepMasks& masks) override;
  Status Collect(StepResult& result) override;

  // The logits that draw this request's token at `position` hold a NaN.
  void InjectNan(RequestId request, uint32_t position) { nans_.emplace(request, position); }

  // What a request says when it is served alone: `num_tokens` tokens after `prompt`.
  static std::vector<int32_t> Continue(std::vector<int32_t> prompt, uint64_t seed, uint32_t num_tokens,
                                       int32_t vocab_size);

  uint32_t num_occupied_seats() const;

 private:
  using Cell = FakeDisk::Cell;
  struct DiskTransfer {
    Transfer transfer;
    std::vector<int32_t> tokens;
    uint64_t ends_at_step = 0;
  };
  struct Seat {
    bool occupied = false;
    Admission admission;
    std::vector<int32_t> history;
    uint32_t num_computed = 0;      // rows that the next step need not see again
    std::vector<uint64_t> digests;  // of the history up to and with each token, as far as they have been asked for
    std::vector<std::vector<std::optional<BlockId>>> tables;  // by KV group; none: not there, or not seen any more
  };

  Status ApplyTables(const StepPlan& plan);
  Status Fork(const SeatFork& fork);
  Status SwapOut(const StepPlan& plan);
  Status TransferIn(const StepPlan& plan);
  void EndDiskTransfers(const StepPlan& plan);
  bool EndDiskTransfer(const DiskTransfer& ended);
  Result<std::span<Cell>> CellsOf(BlockId block);
  void Report(const Transfer& transfer, bool completed);
  bool Fails(const Transfer& transfer) const;
  Status Remove(SeatId seat);
  Status Admit(const Admission& admission);
  Status AppendBlock(const BlockAppend& append);
  Status Copy(const BlockCopy& copy);
  Status RunSpan(const StepPlan& plan, const PlanSpan& span);
  Result<uint64_t> VerifyHistory(Seat& seat, uint32_t end) const;
  Status WriteRow(const Seat& seat, uint32_t position, int32_t token, uint64_t digest);
  void ForgetUnseen(const StepPlan& plan);
  Status RunTask(const StepPlan& plan, const RowTask& task);
  Status Verify(const StepPlan& plan, const RowTask& task, Seat& seat);
  static uint32_t NumDrafts(const StepPlan& plan, const PlanSpan& span);
  int64_t TimeOf(const StepPlan& plan) const;
  Result<Seat*> Occupied(SeatId seat);
  Result<BlockId> BlockAt(const Seat& seat, uint32_t group, uint32_t position) const;
  size_t CellIndex(BlockId block, uint32_t position) const {
    return static_cast<size_t>(block) * options_.block_size + position % options_.block_size;
  }
  void Draw(int32_t token, uint64_t digest, std::optional<int32_t> num_candidates);
  void DrawBest(const Seat& seat, const RowTask& task, uint64_t digest);

  const FakeRunnerOptions options_;
  std::vector<Seat> seats_;
  std::vector<Cell> cells_;            // [blocks, block_size]
  std::vector<uint32_t> num_tables_;   // [blocks]: tables that hold it
  std::vector<uint64_t> row_digests_;  // [rows] of the step
  std::set<std::pair<RequestId, uint32_t>> nans_;
  std::vector<Cell> swap_;  // [swap blocks, block_size]
  std::vector<DiskTransfer> disk_transfers_;
  std::vector<uint32_t> num_holds_;  // [blocks]: transfers with the disk
  bool submitted_ = false;
  StepResult result_;
};

}  // namespace quire
