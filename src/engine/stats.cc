#include "engine/stats.h"

#include <algorithm>

namespace quire {
namespace {

// The bounds of vLLM's histograms, so that its dashboards read ours. Seconds, then tokens.
constexpr double kFirstToken[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                                  1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
constexpr double kInterToken[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                  0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
constexpr double kLatency[] = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                               30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
constexpr double kLength[] = {1,    2,    5,    10,    20,    50,    100,    200,   500,
                              1000, 2000, 5000, 10000, 20000, 50000, 100000, 200000};
constexpr double kChoices[] = {1, 2, 5, 10, 20};
constexpr double kStepTokens[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

}  // namespace

Histogram::Histogram(std::span<const double> upper_bounds) : bounds(upper_bounds), counts(upper_bounds.size() + 1) {}

void Histogram::Observe(double value, uint64_t times) {
  const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), value) - bounds.begin();
  counts[static_cast<size_t>(bucket)] += times;
  sum += value * static_cast<double>(times);
  count += times;
}

StatsSnapshot::StatsSnapshot()
    : time_to_first_token_s(kFirstToken),
      inter_token_latency_s(kInterToken),
      time_per_output_token_s(kInterToken),
      e2e_latency_s(kLatency),
      queue_time_s(kLatency),
      prefill_time_s(kLatency),
      decode_time_s(kLatency),
      inference_time_s(kLatency),
      prompt_length(kLength),
      prefill_computed_tokens(kLength),
      generation_length(kLength),
      longest_generation(kLength),
      n_param(kChoices),
      tokens_per_step(kStepTokens),
      max_tokens_param(kLength) {}

void StatsSnapshot::AdvanceTo(TimeUs now) {
  if (as_of_ >= 0 && now > as_of_) {
    const double seconds = static_cast<double>(now - as_of_) * 1e-6;
    for (size_t i = 0; i < kNumSlotStates; ++i) {
      slot_seconds.values[i] += static_cast<double>(scheduler.slots.values[i]) * seconds;
    }
    running_seconds += static_cast<double>(scheduler.num_running) * seconds;
  }
  as_of_ = std::max(as_of_, now);
}

void StatsSnapshot::SetScheduler(const SchedulerStats& now) {
  scheduler = now;
  for (size_t i = 0; i < kNumSlotStates; ++i) {
    most_slots.values[i] = std::max(most_slots.values[i], now.slots.values[i]);
  }
}

}  // namespace quire
