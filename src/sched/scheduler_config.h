// What a scheduler may do in a step and with memory. Names and defaults are vLLM's where it has them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quire/result.h"
#include "sched/chunk_budget.h"

namespace quire {

enum class QueuePolicy : uint8_t { kFcfs, kPriority };

struct SchedulerConfig {
  uint32_t max_num_seqs = 256;
  uint32_t max_num_batched_tokens = 2048;  // rows of a step; at least max_num_seqs
  uint32_t max_model_len = 2048;
  uint32_t block_size = 16;  // a power of two, 1 to 256
  uint32_t num_blocks = 0;
  bool enable_prefix_caching = true;
  uint32_t long_prefill_token_threshold = 0;  // longest chunk of one prompt; 0: as the budget allows
  double watermark = 0.01;                    // share of the blocks that admission leaves to those who run
  QueuePolicy policy = QueuePolicy::kFcfs;
  ChunkBudgetOptions chunk_budget;
  uint64_t hash_seed = 0;
};

Status ValidateSchedulerConfig(const SchedulerConfig& config);

// Whether a request of this size can run at all, alone in the pool: the proof of admission. The error has the numbers.
// Any thread.
Status ProveFits(const SchedulerConfig& config, size_t num_prompt_tokens, int32_t max_tokens);

}  // namespace quire
