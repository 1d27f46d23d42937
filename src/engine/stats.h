// Numbers of a running engine: kept by the engine thread, and published after every step for /metrics.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/enum_array.h"
#include "kv/slot_account.h"
#include "sched/request.h"
#include "sched/scheduler_report.h"

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

// A SlotAccount integrated over time: the difference of two readings, divided by the time between them, is the
// time-weighted mean.
using SlotSeconds = SlotCounts<double>;

struct StatsSnapshot {
  SchedulerStats scheduler;    // as of the last step
  uint64_t queued_tokens = 0;  // of prompts that have not started
  SlotAccount most_slots;      // the largest value of each since the start
  // Counters.
  uint64_t prompt_tokens = 0;
  uint64_t prompt_tokens_cached = 0;  // of these, not computed
  uint64_t generation_tokens = 0;
  uint64_t steps = 0;
  EnumArray<FinishReason, uint64_t, kNumFinishReasons> finished;  // requests, by how they ended
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
  // Integrates what holds now up to `now`. To be called before any of it changes.
  void AdvanceTo(TimeUs now);
  void SetScheduler(const SchedulerStats& now);

 private:
  TimeUs as_of_ = -1;
};

}  // namespace quire
