#include "server/api/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <limits>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "quire/version.h"
#include "server/api/model_context.h"

namespace quire::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Page {
 public:
  explicit Page(Labels labels) : labels_(std::move(labels)) {}

  // Further values of the family that was added last take other labels.
  void Gauge(const char* name, const char* help, double value, Labels more = {}) {
    Add(name, help, MetricType::Gauge, std::move(more)).gauge.value = value;
  }
  void Counter(const char* name, const char* help, uint64_t value, Labels more = {}) {
    Total(name, help, static_cast<double>(value), std::move(more));
  }
  void Total(const char* name, const char* help, double value, Labels more = {}) {
    Add(name, help, MetricType::Counter, std::move(more)).counter.value = value;
  }
  void Distribution(const char* name, const char* help, const Histogram& histogram) {
    ClientMetric::Histogram& out = Add(name, help, MetricType::Histogram, {}).histogram;
    out.sample_count = histogram.count;
    out.sample_sum = histogram.sum;
    uint64_t cumulative = 0;
    for (size_t i = 0; i < histogram.counts.size(); ++i) {
      const bool last = i == histogram.bounds.size();
      cumulative += histogram.counts[i];
      out.bucket.push_back({cumulative, last ? std::numeric_limits<double>::infinity() : histogram.bounds[i]});
    }
  }
  std::string Text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  ClientMetric& Add(const char* name, const char* help, MetricType type, Labels more) {
    if (families_.empty() || families_.back().name != name) families_.push_back({name, help, type, {}});
    ClientMetric& metric = families_.back().metric.emplace_back();
    metric.label = labels_;
    metric.label.insert(metric.label.end(), more.begin(), more.end());
    return metric;
  }

  const Labels labels_;
  std::vector<MetricFamily> families_;
};

void AddState(const StatsSnapshot& stats, const SchedulerConfig& config, Page& page) {
  page.Gauge("vllm:num_requests_running", "Requests in the running batch.",
             static_cast<double>(stats.scheduler.num_running));
  page.Gauge("vllm:num_requests_waiting", "Requests that wait for memory or a place in the batch.",
             static_cast<double>(stats.scheduler.num_waiting));
  page.Gauge("vllm:num_requests_swapped", "Of these, requests whose memory is in swap space.",
             static_cast<double>(stats.scheduler.num_swapped));
  page.Gauge("quire_num_queued_tokens", "Prompt tokens of requests that have not started.",
             static_cast<double>(stats.queued_tokens));
  const auto share = [](uint64_t part, uint64_t whole) {
    return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
  };
  const uint64_t num_swap_slots = uint64_t{config.num_swap_blocks} * config.block_size;
  const double kv_usage = share(stats.scheduler.num_blocks_used, stats.scheduler.num_blocks_total);
  page.Gauge("vllm:cpu_cache_usage_perc", "Share of swap space in use; 1 is all.",
             share(stats.scheduler.slots[SlotState::kSwapped], num_swap_slots));
  page.Gauge("vllm:kv_cache_usage_perc", "Share of the KV cache's blocks in use; 1 is all.", kv_usage);
  page.Gauge("vllm:gpu_cache_usage_perc", "The same under its older name.", kv_usage);
  page.Gauge("vllm:cache_config_info", "The KV cache's configuration.", 1,
             {{"block_size", std::to_string(config.block_size)},
              {"num_gpu_blocks", std::to_string(config.num_blocks)},
              {"num_cpu_blocks", std::to_string(config.num_swap_blocks)},
              {"enable_prefix_caching", config.enable_prefix_caching ? "True" : "False"}});
  const char* help = "Blocks of the KV cache by what they hold.";
  page.Gauge("quire_kv_blocks", help, static_cast<double>(stats.scheduler.num_blocks_used), {{"state", "used"}});
  page.Gauge("quire_kv_blocks", help, static_cast<double>(stats.scheduler.num_blocks_cached), {{"state", "cached"}});
  page.Gauge("quire_kv_blocks", help, static_cast<double>(stats.scheduler.num_blocks_free), {{"state", "free"}});
  page.Gauge("quire_kv_blocks_capacity", "Blocks of the KV cache.",
             static_cast<double>(stats.scheduler.num_blocks_total));
  page.Gauge("quire_kv_pinned_blocks", "Blocks of shared prefixes that stay.",
             static_cast<double>(stats.scheduler.num_blocks_pinned));
}

