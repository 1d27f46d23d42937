// From options to a running engine: finds the model, plans memory from its headers, loads tokenizer and weights, builds
// backend, runner and engine. The one place that knows all the parts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "llm/memory_plan.h"
#include "model/kv_layout.h"
#include "model/model_config.h"
#include "quire/result.h"
#include "quire/sampling_params.h"
#include "tensor/dtype.h"

namespace quire {

class Backend;
class ChatTemplate;
class Engine;
class Model;
class Tokenizer;

// Names and defaults are vLLM's where vLLM has the option.
struct LoadOptions {
  std::string model;                    // a path or a hub name; empty: the embedded default model
  std::string tokenizer;                // a directory; empty: the model's
  std::string chat_template;            // a file, or the template itself; empty: the model's
  std::string dtype = "auto";           // auto, bfloat16, float32 or float; float16 or half: bfloat16
  std::string kv_cache_dtype = "auto";  // auto: bf16 for bf16 products, else float32
  std::optional<int32_t> max_model_len;
  int32_t max_num_seqs = 256;
  int32_t max_num_batched_tokens = 2048;
  int32_t long_prefill_token_threshold = 0;
  int32_t block_size = 16;
  std::string kv_cache_memory;  // "4GiB"; empty: a share of free memory
  std::optional<int32_t> num_gpu_blocks_override;
  double gpu_memory_utilization = 0.5;
  bool enable_prefix_caching = true;
  bool adaptive_chunking = true;
  std::string speculative_config;  // a JSON object with vLLM's names; empty: no speculative decoding
  int32_t threads = 0;             // 0: one per core
  std::string cpu_isa = "auto";
  int32_t max_queued_requests = 4096;
  int64_t max_queued_tokens = 0;             // of prompts that wait; 0: no limit
  std::string kv_policy = "paged";           // paged, reserve-max, reserve-pow2, reserve-exact
  std::string batching = "continuous";       // continuous, static
  std::string scheduling_policy = "fcfs";    // fcfs, priority
  bool fair = false;                         // between API keys
  std::string preemption_mode = "auto";      // recompute, swap, auto
  std::string swap_space = "4";              // GiB, or with a unit
  std::string swap_dir;                      // empty: the system's temporary directory
  std::string prefix_cache_dir;              // empty: blocks that memory has no room for are forgotten
  std::string prefix_cache_disk = "8GiB";    // in prefix_cache_dir
  std::vector<std::string> shared_prefixes;  // text files that are computed at the start and stay; whoever runs the
                                             // engine pins them
  std::string generation_config = "auto";    // auto: the model's sampling defaults; vllm: neutral ones
  std::string override_generation_config;    // a JSON object of sampling defaults over those
  std::optional<uint64_t> seed;              // of requests that have none; absent: another one each time
  std::string trace;                         // file that receives every StepPlan and StepResult
};

// Where start-up time went: (what, seconds), in order.
using StartupTimes = std::vector<std::pair<std::string, double>>;

struct LoadedModel {
  std::string directory;
  std::string name;  // as the user gave it; "tiny" for the embedded model
  ModelConfig config;
  MemoryPlan memory;
  StartupTimes times;
  DType compute_dtype = DType::kBf16;
  DType kv_dtype = DType::kBf16;
  int64_t num_parameters = 0;
  std::string chat_template_problem;  // why there is none; empty if there is one

  // In order of construction: later ones use earlier ones.
  std::shared_ptr<const Tokenizer> tokenizer;
  std::unique_ptr<const ChatTemplate> chat_template;  // null: chat_template_problem says why
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  std::unique_ptr<Engine> engine;

  LoadedModel();
  ~LoadedModel();
  LoadedModel(LoadedModel&&) noexcept;
  LoadedModel& operator=(LoadedModel&&) noexcept;
};

// What does not fit into memory is refused before weights are read.
Result<LoadedModel> LoadModel(const LoadOptions& options);

// The directory of the embedded default model: QUIRE_SHARE_DIR, the installed share directory beside the program, or
// the source tree it was built from.
Result<std::string> EmbeddedModelDirectory();

// Sampling parameters of a request that says nothing.
SamplingParams DefaultSamplingParams(const ModelConfig& config);

struct ModelDescription {
  std::string directory;
  ModelConfig config;
  MemoryPlan memory;
  DType compute_dtype = DType::kBf16;
  DType kv_dtype = DType::kBf16;
  int64_t num_parameters = 0;
  size_t kv_bytes_per_token = 0;  // in all layers
  KvLayout kv_layout;
};

// What `quire info` prints: nothing but headers are read.
Result<ModelDescription> DescribeModel(const LoadOptions& options);

}  // namespace quire
