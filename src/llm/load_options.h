// What a model is loaded and run with: the options of every command that loads one, and of programs that embed Quire.
// A member has a row in option_table.cc, which says the option's name, its values and its help; the default is here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kv/kv_policy.h"
#include "quire/result.h"
#include "sched/scheduler_config.h"

namespace quire {

// Where the sampling parameters of a request that says nothing come from.
enum class SamplingDefaults : uint8_t { kOfModel, kNeutral };

// Names and defaults are vLLM's where vLLM has the option.
struct LoadOptions {
  std::string model;                       // a path or a name on the hub; empty: the embedded default model
  std::string revision = "main";           // of a model on the hub: a branch, a tag or a commit
  std::string tokenizer;                   // a directory or GGUF file; empty: the model's
  std::string chat_template;               // a file, or the template itself; empty: the model's
  std::string override_generation_config;  // a JSON object of sampling defaults over those of generation_config
  SamplingDefaults generation_config = SamplingDefaults::kOfModel;

  std::string dtype = "auto";           // auto, bfloat16, float32 or float; float16 or half: bfloat16
  std::string quantization = "auto";    // what the weights are stored as: auto, a method (gguf, gptq), a format
  std::string kv_cache_dtype = "auto";  // auto: bfloat16 for bfloat16 products, else float32
  std::optional<int32_t> max_model_len;
  int32_t block_size = 16;
  std::string kv_cache_memory;  // "4GiB"; empty: a share of free memory
  std::optional<int32_t> num_gpu_blocks_override;
  KvPolicyKind kv_policy = KvPolicyKind::kPaged;
  double gpu_memory_utilization = 0.5;
  bool kv_populate = false;  // take the KV cache's memory at once, not as it is first written
  bool mlock = false;        // nothing of the process is swapped out

  bool enable_prefix_caching = true;
  std::vector<std::string> shared_prefixes;  // text files that are computed at the start and stay; whoever runs the
                                             // engine pins them
  std::string prefix_cache_dir;              // empty: blocks that memory has no room for are forgotten
  std::string prefix_cache_disk = "8GiB";    // in prefix_cache_dir
  std::string swap_space = "4";              // GiB, or with a unit
  std::string swap_dir;                      // empty: the system's temporary directory

  int32_t max_num_seqs = 256;
  int32_t max_num_batched_tokens = 2048;
  int32_t long_prefill_token_threshold = 0;  // 0: no limit of its own
  bool adaptive_chunking = true;
  std::string speculative_config;  // a JSON object with vLLM's names; empty: no speculative decoding
  int32_t max_queued_requests = 4096;
  int64_t max_queued_tokens = 0;  // of prompts that wait; 0: no limit
  QueuePolicy scheduling_policy = QueuePolicy::kFcfs;
  bool fair = false;  // between API keys
  Batching batching = Batching::kContinuous;
  PreemptionMode preemption_mode = PreemptionMode::kAuto;
  std::string trace;  // file that receives every StepPlan and StepResult

  std::optional<int32_t> threads;  // absent: one per core
  std::string cpu_isa = "auto";

  std::optional<uint64_t> seed;  // of requests that have none; absent: another one each time
};

// Every value by its row, and what excludes each other. The message names the option, the value and what is allowed;
// the command line has the same.
Status CheckLoadOptions(const LoadOptions& options);

}  // namespace quire
