#include "llm/scheduling_options.h"

#include <algorithm>

namespace quire {

size_t SwapBytes(const LoadOptions& options) {
  const bool swaps = options.kv_policy == KvPolicyKind::kPaged && options.preemption_mode != PreemptionMode::kRecompute;
  return swaps ? *ParseGibibytes(options.swap_space) : 0;
}

size_t DiskBytes(const LoadOptions& options) {
  return options.prefix_cache_dir.empty() ? 0 : *ParseByteSize(options.prefix_cache_disk);
}

SchedulerConfig MakeSchedulerConfig(const LoadOptions& options, const MemoryPlan& memory) {
  const auto count = [](int32_t value) { return static_cast<uint32_t>(value); };
  SchedulerConfig config;
  config.max_num_seqs = count(options.max_num_seqs);
  config.max_num_batched_tokens = count(std::max(options.max_num_batched_tokens, options.max_num_seqs));
  config.max_model_len = count(memory.max_model_len);
  config.block_size = count(memory.block_size);
  config.num_blocks = count(memory.num_blocks);
  config.num_swap_blocks = count(memory.num_swap_blocks);
  config.num_disk_blocks = count(memory.num_disk_blocks);
  config.enable_prefix_caching = options.enable_prefix_caching;
  config.long_prefill_token_threshold = count(options.long_prefill_token_threshold);
  if (!options.adaptive_chunking) config.chunk_budget.target_ratio = 0;
  config.kv_policy = options.kv_policy;
  config.batching = options.batching;
  config.policy = options.scheduling_policy;
  config.preemption_mode = options.preemption_mode;
  config.fair = options.fair;
  return config;
}

}  // namespace quire
