// quire bench throughput|latency: the engine without a server, on random prompts. Prints what `vllm bench` prints.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "base/log.h"
#include "cli/bench_clock.h"
#include "cli/generate.h"

namespace quire {
namespace {

struct BenchRequest {
  std::vector<int32_t> prompt;
  int32_t output_len = 0;
};

// What one request went through, in seconds since the start of the run.
struct Timeline {
  size_t num_prompt_tokens = 0;
  size_t num_output_tokens = 0;
  double submitted = 0;
  std::vector<double> arrivals;  // of deltas with tokens
};

std::vector<BenchRequest> MakeRequests(const BenchCommand& command, int32_t count, int32_t vocab_size) {
  std::mt19937_64 random(command.seed);
  const auto length = [&](int32_t mean) {
    const double low = mean * (1 - command.range_ratio), high = mean * (1 + command.range_ratio);
    return std::max(1, static_cast<int32_t>(std::lround(std::uniform_real_distribution<>(low, high)(random))));
  };
  std::vector<BenchRequest> requests(static_cast<size_t>(count));
  for (BenchRequest& request : requests) {
    request.prompt.resize(static_cast<size_t>(length(command.input_len)));
    for (int32_t& id : request.prompt) id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
    request.output_len = length(command.output_len);
  }
  return requests;
}

Request ToSubmit(const BenchRequest& request) {
  Request args;
  args.prompt = request.prompt;
  args.params.temperature = 0;
  args.params.max_tokens = request.output_len;
  args.params.ignore_eos = true;
  return args;
}

// Runs all requests, at most `concurrency` at a time, from one thread that polls the handles.
Result<std::vector<Timeline>> RunAll(Engine& engine, const std::vector<BenchRequest>& requests, size_t concurrency) {
  std::vector<Timeline> timelines(requests.size());
  std::vector<std::pair<size_t, RequestHandle>> running;
  const double start = NowSeconds();
  for (size_t next = 0; next < requests.size() || !running.empty();) {
    for (; next < requests.size() && running.size() < concurrency; ++next) {
      timelines[next].submitted = NowSeconds() - start;
      timelines[next].num_prompt_tokens = requests[next].prompt.size();
      QUIRE_ASSIGN_OR_RETURN(RequestHandle handle, engine.Submit(ToSubmit(requests[next])));
      running.emplace_back(next, std::move(handle));
    }
    std::chrono::milliseconds patience(1);  // for the first only: the others of its step are there with it
    for (auto& [index, handle] : running) {
      const std::optional<OutputDelta> delta = handle.Wait(std::exchange(patience, std::chrono::milliseconds(0)));
      if (!delta) continue;
      if (delta->error) return *delta->error;
      if (!delta->token_ids.empty()) timelines[index].arrivals.push_back(NowSeconds() - start);
      timelines[index].num_output_tokens = delta->num_output_tokens;
      if (delta->finished()) handle = RequestHandle();
    }
    std::erase_if(running, [](const auto& entry) { return entry.second.id() == RequestId{}; });
  }
  return timelines;
}

struct Summary {
  double mean = 0, median = 0, p99 = 0;
};

Summary Summarise(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[std::min(values.size() - 1, static_cast<size_t>(share * static_cast<double>(values.size())))];
  };
  return {.mean = std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size()),
          .median = at(0.5),
          .p99 = at(0.99)};
}

nlohmann::ordered_json ToMilliseconds(const char* name, const Summary& summary) {
  return {{fmt::format("mean_{}_ms", name), summary.mean * 1e3},
          {fmt::format("median_{}_ms", name), summary.median * 1e3},
          {fmt::format("p99_{}_ms", name), summary.p99 * 1e3}};
}

