// StepBuilder: the step under construction, and what the runner mirrors: which seats are taken, which blocks of a
// sequence's table it has, what is to be forked. The only writer of a StepPlan. What happens between two plans (forks,
// seats that are left) is kept for the next one. Host logic; no thread safety.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/block_id.h"
#include "kv/block_table.h"
#include "kv/disk_tier.h"
#include "kv/kv_space.h"
#include "kv/prefix_index.h"
#include "sched/sequence.h"
#include "sched/step.h"
#include "sched/transfer_ledger.h"

namespace quire {

struct StepBuilderOptions {
  uint32_t num_seats = 0;
  uint32_t block_size = 16;
  uint32_t max_chunk = 0;                // of one prompt in a step; 0: as many rows as there are
  bool ends_chunks_with_blocks = false;  // where it costs little: full blocks can be shared
};

// A sequence that takes its next token's row in this step.
struct Decode {
  SequenceGroup* group = nullptr;
  Sequence* sequence = nullptr;
};

class StepBuilder {
 public:
  explicit StepBuilder(const StepBuilderOptions& options);

  const Step& step() const { return step_; }
  const StepPlan& plan() const { return step_.plan; }
  uint64_t number() const { return step_.plan.step; }  // of the step, 0 before the first

  // The next step, of at most max_rows, with what has been kept for it. REQUIRES: none is in flight.
  void Begin(uint32_t max_rows);
  // The plan is complete: in flight until its result is there, unless it is empty.
  const StepPlan& Finish();
  // REQUIRES: `result` answers the step in flight.
  const Step& Land(const StepResult& result);
  bool in_flight() const { return in_flight_; }
  // Rows from now on are prompts', as many as the limit says.
  void LimitPrompts(const ChunkLimit& limit);
  // If there is nothing else to do than to wait for a disk.
  void AwaitTransfers();
  TransferLedger& ledger() { return ledger_; }
  const TransferLedger& ledger() const { return ledger_; }
  uint32_t rows_left() const { return rows_left_; }
  uint32_t prompt_rows_left() const { return prompt_rows_left_; }

  // The next row of a sequence that decodes, with its tasks. REQUIRES: its table has the slot; rows_left() > 0, or
  // another of its group has a row.
  void AddDecode(const SequenceGroup& group, Sequence& sequence);
  // That row is kept for it, and comes when it is known whether others follow it. REQUIRES: the same.
  void PromiseDecode(SequenceGroup& group, Sequence& sequence);
  std::span<const Decode> promised() const { return promised_; }
  // `drafts`: guesses of what follows its last token, to be verified. REQUIRES: it was promised; its table has the
  // slots of all of them; drafts are none's but a sample's.
  void AddPromised(const Decode& decode, std::span<const int32_t> drafts);
  void AddPrompt(const SequenceGroup& group, Sequence& sequence, uint32_t num_rows);
  // How many of num_wanted rows of a prompt this step takes. REQUIRES: num_wanted and prompt_rows_left() are above 0.
  uint32_t ChunkFor(const Sequence& sequence, uint32_t num_wanted) const;

  // The sequence takes a seat and the runner is told all about it. REQUIRES: one is free.
  void Admit(const SequenceGroup& group, Sequence& sequence);
  // The blocks of tokens [0, end), as far as they are there and the runner does not know them: it has to know what is
  // copied before it hears of the copy.
  void SendBlocks(Sequence& sequence, uint32_t group, uint32_t end) {
    if (uint64_t{sequence.num_blocks_sent[group]} * options_.block_size < end) SendNewBlocks(sequence, group, end);
  }
  void AddCopies(const Sequence& sequence, uint32_t group, std::span<const CopyOnWrite> copies);
  // Under way from now on. REQUIRES: the block that it holds, if any, has been given a reference for it.
  Transfer& AddTransfer(const PendingTransfer& transfer);
  // The blocks and digests are in `index`.
  void AddWrites(const DiskTier::Writes& writes, const PrefixIndex& index);
  void AttachTokens(Transfer& transfer, std::span<const int32_t> tokens);
  // What this plan was to do for the group's seats before they are given up. Seats that it was to enter stay empty.
  void Drop(SequenceGroup& group);
  // Tells the runner, with this plan, which seats are empty by now.
  void SendRemovals();

  // Between two plans. REQUIRES: both have seats. `copies`: of the parent's blocks to its own.
  void Fork(const Sequence& parent, Sequence& child, std::vector<KvSpace::Copy> copies);
  void TakeSeat(Sequence& child);
  // The runner hears of it with the next plan, or SendRemovals. Nothing for who has no seat.
  void FreeSeat(Sequence& sequence);

  // `taken`: by the sequences that run.
  void CheckInvariants(std::span<const SeatId> taken) const;

 private:
  void SendNewBlocks(Sequence& sequence, uint32_t group, uint32_t end);
  struct PendingFork {
    SeatFork fork;
    std::vector<KvSpace::Copy> copies;
  };

  void SendForks();
  void AddRows(const SequenceGroup& group, Sequence& sequence, uint32_t num_known, std::span<const int32_t> drafts);
  void AddTasks(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span, uint32_t num_known);
  void AddScores(const SequenceGroup& group, const Sequence& sequence, const PlanSpan& span);

  const StepBuilderOptions options_;
  Step step_;
  bool in_flight_ = false;
  uint32_t rows_left_ = 0;
  uint32_t prompt_rows_left_ = 0;
  std::vector<Decode> promised_;
  std::vector<SeatId> free_seats_;  // the runner has none of these
  std::vector<SeatId> left_seats_;  // empty here, but the runner has not been told
  TransferLedger ledger_;
  std::vector<PendingFork> forks_;
};

}  // namespace quire
