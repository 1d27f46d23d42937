// quire bench kv: a workload on the engine, without a server. Prints where every slot of the KV cache was, as
// time-weighted means, beside the speed that this gave.
#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/log.h"
#include "cli/bench_clock.h"
#include "cli/generate.h"
#include "llm/option_names.h"
#include "sim/workload.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

// The requests that have news, told by the engine's thread.
class News {
 public:
  void Add(size_t request) {
    {
      std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    changed_.notify_one();
  }
  // Waits for some, no longer than `seconds`.
  std::vector<size_t> Take(double seconds) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(seconds), [&] { return !requests_.empty(); });
    return std::exchange(requests_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<size_t> requests_;
};

// What was measured, over all requests.
struct Run {
  double duration_s = 0;  // from the first arrival to the last token
  uint64_t num_prompt_tokens = 0;
  uint64_t num_output_tokens = 0;  // that were returned
  double normalized_latency_s = 0;
  StatsSnapshot before, after;
};

Result<std::vector<WorkloadRequest>> Requests(const BenchKvCommand& command, uint32_t max_model_len) {
  return MakeWorkload({.kind = *ParseWorkload(command.workload),
                       .num_requests = command.num_prompts,
                       .request_rate = command.request_rate,
                       .length_scale = command.length_scale,
                       .max_total_tokens = max_model_len,
                       .input_len = command.input_len,
                       .output_len = command.output_len,
                       .range_ratio = command.range_ratio,
                       .seed = command.seed});
}

// Random tokens, so that no two prompts share a prefix; an answer is as long as the workload says.
Request ArgsOf(const BenchKvCommand& command, const WorkloadRequest& request, size_t index, int32_t vocab_size) {
  std::mt19937_64 random(command.seed + index);
  Request args;
  args.prompt.resize(request.num_prompt_tokens);
  for (int32_t& id : args.prompt) id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
  args.params.n = command.n;
  args.params.best_of = command.best_of;
  args.params.use_beam_search = command.beam_width.has_value();
  args.params.beam_width = command.beam_width;
  args.params.max_tokens = static_cast<int32_t>(request.num_output_tokens);
  args.params.ignore_eos = true;
  args.params.seed = command.seed + index;
  args.external_id = fmt::format("bench-{}", index);
  return args;
}

class WorkloadRun {
 public:
  WorkloadRun(const BenchKvCommand& command, RunningModel& running, std::vector<WorkloadRequest> requests)
      : command_(command),
        engine_(running.engine()),
        vocab_size_(running.loaded().config.vocab_size),
        requests_(std::move(requests)),
        handles_(requests_.size()),
        num_open_choices_(requests_.size()) {}

  Result<Run> Execute() {
    run_.before = engine_.Stats();
    start_ = NowSeconds();
    while (num_finished_ < requests_.size()) {
      QUIRE_RETURN_IF_ERROR(SubmitWhatIsDue());
      const double wait = next_ < requests_.size() ? requests_[next_].arrival_s - Now() : 1.0;
      for (const size_t request : news_->Take(std::max(wait, 0.0))) QUIRE_RETURN_IF_ERROR(Read(request));
    }
    run_.after = engine_.Stats();
    run_.duration_s = Now();
    run_.normalized_latency_s /= static_cast<double>(requests_.size());
    return std::move(run_);
  }

 private:
  double Now() const { return NowSeconds() - start_; }

  Status SubmitWhatIsDue() {
    for (; next_ < requests_.size() && requests_[next_].arrival_s <= Now(); ++next_) {
      QUIRE_ASSIGN_OR_RETURN(handles_[next_], engine_.Submit(ArgsOf(command_, requests_[next_], next_, vocab_size_)));
      num_open_choices_[next_] = command_.n;
      handles_[next_].SetNotify([news = news_, request = next_] { news->Add(request); });
    }
    return {};
  }

  Status Read(size_t request) {
    while (const std::optional<OutputDelta> delta = handles_[request].TryNext()) {
      if (delta->error) return *delta->error;
      if (!delta->finished()) continue;
      run_.num_output_tokens += delta->num_output_tokens;
      if (--num_open_choices_[request] > 0) continue;
      ++num_finished_;
      run_.num_prompt_tokens += delta->num_prompt_tokens;
      run_.normalized_latency_s += (Now() - requests_[request].arrival_s) / requests_[request].num_output_tokens;
    }
    return {};
  }

