// Workloads: when requests arrive, how long their prompts are, and how much they say. What a benchmark submits to a
// running engine, a simulation can submit to a simulated one. The same options give the same workload, on any machine.
//
// sharegpt and alpaca have the lengths of the paper's Figure 11 (PagedAttention, SOSP 2023): truncated log-normal
// distributions that were fitted to its histograms (Kolmogorov-Smirnov distance 0.05 and 0.065 for ShareGPT's inputs
// and outputs, 0.07 and 0.09 for Alpaca's); inputs and outputs are independent, and pairs that exceed the paper's
// context of 2048 tokens are drawn again.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "quire/result.h"

namespace quire {

enum class WorkloadKind : uint8_t { kShareGpt, kAlpaca, kUniform };

// "sharegpt", "alpaca", "uniform".
std::optional<WorkloadKind> ParseWorkload(std::string_view name);

struct WorkloadOptions {
  WorkloadKind kind = WorkloadKind::kShareGpt;
  uint32_t num_requests = 100;
  double request_rate = std::numeric_limits<double>::infinity();  // per second, Poisson; infinite: all at once
  double length_scale = 1;                                        // of both lengths, which are 1 token at least
  uint32_t max_total_tokens = 2048;  // prompt and output of a request: longer ones are drawn again
  // uniform: each length is even within [length * (1 - range_ratio), length * (1 + range_ratio)].
  uint32_t input_len = 128;
  uint32_t output_len = 128;
  double range_ratio = 0;
  uint64_t seed = 0;
};

struct WorkloadRequest {
  double arrival_s = 0;  // since the start, ascending
  uint32_t num_prompt_tokens = 0;
  uint32_t num_output_tokens = 0;
};

// The lengths do not depend on the rate. An error if requests of such lengths hardly ever fit max_total_tokens.
Result<std::vector<WorkloadRequest>> MakeWorkload(const WorkloadOptions& options);

}  // namespace quire
