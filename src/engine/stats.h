// Numbers of a running engine: counters and histograms kept by the engine thread, copied out for /metrics.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "kv/slot_account.h"
#include "sched/speculation_counters.h"

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

// A SlotAccount integrated over time, in slot-seconds: the difference of two readings, divided by the time between
// them, is the time-weighted mean.
struct SlotSeconds {
  double token = 0, reserved = 0, internal = 0, external = 0, cached = 0, free = 0;
  double shared = 0, swapped = 0, on_disk = 0;

  void Add(const SlotAccount& slots, double seconds);
  SlotSeconds Since(const SlotSeconds& earlier) const;
  double total() const { return token + reserved + internal + external + cached + free; }
  // As SlotAccount::waste_pct.
  double waste_pct() const;
};

struct StatsSnapshot {
  // Gauges.
  size_t num_running = 0;      // sequences
  size_t num_waiting = 0;      // requests
  size_t num_swapped = 0;      // of these, in swap space
  uint64_t queued_tokens = 0;  // of prompts that have not started
  double kv_cache_usage = 0;   // 0 to 1: referenced blocks
  double swap_usage = 0;       // 0 to 1
  uint64_t blocks_total = 0, blocks_used = 0, blocks_cached = 0, blocks_free = 0, blocks_pinned = 0;
  uint64_t blocks_on_disk = 0;
  SlotAccount slots;
  SlotAccount most_slots;  // the largest value of each since the start
  // Counters.
  uint64_t prompt_tokens = 0;
  uint64_t prompt_tokens_cached = 0;  // of these, not computed
  uint64_t generation_tokens = 0;
  uint64_t prefix_queries = 0;        // tokens looked up
  uint64_t prefix_hits = 0;           // tokens found
  double recent_prefix_hit_rate = 0;  // of the latest thousand admissions
  uint64_t preemptions_recompute = 0, preemptions_swap = 0;
  uint64_t blocks_swapped_out = 0, blocks_swapped_in = 0, swap_failures = 0;
  uint64_t blocks_copied = 0;  // on write
  uint64_t disk_blocks_stored = 0, disk_blocks_loaded = 0, disk_blocks_missed = 0;
  uint64_t disk_store_failures = 0, disk_load_failures = 0;
  SpeculationCounters speculation;
  uint64_t steps = 0;
  uint64_t requests_stop = 0, requests_length = 0, requests_abort = 0, requests_error = 0;
  SlotSeconds slot_seconds;
  double running_seconds = 0;  // of sequences
  // Histograms.
  Histogram time_to_first_token_s;
  Histogram inter_token_latency_s;
  Histogram time_per_output_token_s;
  Histogram e2e_latency_s;
  Histogram queue_time_s;
  Histogram prefill_time_s;
  Histogram decode_time_s;
  Histogram inference_time_s;  // both together
  Histogram prompt_length;
  Histogram prefill_computed_tokens;  // of a prompt, without what the prefix cache held
  Histogram generation_length;        // all streams of a request together
  Histogram longest_generation;       // the longest of them
  Histogram n_param;
  Histogram tokens_per_step;
  Histogram max_tokens_param;

  StatsSnapshot();
  uint64_t preemptions() const { return preemptions_recompute + preemptions_swap; }
  // Integrates what holds now up to `now`. To be called before any of it changes.
  void AdvanceTo(TimeUs now);
  void SetSlots(const SlotAccount& now);

 private:
  TimeUs as_of_ = -1;
};

}  // namespace quire