void AddSlots(const StatsSnapshot& stats, Page& page) {
  const SlotAccount& slots = stats.scheduler.slots;
  for (size_t i = 0; i < kNumPoolStates; ++i) {
    page.Gauge("quire_kv_slots", "Token slots of the KV cache by what they hold: they add up to the cache.",
               static_cast<double>(slots.values[i]), {{"state", SlotStateName(SlotAccount::At(i))}});
  }
  page.Gauge("quire_kv_shared_slots", "Slots that would be needed on top if sequences shared nothing.",
             static_cast<double>(slots[SlotState::kShared]));
  page.Gauge("quire_kv_swapped_slots", "Slots in swap space.", static_cast<double>(slots[SlotState::kSwapped]));
  page.Gauge("quire_kv_disk_slots", "Slots of the prefix cache on disk.",
             static_cast<double>(slots[SlotState::kOnDisk]));
  const char* help = "Slots by what they held, times seconds; shared, swapped and on_disk are beside the cache.";
  for (size_t i = 0; i < kNumSlotStates; ++i) {
    page.Total("quire_kv_slot_seconds_total", help, stats.slot_seconds.values[i],
               {{"state", SlotStateName(SlotSeconds::At(i))}});
  }
}

void AddMoves(const StatsSnapshot& stats, Page& page) {
  page.Counter("vllm:num_preemptions_total", "Preemptions of running requests.", stats.scheduler.num_preemptions());
  const char* help = "Preemptions by what happened to the memory.";
  page.Counter("quire_preemptions_total", help, stats.scheduler.preemptions[PreemptionMode::kRecompute],
               {{"mode", "recompute"}});
  page.Counter("quire_preemptions_total", help, stats.scheduler.preemptions[PreemptionMode::kSwap], {{"mode", "swap"}});
  page.Counter("quire_swapped_out_blocks_total", "Blocks moved to swap space.",
               stats.scheduler.transfers[Transfer::Kind::kSwapOut].completed);
  page.Counter("quire_swapped_in_blocks_total", "Blocks moved back.",
               stats.scheduler.transfers[Transfer::Kind::kSwapIn].completed);
  page.Counter("quire_swap_failures_total", "Moves that failed: the requests were computed again.",
               stats.scheduler.num_swap_failures());
  page.Counter("quire_copied_blocks_total", "Shared blocks copied because one sequence wrote.",
               stats.scheduler.num_blocks_copied);
  help = "Blocks of the prefix cache on disk by what happened to them.";
  page.Counter("quire_disk_blocks_total", help, stats.scheduler.transfers[Transfer::Kind::kStore].completed,
               {{"event", "stored"}});
  page.Counter("quire_disk_blocks_total", help, stats.scheduler.transfers[Transfer::Kind::kLoad].completed,
               {{"event", "loaded"}});
  page.Counter("quire_disk_blocks_total", help, stats.scheduler.transfers[Transfer::Kind::kStore].failed,
               {{"event", "store_failed"}});
  page.Counter("quire_disk_blocks_total", help, stats.scheduler.transfers[Transfer::Kind::kLoad].failed,
               {{"event", "load_failed"}});
  page.Counter("quire_disk_blocks_total", help, stats.scheduler.num_disk_blocks_missed, {{"event", "missed"}});
}

void AddSpeculation(const SpeculationCounters& drafts, uint32_t max_drafts, Page& page) {
  if (max_drafts == 0) return;
  page.Counter("vllm:spec_decode_num_drafts_total", "Steps of sequences with draft tokens.", drafts.num_drafts);
  page.Counter("vllm:spec_decode_num_draft_tokens_total", "Draft tokens that were verified.", drafts.num_draft_tokens);
  page.Counter("vllm:spec_decode_num_accepted_tokens_total", "Draft tokens that were accepted.",
               drafts.num_accepted_tokens);
  for (uint32_t i = 0; i < max_drafts; ++i) {
    page.Counter("vllm:spec_decode_num_accepted_tokens_per_pos_total", "Draft tokens that were accepted, by place.",
                 drafts.accepted_at[i], {{"position", std::to_string(i)}});
  }
}

