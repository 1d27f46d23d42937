#include "sched/scheduler_config.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "kv/kv_space.h"
#include "sched/stop_rules.h"

namespace quire {
namespace {

// Of a prompt, beyond a window: more rows in a step gain little.
constexpr uint32_t kMaxPromptRows = 512;

}  // namespace

Status ValidateSchedulerConfig(const SchedulerConfig& config) {
  if (!std::has_single_bit(config.block_size) || config.block_size > 256) {
    return InvalidArgument("block size is {}: must be a power of two from 1 to 256", config.block_size);
  }
  if (config.num_blocks == 0) return InvalidArgument("the KV cache has no blocks: give it more memory");
  if (uint64_t{config.num_blocks} * config.block_size > 0xFFFFFFFFULL) {
    return InvalidArgument("the KV cache has {} blocks of {} tokens: at most 2^32 tokens are addressed",
                           config.num_blocks, config.block_size);
  }
  if (config.max_num_seqs == 0) return InvalidArgument("max_num_seqs is 0: must be at least 1");
  if (config.max_model_len < 2) return InvalidArgument("max_model_len is {}: must be at least 2", config.max_model_len);
  if (config.max_num_batched_tokens < config.max_num_seqs) {
    return InvalidArgument("max_num_batched_tokens is {}: must be at least max_num_seqs, which is {}",
                           config.max_num_batched_tokens, config.max_num_seqs);
  }
  if (config.kv_groups.empty()) return InvalidArgument("the model has no KV groups");
  if (config.num_disk_blocks > 0 && config.max_disk_transfers == 0) {
    return InvalidArgument("max_disk_transfers is 0: a prefix cache on disk needs at least 1");
  }
  if (!(config.watermark >= 0 && config.watermark < 1)) {
    return InvalidArgument("watermark is {}: must be in [0, 1)", config.watermark);
  }
  return {};
}

KvConfig KvConfigOf(const SchedulerConfig& config) {
  return {.num_blocks = config.num_blocks,
          .block_size = config.block_size,
          .enable_prefix_caching = config.enable_prefix_caching,
          .num_watermark_blocks = static_cast<uint32_t>(config.watermark * config.num_blocks),
          .hash_seed = config.hash_seed,
          .next_digest = config.next_digest,
          .policy = config.kv_policy,
          .max_model_len = config.max_model_len,
          .groups = config.kv_groups,
          .max_prompt_rows = std::min(config.max_num_batched_tokens, kMaxPromptRows),
          .max_draft_rows = config.max_drafts};
}

bool KeepsPrefixes(const SchedulerConfig& config) { return KeepsPrefixes(KvConfigOf(config)); }

Status ProveFits(const SchedulerConfig& config, const Request& request, uint32_t num_pinned_blocks) {
  const auto room = static_cast<int64_t>(config.max_model_len) - static_cast<int64_t>(request.prompt.size());
  SamplingParams params = request.params;
  if (!params.max_tokens) params.max_tokens = static_cast<int32_t>(std::max<int64_t>(room, 1));
  return ProveFits(config, request.prompt.size(), params, num_pinned_blocks);
}

Status ProveFits(const SchedulerConfig& config, size_t num_prompt_tokens, const SamplingParams& params,
                 uint32_t num_pinned_blocks) {
  const int32_t max_tokens = params.max_tokens.value_or(0);
  const auto num_streams = static_cast<uint32_t>(params.num_streams());
  if (num_prompt_tokens == 0) return OfField("prompt", InvalidArgument("the prompt is empty"));
  if (max_tokens < 1) return InvalidField("max_tokens", "is {}: must be at least 1", max_tokens);
  if (num_prompt_tokens >= config.max_model_len) {
    return TooLong("prompt", "the prompt has {} tokens: the model's context of {} tokens leaves no room for an answer",
                   num_prompt_tokens, config.max_model_len);
  }
  const uint64_t total = num_prompt_tokens + static_cast<uint64_t>(max_tokens);
  if (total > config.max_model_len) {
    return TooLong("max_tokens",
                   "the prompt has {} tokens and max_tokens is {}, together {}: the model's context is {} tokens",
                   num_prompt_tokens, max_tokens, total, config.max_model_len);
  }
  const uint32_t num_needed = params.use_beam_search ? num_streams : 1;  // side by side
  if (num_needed > config.max_num_seqs) {
    return OfField(params.streams_field(),
                   InvalidArgument("the request searches with {} beams side by side, and max_num_seqs is {}",
                                   num_needed, config.max_num_seqs));
  }
  const KvWorstCase worst =
      WorstCaseOf(KvConfigOf(config), static_cast<uint32_t>(num_prompt_tokens), static_cast<uint32_t>(total));
  const uint64_t num_blocks = worst.total(num_needed);
  const uint32_t num_usable = config.num_blocks - std::min(num_pinned_blocks, config.num_blocks);
  if (num_blocks > num_usable) {
    return OfField("prompt", InvalidArgument(
                                 "the prompt has {} tokens, max_tokens is {} and {} sequences run side by side: "
                                 "they need {} KV blocks of {} tokens, and the cache has {}",
                                 num_prompt_tokens, max_tokens, num_needed, num_blocks, config.block_size, num_usable));
  }
  return {};
}

uint32_t NumSideBySide(const SchedulerConfig& config, const Request& request, uint32_t num_pinned_blocks) {
  const KvWorstCase worst = WorstCaseOf(KvConfigOf(config), static_cast<uint32_t>(request.prompt.size()),
                                        MaxTotalTokens(request, config.max_model_len));
  const uint64_t num_usable = config.num_blocks - std::min(num_pinned_blocks, config.num_blocks);
  const auto num_streams = static_cast<uint64_t>(request.params.num_streams());
  return static_cast<uint32_t>(worst.MaxStreams(num_usable, std::min<uint64_t>(num_streams, config.max_num_seqs)));
}

}  // namespace quire
