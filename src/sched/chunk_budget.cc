#include "sched/chunk_budget.h"

#include <algorithm>
#include <cstddef>

namespace quire {

uint32_t ChunkBudget::Limit(uint32_t num_decode_tokens) const {
  if (options_.target_ratio <= 0 || num_decode_tokens == 0) return kUnlimited;
  if (num_decode_steps_ == 0 || mixed_in_a_row_ >= options_.refresh_interval) return 0;
  if (base_us_ <= 0) return kUnlimited;  // nothing is being timed
  // Small chunks may cost next to nothing (the weights are read anyway), which says little about large ones: grow by
  // doubling.
  const double growth = 2.0 * std::max(proven_chunk_, static_cast<double>(options_.min_tokens));
  const double room_us = (options_.target_ratio - 1.0) * base_us_;
  // Before anything is known the smallest chunk is what tells.
  const double affordable = prompt_token_us_ > 0 ? room_us / prompt_token_us_ : 0;
  return std::max(static_cast<uint32_t>(std::min(affordable, growth)), options_.min_tokens);
}

void ChunkBudget::Observe(const StepObservation& step) {
  if (step.num_prompt_tokens == 0) {
    if (step.num_decode_tokens == 0) return;
    mixed_in_a_row_ = 0;
    ObserveBase(step.duration_us);
    return;
  }
  if (step.num_decode_tokens > 0) {
    ++mixed_in_a_row_;
    proven_chunk_ = std::max(0.9 * proven_chunk_, static_cast<double>(step.num_prompt_tokens));
  }
  ObservePrompt(step);
}

void ChunkBudget::ObserveBase(int64_t duration_us) {
  decode_us_[num_decode_steps_++ % kWindow] = duration_us;
  std::array<int64_t, kWindow> sorted = decode_us_;
  const auto count = static_cast<ptrdiff_t>(std::min(num_decode_steps_, kWindow));
  std::nth_element(sorted.begin(), sorted.begin() + count / 2, sorted.begin() + count);
  base_us_ = static_cast<double>(sorted[static_cast<size_t>(count / 2)]);
}

void ChunkBudget::ObservePrompt(const StepObservation& step) {
  constexpr double kKeep = 0.75;
  extra_us_ = kKeep * extra_us_ + std::max(static_cast<double>(step.duration_us) - base_us_, 0.0);
  extra_tokens_ = kKeep * extra_tokens_ + step.num_prompt_tokens;
  prompt_token_us_ = extra_us_ / extra_tokens_;
}

}  // namespace quire
