// Numbers of a running engine: counters and histograms kept by the engine thread, copied out for /metrics.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quire {

// Cumulative counts under fixed upper bounds, in the unit of the metric.
struct Histogram {
  std::span<const double> bounds;  // ascending; static storage
  std::vector<uint64_t> counts;    // [bounds.size() + 1], not cumulative
  double sum = 0;
  uint64_t count = 0;

  explicit Histogram(std::span<const double> upper_bounds = {});
  void Observe(double value, uint64_t times = 1);
};

struct StatsSnapshot {
  // Gauges.
  size_t num_running = 0;
  size_t num_waiting = 0;
  double kv_cache_usage = 0;  // 0 to 1: referenced blocks
  uint64_t blocks_total = 0, blocks_used = 0, blocks_cached = 0, blocks_free = 0;
  // Counters.
  uint64_t prompt_tokens = 0;
  uint64_t generation_tokens = 0;
  uint64_t prefix_queries = 0;  // tokens looked up
  uint64_t prefix_hits = 0;     // tokens found
  uint64_t preemptions = 0;
  uint64_t steps = 0;
  uint64_t requests_stop = 0, requests_length = 0, requests_abort = 0, requests_error = 0;
  // Histograms.
  Histogram time_to_first_token_s;
  Histogram inter_token_latency_s;
  Histogram time_per_output_token_s;
  Histogram e2e_latency_s;
  Histogram queue_time_s;
  Histogram prefill_time_s;
  Histogram decode_time_s;
  Histogram prompt_length;
  Histogram generation_length;
  Histogram tokens_per_step;
  Histogram max_tokens_param;

  StatsSnapshot();
};

}  // namespace quire