nlohmann::ordered_json ReportThroughput(const std::vector<Timeline>& timelines) {
  std::vector<double> ttft, tpot, itl;
  size_t input = 0, output = 0;
  double duration = 0;
  for (const Timeline& t : timelines) {
    input += t.num_prompt_tokens;
    output += t.num_output_tokens;
    if (t.arrivals.empty()) continue;
    duration = std::max(duration, t.arrivals.back());
    ttft.push_back(t.arrivals.front() - t.submitted);
    if (t.num_output_tokens > 1) {
      tpot.push_back((t.arrivals.back() - t.arrivals.front()) / static_cast<double>(t.num_output_tokens - 1));
    }
    for (size_t i = 1; i < t.arrivals.size(); ++i) itl.push_back(t.arrivals[i] - t.arrivals[i - 1]);
  }
  nlohmann::ordered_json report = {{"duration_s", duration},
                                   {"completed", timelines.size()},
                                   {"total_input_tokens", input},
                                   {"total_output_tokens", output},
                                   {"requests_per_second", static_cast<double>(timelines.size()) / duration},
                                   {"output_tokens_per_second", static_cast<double>(output) / duration},
                                   {"total_tokens_per_second", static_cast<double>(input + output) / duration}};
  report.update(ToMilliseconds("ttft", Summarise(ttft)));
  report.update(ToMilliseconds("tpot", Summarise(tpot)));
  report.update(ToMilliseconds("itl", Summarise(itl)));
  return report;
}

Result<nlohmann::ordered_json> Throughput(const BenchCommand& command, RunningModel& running) {
  const auto requests = MakeRequests(command, command.num_prompts, running.loaded().config.vocab_size);
  const size_t concurrency =
      command.max_concurrency > 0 ? static_cast<size_t>(command.max_concurrency) : requests.size();
  QUIRE_ASSIGN_OR_RETURN(const std::vector<Timeline> timelines, RunAll(running.engine(), requests, concurrency));
  return ReportThroughput(timelines);
}

Result<nlohmann::ordered_json> Latency(const BenchCommand& command, RunningModel& running) {
  std::vector<double> seconds;
  for (int32_t i = -command.num_iters_warmup; i < command.num_iters; ++i) {
    BenchCommand seeded = command;
    seeded.seed += static_cast<uint64_t>(i + command.num_iters_warmup);  // no prefix-cache hits between iterations
    const auto requests = MakeRequests(seeded, command.batch_size, running.loaded().config.vocab_size);
    const double begin = NowSeconds();
    QUIRE_ASSIGN_OR_RETURN(const std::vector<Timeline> timelines, RunAll(running.engine(), requests, requests.size()));
    if (i >= 0) seconds.push_back(NowSeconds() - begin);
  }
  const Summary summary = Summarise(seconds);
  return nlohmann::ordered_json{{"iterations", seconds.size()},
                                {"avg_latency_s", summary.mean},
                                {"median_latency_s", summary.median},
                                {"p99_latency_s", summary.p99}};
}

// vLLM's terms: the acceptance rate is of draft tokens, the acceptance length of steps with drafts, with the token that
// is drawn in any case.
void AddSpeculation(const SpeculationCounters& drafts, nlohmann::ordered_json& report) {
  if (drafts.num_drafts == 0) return;
  const auto accepted = static_cast<double>(drafts.num_accepted_tokens);
  report["num_drafts"] = drafts.num_drafts;
  report["num_draft_tokens"] = drafts.num_draft_tokens;
  report["num_accepted_tokens"] = drafts.num_accepted_tokens;
  report["acceptance_rate_pct"] = 100 * accepted / static_cast<double>(drafts.num_draft_tokens);
  report["mean_acceptance_length"] = 1 + accepted / static_cast<double>(drafts.num_drafts);
}

void Print(const nlohmann::ordered_json& report, bool json) {
  if (json) {
    std::printf("%s\n", report.dump().c_str());
    return;
  }
  for (const auto& [name, value] : report.items()) {
    const std::string text = value.is_number_float() ? fmt::format("{:.2f}", value.get<double>()) : value.dump();
    std::printf("%-28s %14s\n", name.c_str(), text.c_str());
  }
}

Status Bench(const BenchCommand& command) {
  const bool throughput = command.kind == BenchCommand::Kind::kThroughput;
  const int32_t num_requests = throughput ? command.num_prompts : command.batch_size;
  QUIRE_ASSIGN_OR_RETURN(RunningModel running, RunningModel::Start(WithQueueFor(num_requests, command.load)));
  QUIRE_ASSIGN_OR_RETURN(nlohmann::ordered_json report,
                         throughput ? Throughput(command, running) : Latency(command, running));
  AddSpeculation(running.engine().Stats().scheduler.speculation, report);
  Print(report, command.json);
  return {};
}

}  // namespace

int RunBench(const BenchCommand& command) {
  SetLogLevel(LogLevel::kWarning);
  const Status status = Bench(command);
  return status.ok() ? 0 : Complain(status.error());
}

}  // namespace quire
