// Who gets how much memory: weights, scratch, and the KV pool out of what is left; and how much of the disks goes to
// blocks that are not in the pool. Pure arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kv/kv_group.h"
#include "kv/kv_policy.h"
#include "quire/result.h"

namespace quire {

struct MemoryPlanInput {
  size_t weight_bytes = 0;
  std::string weight_formats;  // for people: in memory and on disk
  size_t scratch_bytes = 0;
  size_t kv_bytes_per_token = 0;                 // of a block: in the layers of one KV group
  std::vector<KvGroup> kv_groups = {KvGroup{}};  // the model's
  KvPolicyKind kv_policy = KvPolicyKind::kPaged;
  size_t draft_kv_bytes_per_token = 0;  // of a draft model, for each of these
  int32_t block_size = 16;
  int32_t max_num_seqs = 256;
  int32_t max_num_batched_tokens = 2048;
  int32_t model_max_len = 0;             // what the checkpoint was made for
  std::optional<int32_t> max_model_len;  // --max-model-len; absent: model_max_len, or less if that cannot fit
  std::optional<size_t> kv_cache_bytes;  // --kv-cache-memory
  std::optional<int32_t> num_blocks;     // --num-gpu-blocks-override
  size_t swap_bytes = 0;                 // --swap-space
  size_t disk_bytes = 0;                 // --prefix-cache-disk, with a directory for it
  double memory_share = 0.5;             // of free memory after weights and scratch, by default
  size_t available_bytes = 0;            // before anything of this plan is allocated
};

struct MemoryPlan {
  size_t weight_bytes = 0;
  std::string weight_formats;  // as in the input
  size_t scratch_bytes = 0;
  size_t kv_bytes = 0;
  int32_t num_blocks = 0;
  int32_t block_size = 0;
  int32_t max_model_len = 0;
  int32_t num_kv_groups = 1;
  int64_t kv_tokens = 0;             // how many tokens fit, in sequences of max_model_len
  double full_length_sequences = 0;  // how many of max_model_len tokens
  int32_t num_swap_blocks = 0;       // at most as many as the pool has
  size_t swap_bytes = 0;
  int32_t num_disk_blocks = 0;
  size_t disk_bytes = 0;
};

// Errors name the numbers and the option to change.
Result<MemoryPlan> PlanMemory(const MemoryPlanInput& input);

// A few lines for people: weights, KV cache, scratch; how many tokens and full-length sequences fit.
std::string FormatMemoryPlan(const MemoryPlan& plan);

// What a block of block_bytes takes on disk: with its tokens and a header, in whole pages.
size_t BytesOnDisk(size_t block_bytes, int32_t block_size);

// "4GiB", "512MiB", "1.5GB", "1000000": bytes.
Result<size_t> ParseByteSize(const std::string& text);
// The same, but a number alone counts GiB, as in vLLM, and may be 0.
Result<size_t> ParseGibibytes(const std::string& text);
// "1.25 GiB".
std::string FormatBytes(size_t bytes);

}  // namespace quire