void AddCounts(const StatsSnapshot& stats, Page& page) {
  page.Counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
               stats.scheduler.prefix_query_tokens);
  page.Counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.",
               stats.scheduler.prefix_hit_tokens);
  page.Gauge("quire_prefix_cache_hit_rate", "Share of prompt tokens found in the prefix cache, latest 1000 admissions.",
             stats.scheduler.recent_prefix_hit_rate);
  page.Counter("vllm:prompt_tokens_total", "Prompt tokens processed.", stats.prompt_tokens);
  page.Counter("vllm:prompt_tokens_cached_total", "Of these, found in the prefix cache.", stats.prompt_tokens_cached);
  page.Counter("vllm:generation_tokens_total", "Tokens generated.", stats.generation_tokens);
  const char* help = "Requests by how they ended.";
  for (const FinishReason reason :
       {FinishReason::kStop, FinishReason::kLength, FinishReason::kAbort, FinishReason::kError}) {
    page.Counter("vllm:request_success_total", help, stats.finished[reason],
                 {{"finished_reason", FinishReasonName(reason)}});
  }
  page.Counter("quire_engine_steps_total", "Steps of the engine.", stats.steps);
}

void AddHistograms(const StatsSnapshot& stats, Page& page) {
  page.Distribution("vllm:time_to_first_token_seconds", "From arrival to the first token.",
                    stats.time_to_first_token_s);
  page.Distribution("vllm:inter_token_latency_seconds", "Between tokens of a request.", stats.inter_token_latency_s);
  page.Distribution("vllm:time_per_output_token_seconds", "Mean time per token after the first, by request.",
                    stats.time_per_output_token_s);
  page.Distribution("vllm:request_time_per_output_token_seconds", "Mean time per token after the first, by request.",
                    stats.time_per_output_token_s);
  page.Distribution("vllm:e2e_request_latency_seconds", "From arrival to the last token.", stats.e2e_latency_s);
  page.Distribution("vllm:request_queue_time_seconds", "From arrival to the first step.", stats.queue_time_s);
  page.Distribution("vllm:request_prefill_time_seconds", "From the first step to the first token.",
                    stats.prefill_time_s);
  page.Distribution("vllm:request_decode_time_seconds", "From the first token to the last.", stats.decode_time_s);
  page.Distribution("vllm:request_inference_time_seconds", "From the first step to the last token.",
                    stats.inference_time_s);
  page.Distribution("vllm:request_prefill_kv_computed_tokens",
                    "Prompt tokens of a request whose keys and values were computed, not found in the prefix cache.",
                    stats.prefill_computed_tokens);
  page.Distribution("vllm:request_prompt_tokens", "Prompt tokens of a request.", stats.prompt_length);
  page.Distribution("vllm:request_generation_tokens", "Generated tokens of a request.", stats.generation_length);
  page.Distribution("vllm:request_max_num_generation_tokens", "Generated tokens of a request's longest sequence.",
                    stats.longest_generation);
  page.Distribution("vllm:request_params_n", "n of a request.", stats.n_param);
  page.Distribution("vllm:request_params_max_tokens", "max_tokens of a request.", stats.max_tokens_param);
  page.Distribution("vllm:iteration_tokens_total", "Tokens of an engine step.", stats.tokens_per_step);
}

void AddServer(const ServerCounters& counters, Page& page) {
  page.Gauge("quire_build_info", "The program's version.", 1, {{"version", kVersion}});
  for (size_t status = 0; status < counters.replies.size(); ++status) {
    const uint64_t count = counters.replies[status];
    if (count == 0) continue;
    page.Counter("quire_http_requests_total", "HTTP answers by status.", count, {{"status", std::to_string(status)}});
  }
  page.Counter("quire_unknown_request_fields_total", "Request fields that were accepted and ignored.",
               counters.unknown_fields.count());
}

}  // namespace

std::string MetricsText(const ModelContext& context, const ServerCounters& counters) {
  const StatsSnapshot stats = context.model.engine->Stats();
  Page page({{"model_name", context.names.front()}, {"engine", "0"}});
  AddState(stats, context.model.engine->options().scheduler, page);
  AddSlots(stats, page);
  AddMoves(stats, page);
  AddSpeculation(stats.scheduler.speculation, context.model.engine->options().scheduler.max_drafts, page);
  AddCounts(stats, page);
  AddHistograms(stats, page);
  AddServer(counters, page);
  return page.Text();
}

}  // namespace quire::server
