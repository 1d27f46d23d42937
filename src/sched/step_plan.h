// StepPlan and StepResult: the seam between deciding and computing. Flat values without pointers: a plan can be sent to
// another process, and the file of a run's plans replays it.
//
// A runner mirrors per-sequence state (block table, sampling parameters, token history) in dense seats and applies a
// plan in this order: forks, removals, admissions, appended blocks, transfers out of the pool, block copies, transfers
// into the pool, rows, tasks. The rows are the history: a row's token is appended to its seat's history when the row's
// position is the history's end. Drafts alone are not history before they are accepted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/block_id.h"
#include "kv/prefix_digest.h"
#include "quire/result.h"
#include "quire/sampling_params.h"
#include "sched/ids.h"

namespace quire {

// A sequence enters a seat. Its history is the prompt and every token generated so far (a sequence that was preempted
// comes back with them), so that penalties see the same tokens as if it had never left.
struct Admission {
  SeatId seat = {};
  RequestId request = {};
  uint32_t stream = 0;  // which of the request's sequences: part of its random key
  SamplingParams params;
  std::vector<int32_t> stop_token_ids;  // EOS and the request's own: masked before min_tokens
  std::vector<int32_t> history;
  uint32_t num_prompt_tokens = 0;
  uint64_t adapter_id = 0;  // 0: none
  friend bool operator==(const Admission&, const Admission&);
};

// The child's seat becomes a copy of the parent's: history, parameters, counts and block table. A child that is taken
// is replaced. No seat is parent and child in one plan.
struct SeatFork {
  SeatId parent = {};
  SeatId child = {};
  uint32_t stream = 0;  // the child's
  friend bool operator==(const SeatFork&, const SeatFork&) = default;
};

// The runner's table of `seat` in a KV group becomes longer: `block` is at `table_index`, behind those it has. What is
// skipped, and what has fallen out of a window since, is not read.
struct BlockAppend {
  SeatId seat = {};
  uint32_t group = 0;
  uint32_t table_index = 0;
  BlockId block = {};
  friend bool operator==(const BlockAppend&, const BlockAppend&) = default;
};

// Copy-on-write: the runner's table of `seat` in a KV group becomes `destination` at `table_index`.
struct BlockCopy {
  SeatId seat = {};
  uint32_t group = 0;
  uint32_t table_index = 0;
  BlockId source = {};
  BlockId destination = {};
  friend bool operator==(const BlockCopy&, const BlockCopy&) = default;
};

// Swap and disk: one block each, whichever group it is of. Issued by a plan, reported by that step's result or a later
// one.
struct Transfer {
  enum class Kind : uint8_t {
    kSwapOut,  // block -> place, before anything of this step writes to the block; reported with this step
    kSwapIn,   // place -> block; reported with this step
    kStore,    // block -> disk as `digest`; the block is not written until this is reported
    kLoad,     // disk -> block; nobody reads or writes the block until this is reported
    kDrop,     // `digest` goes from the disk
  };
  uint64_t id = 0;
  Kind kind = Kind::kSwapOut;
  BlockId block = {};
  uint32_t place = 0;        // in swap space
  PrefixDigest digest;       // of the prefix that ends with the block
  PrefixDigest parent;       // of the prefix before it
  uint32_t first_token = 0;  // the block's tokens, in StepPlan::transfer_tokens: stored with it, compared on a load
  uint32_t num_tokens = 0;
  friend bool operator==(const Transfer&, const Transfer&) = default;
};

inline constexpr size_t kNumTransferKinds = 5;

// num_rows consecutive rows of the step, at consecutive positions of one sequence.
struct PlanSpan {
  SeatId seat = {};
  uint32_t first_row = 0;
  uint32_t num_rows = 0;
  uint32_t first_position = 0;
  friend bool operator==(const PlanSpan&, const PlanSpan&) = default;
};

// What is wanted of a row beyond its keys and values.
struct RowTask {
  enum class Kind : uint8_t {
    kSample,  // draw the token at `position` from this row's logits, for `draws` streams from its own on
    kVerify,  // draw up to `draws` tokens at `position` and after it: the tokens of the `draws` - 1 rows that follow
              // are drafts. A draft is accepted when it is the token drawn from the row before it; the first token
              // that is not, or the one behind the last draft, is the last one drawn
    kScore,   // the log-probability of `target`, the prompt's token at `position`
    kBest,    // the `draws` most likely tokens at `position`, best first, equal ones by id, none that is masked
  };
  Kind kind = Kind::kSample;
  uint32_t row = 0;
  SeatId seat = {};
  uint32_t stream = 0;
  uint32_t position = 0;  // of the token that is drawn or scored: the row's position + 1
  uint32_t draws = 1;
  int32_t target = -1;
  friend bool operator==(const RowTask&, const RowTask&) = default;
};

struct StepPlan {
  uint64_t step = 0;
  std::vector<SeatFork> forks;
  std::vector<SeatId> removals;
  std::vector<Admission> admissions;
  std::vector<BlockAppend> appended_blocks;
  std::vector<BlockCopy> copies;
  std::vector<Transfer> transfers;
  std::vector<int32_t> transfer_tokens;
  std::vector<PlanSpan> spans;   // rows are numbered span after span
  std::vector<int32_t> tokens;   // [rows]
  std::vector<RowTask> tasks;    // by row, ascending
  bool masks_follow = false;     // the runner waits for StepRunner::Sample(masks)
  bool await_transfers = false;  // there is nothing else to do: Collect waits a few ms for a transfer to end

