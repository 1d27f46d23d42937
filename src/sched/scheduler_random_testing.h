// What random workloads of the scheduler are made of: tiny pools under every policy, and requests that share
// beginnings.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "sched/request.h"
#include "sched/scheduler_config.h"

namespace quire {

inline constexpr int32_t kRandomVocab = 50;

// The same numbers from a seed, on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>(engine_() % n); }
  uint32_t Between(uint32_t low, uint32_t high) { return low + Below(high - low + 1); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

// Memory under some policy, from barely one sequence to enough for several.
inline void DrawPool(Random& random, SchedulerConfig& config) {
  if (random.OneIn(4)) config.kv_policy = static_cast<KvPolicyKind>(random.Between(1, 3));
  config.num_blocks = BlocksForTokens(config.max_model_len * random.Between(1, 4), config.block_size);
  if (config.kv_policy != KvPolicyKind::kPaged) {
    config.num_blocks += 2 * ChunkBlocks(config.max_model_len, config.block_size);
  }
  if (random.OneIn(3)) {  // windows, beside full layers or alone
    config.kv_groups.assign(random.Below(2), KvGroup{});
    for (uint32_t left = random.Between(1, 2); left > 0; --left) {
      config.kv_groups.push_back({.window = random.Between(1, config.max_model_len)});
    }
    config.num_blocks *= static_cast<uint32_t>(config.kv_groups.size());
  }
}

inline SchedulerConfig RandomConfig(Random& random) {
  SchedulerConfig config;
  config.block_size = 1U << random.Below(6);
  config.max_num_seqs = random.Between(4, 14);
  config.max_num_batched_tokens = config.max_num_seqs + random.Below(40);
  config.max_model_len = random.Between(20, 120);
  DrawPool(random, config);
  config.enable_prefix_caching = !random.OneIn(3);
  config.long_prefill_token_threshold = random.OneIn(2) ? 0 : random.Between(1, 20);
  config.watermark = random.OneIn(2) ? 0.01 : 0.2;
  config.policy = random.OneIn(3) ? QueuePolicy::kPriority : QueuePolicy::kFcfs;
  config.fair = random.OneIn(3);
  config.batching = random.OneIn(6) ? Batching::kStatic : Batching::kContinuous;
  config.preemption_mode = static_cast<PreemptionMode>(random.Below(3));
  if (!random.OneIn(4)) config.num_swap_blocks = random.Between(1, 2 * config.num_blocks);
  if (random.OneIn(2)) config.num_disk_blocks = random.Between(1, 4 * config.num_blocks);
  config.max_disk_transfers = random.Between(1, 8);
  config.chunk_budget.min_tokens = random.Between(1, 8);
  if (random.OneIn(3)) config.max_drafts = random.Between(1, 6);
  config.hash_seed = random.Below(2);
  return config;
}

// Prompts that share beginnings or are the next turn of a conversation, several streams, beams; caches of their own, or
// none.
class RandomRequests {
 public:
  RandomRequests(Random& random, uint32_t max_model_len) : random_(random), max_model_len_(max_model_len) {
    for (int i = 0; i < 3; ++i) prefixes_.push_back(Tokens(max_model_len));
  }

  Request Make(RequestId id) {
    Request request;
    request.id = id;
    request.prompt = Prompt();
    const auto num_prompt = static_cast<uint32_t>(request.prompt.size());
    request.params.seed = random_.Below(3);
    request.params.max_tokens = static_cast<int32_t>(random_.Between(1, max_model_len_ - num_prompt));
    Streams(request.params);
    request.priority = static_cast<int32_t>(random_.Below(3));
    request.client_key = std::string(1, static_cast<char>('a' + random_.Below(3)));
    request.reads_prefix_cache = !random_.OneIn(8);
    request.writes_prefix_cache = !random_.OneIn(8);
    if (random_.OneIn(8)) request.cache_salt = random_.OneIn(2) ? "pepper" : "salt";
    if (random_.OneIn(8)) request.adapter_id = random_.Below(3);
    if (random_.OneIn(6)) request.params.prompt_logprobs = static_cast<int32_t>(random_.Below(3));
    if (random_.OneIn(2)) request.eos_token_ids = {static_cast<int32_t>(random_.Below(kRandomVocab))};
    if (random_.OneIn(4)) request.params.min_tokens = static_cast<int32_t>(random_.Below(4));
    return request;
  }

  // A later request may be the next turn of this conversation.
  void Finished(const Request& request, const std::vector<int32_t>& output) {
    said_ = request.prompt;
    said_.insert(said_.end(), output.begin(), output.end());
  }

 private:
  std::vector<int32_t> Tokens(uint32_t count) {
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random_.Below(kRandomVocab));
    return tokens;
  }

  std::vector<int32_t> Prompt() {
    const uint32_t length = random_.Between(1, max_model_len_ - 2);
    std::vector<int32_t> prompt = Tokens(length);
    if (random_.OneIn(2)) {
      const std::vector<int32_t>& shared = prefixes_[random_.Below(3)];
      std::copy_n(shared.begin(), random_.Below(length + 1), prompt.begin());
    }
    if (!said_.empty() && random_.OneIn(5)) {  // the next turn of a conversation
      prompt = said_;
      if (prompt.size() > max_model_len_ - 2) prompt.resize(max_model_len_ - 2);
    }
    return prompt;
  }

  void Streams(SamplingParams& params) {
    if (random_.OneIn(2)) return;
    params.n = static_cast<int32_t>(random_.Between(1, 3));
    params.best_of = params.n + static_cast<int32_t>(random_.Below(2));
    if (random_.OneIn(2)) return;
    params.use_beam_search = true;
    params.length_penalty = static_cast<float>(random_.Below(5)) * 0.5F;
    params.early_stopping = static_cast<EarlyStopping>(random_.Below(3));
    if (random_.OneIn(3)) params.logprobs = static_cast<int32_t>(random_.Below(8));
  }

  Random& random_;
  const uint32_t max_model_len_;
  std::vector<std::vector<int32_t>> prefixes_;
  std::vector<int32_t> said_;  // prompt and output of the latest that finished
};

}  // namespace quire
