#include "llm/scheduling_options.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "kv/kv_policy.h"

namespace quire {
namespace {

template <typename T>
struct Name {
  const char* name;
  T value;
};

constexpr Name<Batching> kBatchings[] = {{"continuous", Batching::kContinuous}, {"static", Batching::kStatic}};
constexpr Name<QueuePolicy> kQueuePolicies[] = {{"fcfs", QueuePolicy::kFcfs}, {"priority", QueuePolicy::kPriority}};
constexpr Name<PreemptionMode> kPreemptionModes[] = {
    {"recompute", PreemptionMode::kRecompute}, {"swap", PreemptionMode::kSwap}, {"auto", PreemptionMode::kAuto}};

template <typename T, size_t N>
std::optional<T> Find(const Name<T> (&names)[N], std::string_view name) {
  const auto* found = std::ranges::find(names, name, &Name<T>::name);
  return found == std::end(names) ? std::nullopt : std::optional(found->value);
}

bool IsPaged(const LoadOptions& options) { return options.kv_policy == KvPolicyName(KvPolicyKind::kPaged); }

}  // namespace

Status CheckSchedulingOptions(const LoadOptions& options) {
  if (!ParseKvPolicy(options.kv_policy)) {
    return InvalidArgument("--kv-policy {} is not known: use paged, reserve-max, reserve-pow2 or reserve-exact",
                           options.kv_policy);
  }
  if (!Find(kBatchings, options.batching)) {
    return InvalidArgument("--batching {} is not known: use continuous or static", options.batching);
  }
  if (!Find(kQueuePolicies, options.scheduling_policy)) {
    return InvalidArgument("--scheduling-policy {} is not known: use fcfs or priority", options.scheduling_policy);
  }
  if (!Find(kPreemptionModes, options.preemption_mode)) {
    return InvalidArgument("--preemption-mode {} is not known: use recompute, swap or auto", options.preemption_mode);
  }
  const bool shares = IsPaged(options) && options.enable_prefix_caching;
  if (!shares && !options.shared_prefixes.empty()) {
    return InvalidArgument("--shared-prefix needs prefix caching and --kv-policy paged");
  }
  if (!shares && !options.prefix_cache_dir.empty()) {
    return InvalidArgument("--prefix-cache-dir needs prefix caching and --kv-policy paged");
  }
  QUIRE_ASSIGN_OR_RETURN(const size_t swap_bytes, SwapBytes(options));
  if (options.preemption_mode == "swap" && swap_bytes == 0) {
    return InvalidArgument("--preemption-mode swap needs --swap-space and --kv-policy paged");
  }
  return {};
}

Result<size_t> SwapBytes(const LoadOptions& options) {
  const Result<size_t> bytes = ParseGibibytes(options.swap_space);
  if (!bytes.ok()) return InvalidArgument("--swap-space: {}", bytes.error().message);
  const bool swaps = IsPaged(options) && options.preemption_mode != "recompute";
  return swaps ? *bytes : 0;
}

Result<size_t> DiskBytes(const LoadOptions& options) {
  const Result<size_t> bytes = ParseByteSize(options.prefix_cache_disk);
  if (!bytes.ok()) return InvalidArgument("--prefix-cache-disk: {}", bytes.error().message);
  return options.prefix_cache_dir.empty() ? 0 : *bytes;
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
  config.kv_policy = *ParseKvPolicy(options.kv_policy);
  config.batching = *Find(kBatchings, options.batching);
  config.policy = *Find(kQueuePolicies, options.scheduling_policy);
  config.preemption_mode = *Find(kPreemptionModes, options.preemption_mode);
  config.fair = options.fair;
  return config;
}

}  // namespace quire