  const BenchKvCommand& command_;
  Engine& engine_;
  const int32_t vocab_size_;
  const std::vector<WorkloadRequest> requests_;
  const std::shared_ptr<News> news_ = std::make_shared<News>();  // the engine's, too
  std::vector<RequestHandle> handles_;
  std::vector<int32_t> num_open_choices_;
  size_t next_ = 0;
  size_t num_finished_ = 0;
  double start_ = 0;
  Run run_;
};

Json ReportSlots(const SlotSeconds& passed, const StatsSnapshot& after) {
  const auto share = [](double part, double whole) { return whole > 0 ? 100 * part / whole : 0; };
  Json slots = Json::object();
  for (size_t i = 0; i < kNumSlotStates; ++i) {
    slots[SlotStateName(SlotSeconds::At(i))] = {
        {"mean_pct", share(passed.values[i], passed.total())},
        {"peak_pct",
         share(static_cast<double>(after.most_slots.values[i]), static_cast<double>(after.scheduler.slots.total()))}};
  }
  return slots;
}

Json Report(const BenchKvCommand& command, const Run& run) {
  const StatsSnapshot &a = run.before, &b = run.after;
  const SlotSeconds passed = b.slot_seconds.Since(a.slot_seconds);
  const double used = passed[SlotState::kToken] + passed[SlotState::kReserved] + passed[SlotState::kInternal];
  const double shared_pct =
      passed[SlotState::kShared] > 0 ? 100 * passed[SlotState::kShared] / (used + passed[SlotState::kShared]) : 0;
  const auto rate = [&](double count) { return run.duration_s > 0 ? count / run.duration_s : 0; };
  return {{"workload", command.workload},
          {"kv_policy", KvPolicyName(command.load.kv_policy)},
          {"batching", NameOf(kBatchings, command.load.batching)},
          {"completed", command.num_prompts},
          {"duration_s", run.duration_s},
          {"total_input_tokens", run.num_prompt_tokens},
          {"total_output_tokens", run.num_output_tokens},
          {"requests_per_second", rate(command.num_prompts)},
          {"output_tokens_per_second", rate(static_cast<double>(run.num_output_tokens))},
          {"normalized_latency_s", run.normalized_latency_s},
          {"mean_running_sequences", rate(b.running_seconds - a.running_seconds)},
          {"kv_slots_total", b.scheduler.slots.total()},
          {"waste_pct", passed.waste_pct()},
          {"shared_savings_pct", shared_pct},
          {"slots", ReportSlots(passed, b)},
          {"preemptions_recompute",
           b.scheduler.preemptions[PreemptionMode::kRecompute] - a.scheduler.preemptions[PreemptionMode::kRecompute]},
          {"preemptions_swap",
           b.scheduler.preemptions[PreemptionMode::kSwap] - a.scheduler.preemptions[PreemptionMode::kSwap]},
          {"blocks_copied", b.scheduler.num_blocks_copied - a.scheduler.num_blocks_copied},
          {"prefix_query_tokens", b.scheduler.prefix_query_tokens - a.scheduler.prefix_query_tokens},
          {"prefix_hit_tokens", b.scheduler.prefix_hit_tokens - a.scheduler.prefix_hit_tokens}};
}

void PrintSlots(const Json& slots) {
  std::printf("\n%-28s %14s %14s\n", "KV slots, % of the pool", "mean", "peak");
  for (const auto& [name, share] : slots.items()) {
    if (name == "shared") std::printf("%-28s\n", "beside the pool");
    std::printf("  %-26s %14.2f %14.2f\n", name.c_str(), share["mean_pct"].get<double>(),
                share["peak_pct"].get<double>());
  }
  std::printf("\n");
}

void PrintTable(const Json& report) {
  for (const auto& [name, value] : report.items()) {
    if (name == "slots") {
      PrintSlots(value);
    } else {
      const std::string text = value.is_string()         ? value.get<std::string>()
                               : value.is_number_float() ? fmt::format("{:.4g}", value.get<double>())
                                                         : value.dump();
      std::printf("%-28s %14s\n", name.c_str(), text.c_str());
    }
  }
}

Status BenchKv(const BenchKvCommand& command) {
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(WithQueueFor(command.num_prompts, command.load)));
  QUIRE_ASSIGN_OR_RETURN(std::vector<WorkloadRequest> requests,
                         Requests(command, running.engine().options().scheduler.max_model_len));
  WorkloadRun workload(command, running, std::move(requests));
  QUIRE_ASSIGN_OR_RETURN(const Run run, workload.Execute());
  const Json report = Report(command, run);
  command.json ? void(std::printf("%s\n", report.dump().c_str())) : PrintTable(report);
  return {};
}

}  // namespace

int RunBenchKv(const BenchKvCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Status status = BenchKv(command);
  return status.ok() ? 0 : Complain(status.error());
}

}  // namespace quire
