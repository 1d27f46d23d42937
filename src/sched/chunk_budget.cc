#include "sched/chunk_budget.h"

#include <algorithm>
#include <cmath>

namespace quire {

void PromptDemand::Add(uint32_t num_tokens, uint32_t first_position, uint64_t num_steps) {
  if (num_prompts_++ == 0) first_position_ = first_position;
  num_tokens_ += num_tokens;
  const uint64_t steps_left = num_steps <= patience_steps_ ? patience_steps_ + 1 - num_steps : 1;
  needed_tokens_ = std::max(needed_tokens_, (num_tokens_ + steps_left - 1) / steps_left);
}

bool ChunkBudget::Limits(const StepLoad& decodes) const {
  return options_.target_ratio > 0 && decodes.num_rows > 0 && times_.known();
}

ChunkLimit ChunkBudget::Limit(const StepLoad& decodes, const PromptDemand& demand) const {
  if (!Limits(decodes)) return {};
  const double ordinary_us = options_.target_ratio * times_.Us(decodes);
  const uint32_t ordinary = std::max(TokensWithin(ordinary_us, decodes, demand.first_position()), options_.min_tokens);
  if (demand.needed_tokens() <= ordinary) return {ordinary, ordinary};
  // The width that the batch has once those who wait have joined: their gaps will be the longer for it anyway.
  const uint32_t num_joining = demand.num_prompts();
  StepLoad joined = decodes;
  joined.num_rows += num_joining;
  joined.num_pairs += decodes.num_pairs / decodes.num_rows * num_joining;
  const double hurried_us = options_.target_ratio * typical_stretch_ * times_.Us(joined);
  const uint32_t hurried = std::max(TokensWithin(hurried_us, decodes, demand.first_position()), ordinary);
  if (demand.needed_tokens() <= hurried) return {static_cast<uint32_t>(demand.needed_tokens()), hurried};
  return {std::max(hurried, LateTokens(decodes, demand)), hurried};
}

// All that waits, in equal steps. Each makes the gap of every stream late that decodes by then, those with it that had
// their first token from the steps before: of k steps about k * decoding + (k - 1) / 2 * waiting gaps.
uint32_t ChunkBudget::LateTokens(const StepLoad& decodes, const PromptDemand& demand) const {
  constexpr double kMostPerWaiting = 4;  // streams made late for a prompt that waits
  const double num_waiting = demand.num_prompts(), num_decoding = decodes.num_rows;
  if (num_decoding > std::min(kMostPerWaiting * num_waiting, late_gaps_left_)) return 0;
  const double num_steps = std::floor((late_gaps_left_ + num_waiting / 2) / (num_decoding + num_waiting / 2));
  return static_cast<uint32_t>(std::ceil(static_cast<double>(demand.num_tokens()) / num_steps));
}

// The most prompt tokens beside which the step is over within `us`.
uint32_t ChunkBudget::TokensWithin(double us, const StepLoad& decodes, uint32_t first_position) const {
  uint32_t fits = 0, exceeds = 1U << 21;
  while (exceeds - fits > 1) {
    const uint32_t num_tokens = fits + (exceeds - fits) / 2;
    StepLoad load = decodes;
    load.Add(num_tokens, first_position);
    (times_.Us(load) <= us ? fits : exceeds) = num_tokens;
  }
  return fits;
}

void ChunkBudget::Observe(const StepLoad& decodes, const StepLoad& all, const ChunkLimit& limit, int64_t duration_us) {
  const uint32_t num_gaps = decodes.num_rows;
  late_gaps_left_ = std::min(late_gaps_left_ + options_.late_share * num_gaps, options_.max_late_gaps);
  if (all.num_rows - num_gaps > limit.num_in_time) late_gaps_left_ -= num_gaps;
  times_.Observe(all, duration_us);
  const double alone_us = times_.Us(decodes);
  if (alone_us <= 0 || duration_us <= 0) return;
  // A running median: each gap moves it by the same small factor, up or down.
  constexpr double kGaps = 8000;  // that move it by e
  constexpr double kMost = 0.1;
  const double factor = std::exp(std::min(decodes.num_rows / kGaps, kMost));
  const bool longer = static_cast<double>(duration_us) > typical_stretch_ * alone_us;
  typical_stretch_ = std::max(longer ? typical_stretch_ * factor : typical_stretch_ / factor, 1.0);
}

double ChunkBudget::PromptUs(const StepLoad& decodes, uint32_t num_tokens) const {
  StepLoad all = decodes;
  all.Add(num_tokens, 0);
  return std::max(times_.Us(all) - times_.Us(decodes), 0.0);
}

}  // namespace quire
