// ChunkBudget: how many prompt tokens a step may take without stalling the streams that decode in it. From observed
// step times it keeps the median of decode-only steps and the price of a prompt token beside them, t = base + price *
// n, and limits n so that t stays under target_ratio * base. A pure function of what was observed; no clock. It decides
// about time only: outputs do not depend on it.
#pragma once

#include <array>
#include <cstdint>

namespace quire {

struct ChunkBudgetOptions {
  // Step time beside prompts / decode-only step time; 0: never limit. Below what latency may reach, since a step that
  // is a little late, or a context that grows, adds to it.
  double target_ratio = 1.75;
  uint32_t min_tokens = 16;        // prompts always progress by this much
  uint32_t refresh_interval = 32;  // after so many mixed steps in a row, one without prompts measures the base again
};

struct StepObservation {
  uint32_t num_decode_tokens = 0;
  uint32_t num_prompt_tokens = 0;
  int64_t duration_us = 0;
};

class ChunkBudget {
 public:
  static constexpr uint32_t kUnlimited = 0xFFFFFFFF;

  explicit ChunkBudget(const ChunkBudgetOptions& options) : options_(options) {}

  // Prompt tokens that the next step may take beside num_decode_tokens. 0: none this time.
  uint32_t Limit(uint32_t num_decode_tokens) const;
  void Observe(const StepObservation& step);

  double base_us() const { return base_us_; }                  // 0: not known
  double prompt_token_us() const { return prompt_token_us_; }  // 0: not known

 private:
  static constexpr uint32_t kWindow = 9;

  void ObserveBase(int64_t duration_us);
  void ObservePrompt(const StepObservation& step);

  const ChunkBudgetOptions options_;
  std::array<int64_t, kWindow> decode_us_ = {};  // the latest decode-only steps, a ring
  uint32_t num_decode_steps_ = 0;
  uint32_t mixed_in_a_row_ = 0;
  double proven_chunk_ = 0;  // prompt tokens of recent mixed steps: the most, slowly forgotten
  double base_us_ = 0;
  // Exponentially weighted: time above the base, and the prompt tokens it was spent on.
  double extra_us_ = 0;
  double extra_tokens_ = 0;
  double prompt_token_us_ = 0;
};

}  // namespace quire
