// What a scheduler may do in a step and with memory. Names and defaults are vLLM's where it has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv/kv_group.h"
#include "kv/kv_manager.h"
#include "kv/kv_policy.h"
#include "quire/result.h"
#include "quire/sampling_params.h"
#include "sched/chunk_budget.h"
#include "sched/request.h"

namespace quire {

enum class QueuePolicy : uint8_t { kFcfs, kPriority };
// What happens to the memory of a victim: thrown away and computed again, or moved to swap space and back, or whichever
// measured costs say is cheaper for this victim.
enum class PreemptionMode : uint8_t { kRecompute, kSwap, kAuto };
inline constexpr size_t kNumPreemptionModes = 3;
// Iteration-level batches, or request-level ones that run to completion (FasterTransformer, Transformers).
enum class Batching : uint8_t { kContinuous, kStatic };

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
  bool fair = false;                             // among client keys: who has been given the fewest tokens is next
  std::vector<KvGroup> kv_groups = {KvGroup{}};  // the model's
  KvPolicyKind kv_policy = KvPolicyKind::kPaged;
  Batching batching = Batching::kContinuous;
  PreemptionMode preemption_mode = PreemptionMode::kAuto;
  uint32_t num_swap_blocks = 0;      // 0: no swapping
  uint32_t num_disk_blocks = 0;      // of the prefix cache on disk; 0: none
  uint32_t max_disk_transfers = 32;  // at a time
  ChunkBudgetOptions chunk_budget;
  uint32_t max_drafts = 0;   // of one sequence in a step, up to kMaxDrafts; 0: no speculation
  bool paces_drafts = true;  // as many as measured times and their acceptance are worth; otherwise all that there are
  uint64_t hash_seed = 0;
  PrefixDigestFunction next_digest = NextDigest;  // another one only in tests
};

// What the KV memory of such a scheduler is.
KvConfig KvConfigOf(const SchedulerConfig& config);

bool KeepsPrefixes(const SchedulerConfig& config);

Status ValidateSchedulerConfig(const SchedulerConfig& config);

// Whether a request of this size can run at all, alone in the pool: the proof of admission. Samples may run in parts,
// the beams of a search not. The error has the numbers. num_pinned_blocks are out of its reach. REQUIRES:
// params.max_tokens. Any thread.
Status ProveFits(const SchedulerConfig& config, size_t num_prompt_tokens, const SamplingParams& params,
                 uint32_t num_pinned_blocks = 0);
// The same, where max_tokens may be left to what the context has room for.
Status ProveFits(const SchedulerConfig& config, const Request& request, uint32_t num_pinned_blocks);
// How many streams of a request can run side by side, to their longest ends, alone in the pool: all, or what there are
// seats and memory for. 0: none can.
uint32_t NumSideBySide(const SchedulerConfig& config, const Request& request, uint32_t num_pinned_blocks);

}  // namespace quire