  size_t num_rows() const { return tokens.size(); }
  bool empty() const {
    return forks.empty() && removals.empty() && admissions.empty() && transfers.empty() && tokens.empty() &&
           !await_transfers;
  }
  void Clear();  // keeps capacity
  friend bool operator==(const StepPlan&, const StepPlan&);
};

// Which tokens the draws of a step may give (structured output): bit t of a mask is token t's, in words of 32. Follows
// a plan that says so.
struct StepMasks {
  static constexpr uint32_t kAll = 0xFFFFFFFF;

  uint32_t words_per_mask = 0;
  std::vector<uint32_t> words;    // of all masks
  std::vector<uint32_t> offsets;  // where each mask begins in `words`, or kAll: one per kSample task, one per draw of a
                                  // kVerify task, in the order of the tasks
  friend bool operator==(const StepMasks&, const StepMasks&);
};

struct Candidate {
  int32_t token = 0;
  float logprob = 0;
  friend bool operator==(const Candidate&, const Candidate&) = default;
};

// A token that a task drew or scored.
struct TokenOutput {
  int32_t token = 0;
  float logprob = 0;
  uint32_t rank = 0;  // 1 for the most likely
  uint32_t first_candidate = 0;
  uint32_t num_candidates = 0;
  friend bool operator==(const TokenOutput&, const TokenOutput&) = default;
};

struct TaskResult {
  enum class Status : uint8_t { kOk, kNan };  // kNan: the row's logits hold a NaN; its request fails, no other
  Status status = Status::kOk;
  uint32_t first_token = 0;
  uint32_t num_tokens = 0;  // 0 to k
  friend bool operator==(const TaskResult&, const TaskResult&) = default;
};

struct StepResult {
  uint64_t step = 0;
  std::vector<TaskResult> tasks;  // one per task of the plan
  std::vector<TokenOutput> tokens;
  std::vector<Candidate> candidates;  // best first
  std::vector<uint64_t> transfers_completed;
  std::vector<uint64_t> transfers_failed;
  int64_t forward_us = 0;
  int64_t sample_us = 0;
  int64_t swap_out_us = 0;  // spent on the step's swap transfers
  int64_t swap_in_us = 0;

  void Clear();  // keeps capacity
  friend bool operator==(const StepResult&, const StepResult&);
};

}  // namespace quire
