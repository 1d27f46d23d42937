// Serves requests through the production Scheduler and any StepRunner, without engine, clock or threads: what the tests
// of whole schedules share.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "sched/scheduler.h"
#include "sched/step_driver_testing.h"
#include "sched/step_runner.h"
#include "sched/transcript_testing.h"

namespace quire {

struct Job {
  Request request;
  int64_t arrival_step = 0;
  int64_t abort_step = -1;  // -1: it runs to its end
};

class Serving {
 public:
  Serving(const SchedulerConfig& config, StepRunner& runner, std::span<const PrefixDigest> on_disk = {},
          std::shared_ptr<Drafter> drafter = nullptr)
      : scheduler_(config, on_disk, std::move(drafter)), driver_(scheduler_, runner) {}

  // Answers by request id; those of aborted jobs are left as far as they came.
  std::map<RequestId, Transcript> Run(const std::vector<Job>& jobs) {
    int64_t last_arrival = 0;
    for (const Job& job : jobs) last_arrival = std::max(last_arrival, job.arrival_step);
    for (int64_t step = 0; step <= last_arrival || driver_.HasWork(); ++step) {
      for (const Job& job : jobs) {
        if (job.arrival_step == step) Add(job.request);
        if (job.abort_step == step) scheduler_.Abort(job.request.id);
      }
      Step();
    }
    return std::move(answers_);
  }

  // As a process does that ends: the prefix cache goes to the disk, as far as there is one and it works.
  void StorePrefixCache() {
    scheduler_.StorePrefixCache();
    while (!driver_.has_failed() && (scheduler_.stores_prefix_cache() || driver_.HasWork())) Step();
  }

  const Scheduler& scheduler() const { return scheduler_; }

 private:
  void Add(const Request& request) {
    const Status added = scheduler_.Add(request);
    EXPECT_TRUE(added.ok()) << added.error().message;
    prompt_lengths_[request.id] = request.prompt.size();
  }

  void Step() {
    for (const SchedulerEvent& event : driver_.Step()) Take(event);
  }

  void Take(const SchedulerEvent& event) {
    EXPECT_TRUE(answers_[event.request].Take(event, prompt_lengths_[event.request]));
  }

  Scheduler scheduler_;
  StepDriver driver_;
  std::map<RequestId, Transcript> answers_;
  std::map<RequestId, size_t> prompt_lengths_;
};

// Random requests: prompts that share beginnings, every way of sampling, several streams, beams; prefix caches of their
// own, or none.
class RequestMaker {
 public:
  static constexpr uint32_t kMaxWidth = 4;
  static constexpr size_t kMaxPrompt = 40;
  static constexpr int32_t kMaxOutput = 50;
  static constexpr uint32_t kMaxLen = 96;

  RequestMaker(unsigned seed, int32_t vocab) : random_(seed), vocab_(static_cast<uint32_t>(vocab)) {
    for (auto& prefix : prefixes_) {
      for (size_t i = 0; i < kMaxPrompt; ++i) prefix.push_back(Token());
    }
  }

  Request Make(uint64_t id) {
    Request request;
    request.id = RequestId{id};
    request.prompt = Prompt();
    request.eos_token_ids = {2};
    request.params = Params();
    Streams(request.params);
    request.priority = static_cast<int32_t>(Below(3));
    request.client_key = std::string(1, static_cast<char>('a' + Below(3)));
    // By number, not by chance: some of each among a few requests, and most of them share one cache.
    if (id % 5 == 1) request.cache_salt = id % 2 == 0 ? "salt" : "other salt";
    request.reads_prefix_cache = id % 6 != 2;
    request.writes_prefix_cache = id % 12 != 2;
    return request;
  }

 private:
  void Streams(SamplingParams& params) {
    if (OneIn(2)) return;
    params.n = 1 + static_cast<int32_t>(Below(kMaxWidth));
    params.best_of = params.n + static_cast<int32_t>(Below(kMaxWidth - static_cast<uint32_t>(params.n) + 1));
    if (OneIn(2)) return;
    params.use_beam_search = true;
    params.length_penalty = 0.5F * static_cast<float>(Below(4));
    params.early_stopping = static_cast<EarlyStopping>(Below(3));
  }

  uint32_t Below(uint32_t bound) { return static_cast<uint32_t>(random_() % bound); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }
  int32_t Token() { return static_cast<int32_t>(Below(vocab_)); }

  std::vector<int32_t> Prompt() {
    const std::vector<int32_t>& prefix = prefixes_[Below(3)];
    const size_t length = 1 + Below(kMaxPrompt);
    const size_t shared = OneIn(3) ? 0 : Below(static_cast<uint32_t>(length));
    std::vector<int32_t> prompt(prefix.begin(), prefix.begin() + static_cast<std::ptrdiff_t>(shared));
    while (prompt.size() < length) prompt.push_back(Token());
    return prompt;
  }

  SamplingParams Params() {
    SamplingParams params;
    params.seed = random_();
    params.max_tokens = 1 + static_cast<int32_t>(Below(kMaxOutput));
    params.temperature = OneIn(3) ? 0.0F : 0.5F + 0.1F * static_cast<float>(Below(10));
    if (OneIn(3)) params.top_p = 0.8F;
    if (OneIn(3)) params.top_k = 1 + static_cast<int32_t>(Below(60));
    if (OneIn(4)) params.min_p = 0.05F;
    if (OneIn(3)) params.repetition_penalty = 1.2F;
    if (OneIn(4)) params.presence_penalty = 0.7F;
    if (OneIn(4)) params.frequency_penalty = 0.4F;
    if (OneIn(5)) params.logit_bias = {{Token(), 4.0F}, {Token(), -100.0F}};
    if (OneIn(3)) params.logprobs = static_cast<int32_t>(Below(6));
    if (OneIn(4)) params.prompt_logprobs = static_cast<int32_t>(Below(4));
    if (OneIn(3)) {
      for (int i = 0; i < 30; ++i) params.stop_token_ids.push_back(Token());
      params.min_tokens = static_cast<int32_t>(Below(static_cast<uint32_t>(*params.max_tokens)));
    }
    params.ignore_eos = OneIn(2);
    return params;
  }

  std::mt19937 random_;
  uint32_t vocab_;
  std::vector<int32_t> prefixes_[3];
};

}  // namespace quire
