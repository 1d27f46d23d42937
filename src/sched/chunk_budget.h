// ChunkBudget: how many prompt tokens a step may take beside the streams that decode in it. The two sides pull: a
// stream waits for its next token as long as the step lasts, and a prompt waits for its first token the longer, the
// more decode rows are computed meanwhile. Where rows cost compute nothing is free: in a closed loop prompts that get
// less than their share of the rows queue up, until nobody is left to decode.
//
//   ordinarily  a step with prompts lasts up to target_ratio times the step of the same decodes alone (StepTimes).
//               Where rows are cheap that is a large chunk, where they cost compute it is a small one.
//   hurried     Each prompt that waits is to be computed within `patience_steps` of its arrival, with all that wait
//               before it. If that needs more, the step takes more: up to target_ratio times the gap between tokens
//               that is typical by now. As long as prompts queue up most steps have prompts, that is what is typical,
//               and the bound rises to what the load needs; it falls when the queue is gone.
//   late        If that is not enough either, and those who decode are not many beside those who wait, the step takes
//               a large part of what is waiting: in as many steps, so as small ones, as the allowance of late gaps pays
//               for. That is a crowd that comes at once, of which otherwise the last would pay for the steady streams
//               of the first.
//
// So a gap is at most target_ratio medians long but for the late ones, and so is the 99th percentile as soon as these
// are fewer than one in a hundred: from some 3,000 gaps on. What is typical is kept as a multiple of the step of the
// decodes alone: a running median over thousands of gaps, so that neither the width of the batch nor the speed of the
// machine moves it, and a burst hardly does.
//
// A pure function of what was observed; no clock. It decides about time only: outputs do not depend on it.
#pragma once

#include <cstdint>

#include "sched/step_times.h"

namespace quire {

struct ChunkBudgetOptions {
  // Of a step to one without prompts, and of a gap to the typical one; 0: never limit. Below what latency may reach: a
  // step that is a little late, or a context that grows, adds to it.
  double target_ratio = 2.0;
  uint32_t min_tokens = 16;     // prompts always progress by this much
  uint32_t patience_steps = 4;  // what a prompt waits for its first token, if what is typical for gaps allows it
  // The allowance of late gaps: so many at the start, and a share of all that there are. What is not spent is kept, for
  // a few crowds. Together under one in a hundred from some 3,000 gaps on.
  double first_late_gaps = 14;
  double late_share = 0.005;
  double max_late_gaps = 96;
};

// Of the prompt tokens of a step: how many it may take, and how many of these make no gap late.
struct ChunkLimit {
  static constexpr uint32_t kUnlimited = 0xFFFFFFFF;
  uint32_t num_tokens = kUnlimited;
  uint32_t num_in_time = kUnlimited;
};

// The prompts that wait for their first token, in the order in which they are computed.
class PromptDemand {
 public:
  explicit PromptDemand(uint32_t patience_steps) : patience_steps_(patience_steps) {}

  // first_position: of its next row. num_steps: since it came, with the next one.
  void Add(uint32_t num_tokens, uint32_t first_position, uint64_t num_steps);

  uint32_t num_prompts() const { return num_prompts_; }
  // That the next step needs to take so that each is computed in time.
  uint64_t needed_tokens() const { return needed_tokens_; }
  uint64_t num_tokens() const { return num_tokens_; }          // of all of them
  uint32_t first_position() const { return first_position_; }  // of the first one

 private:
  uint32_t patience_steps_;
  uint32_t num_prompts_ = 0;
  uint32_t first_position_ = 0;
  uint64_t num_tokens_ = 0;
  uint64_t needed_tokens_ = 0;
};

class ChunkBudget {
 public:
  explicit ChunkBudget(const ChunkBudgetOptions& options) : options_(options) {}

  // Whether it would limit a step with these decodes at all; otherwise nobody needs to know the demand.
  bool Limits(const StepLoad& decodes) const;
  PromptDemand NoDemand() const { return PromptDemand(options_.patience_steps); }
  // Prompt tokens that the next step may take beside `decodes`.
  ChunkLimit Limit(const StepLoad& decodes, const PromptDemand& demand) const;
  // `all`: the decodes and the prompts of a step that had this limit.
  void Observe(const StepLoad& decodes, const StepLoad& all, const ChunkLimit& limit, int64_t duration_us);

  // What computing num_tokens of a prompt beside `decodes` costs. 0: not known.
  double PromptUs(const StepLoad& decodes, uint32_t num_tokens) const;
  const StepTimes& times() const { return times_; }
  double typical_stretch() const { return typical_stretch_; }
  double late_gaps_left() const { return late_gaps_left_; }

 private:
  uint32_t LateTokens(const StepLoad& decodes, const PromptDemand& demand) const;
  uint32_t TokensWithin(double us, const StepLoad& decodes, uint32_t first_position) const;

  const ChunkBudgetOptions options_;
  StepTimes times_;
  double late_gaps_left_ = options_.first_late_gaps;
  double typical_stretch_ = 1;  // the median gap, in steps of the same decodes alone
};

}  // namespace quire
