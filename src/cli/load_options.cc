// Option names and defaults are vLLM's where vLLM has the option.
#include "cli/load_options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <limits>
#include <string_view>

#include "cli/checks.h"
#include "llm/value_text.h"

namespace quire {
namespace {

void AddModelFiles(CLI::App& app, LoadOptions& load, bool model_required) {
  auto* model = app.add_option("model", load.model,
                               "Model: a Hugging Face directory, or a hub name that is in the local cache "
                               "(default: the embedded model)");
  if (model_required) model->required();
  app.add_option("--model", load.model, "The same, as an option")->group("");
  app.add_option("--tokenizer", load.tokenizer, "Directory of tokenizer.json (default: the model's)");
  app.add_option("--chat-template", load.chat_template,
                 "Jinja file, or template on one line, to use instead of the model's chat template");
  app.add_option_function<std::string>(
         "--config", [](const std::string&) {},
         "YAML file of options, such as \"port: 8000\"; those given here count more")
      ->type_name("FILE");
  app.add_option("--override-generation-config", load.override_generation_config,
                 "JSON of sampling defaults over those of the model, such as {\"temperature\": 0.5}")
      ->type_name("JSON");
  app.add_option("--generation-config", load.generation_config,
                 "Where sampling defaults come from: auto (the model's generation_config.json) or vllm (neutral)")
      ->check(OneOf({"auto", "vllm"}))
      ->capture_default_str();
}

void AddMemory(CLI::App& app, LoadOptions& load) {
  app.add_option("--dtype", load.dtype,
                 "Products of the weights: auto (bfloat16 checkpoints in bfloat16, others in float32), bfloat16, "
                 "float32 (or float); float16 (or half) is computed in bfloat16")
      ->check(OneOf({"auto", "bfloat16", "float32", "float", "float16", "half"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--kv-cache-dtype", load.kv_cache_dtype, "Keys and values: auto (as the products), bfloat16, float32")
      ->check(OneOf({"auto", "bfloat16", "float32", "float16"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option_function<std::string>(
         "--max-model-len",
         [&load](const std::string& text) {
           load.max_model_len = std::nullopt;
           if (text != kAuto) load.max_model_len = static_cast<int32_t>(ParseWholeNumber(text).value());
         },
         "Longest sequence, prompt and output (default: auto, the model's, or what the KV cache holds); with dynamic "
         "rope scaling up to its factor times the model's, which changes what shorter sequences give, too")
      ->transform(WholeNumberOrAuto(1, kMaxInt32))
      ->type_name("INT")
      ->group("Memory and precision");
  app.add_option("--block-size", load.block_size, "Tokens per KV block: a power of two from 1 to 256")
      ->check(OneOf({"1", "2", "4", "8", "16", "32", "64", "128", "256"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--kv-cache-memory,--kv-cache-memory-bytes", load.kv_cache_memory,
                 "Memory for the KV cache, such as 4GiB (default: a share of free memory)")
      ->group("Memory and precision");
  app.add_option("--num-gpu-blocks-override", load.num_gpu_blocks_override, "Exactly this many KV blocks")
      ->transform(WholeNumber(1, kMaxInt32))
      ->group("Memory and precision");
  app.add_option(
         "--kv-policy", load.kv_policy,
         "How KV memory is promised: paged (block by block, as needed), or as a baseline one chunk for the whole "
         "request: reserve-max (the longest possible), reserve-pow2 (the output rounded up to a power of two), "
         "reserve-exact (max_tokens)")
      ->check(OneOf({"paged", "reserve-max", "reserve-pow2", "reserve-exact"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--gpu-memory-utilization,--device-memory-utilization", load.gpu_memory_utilization,
                 "Share of the memory left after the weights that the KV cache may take by default (vLLM's 0.92 is for "
                 "a GPU of its own; here other programs may want the rest)")
      ->check(Number(0.01, 1.0))
      ->capture_default_str()
      ->group("Memory and precision");
}

void AddCaching(CLI::App& app, LoadOptions& load) {
  const char* group = "Prefix cache and swap space";
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching,!--disable-prefix-caching",
               load.enable_prefix_caching, "Share the KV blocks of common prefixes between requests (default: on)")
      ->group(group);
  app.add_option("--shared-prefix", load.shared_prefixes,
                 "Text file whose keys and values are computed at the start and stay in memory, for all prompts that "
                 "begin with the same text, as /v1/completions sees it (may be given several times)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--prefix-cache-dir", load.prefix_cache_dir,
                 "Directory where cached prefixes outlive memory and the process")
      ->group(group);
  app.add_option("--prefix-cache-disk", load.prefix_cache_disk, "Most disk space for it, such as 8GiB")
      ->capture_default_str()
      ->group(group);
  app.add_option(
         "--swap-space", load.swap_space,
         "Disk space for preempted sequences: GiB, or with a unit, such as 512MiB; taken as needed, and no more "
         "than the KV cache has; 0: none")
      ->capture_default_str()
      ->group(group);
  app.add_option("--swap-dir", load.swap_dir, "Directory of its file (default: the system's temporary directory)")
      ->group(group);
}

void AddScheduling(CLI::App& app, LoadOptions& load) {
  app.add_option("--max-num-seqs", load.max_num_seqs, "Most sequences that run at once")
      ->transform(WholeNumber(1, 65536))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--max-num-batched-tokens", load.max_num_batched_tokens, "Most tokens of one step")
      ->transform(WholeNumber(1, 1 << 20))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--long-prefill-token-threshold", load.long_prefill_token_threshold,
                 "Most prompt tokens of one sequence in one step; 0: no limit of its own")
      ->transform(WholeNumber(0, kMaxInt32))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_flag("--adaptive-chunking,!--no-adaptive-chunking", load.adaptive_chunking,
               "Fit prompt chunks to measured step times, so that long prompts do not stall the streams beside them "
               "(default: on)")
      ->group("Scheduling");
  app.add_option("--speculative-config", load.speculative_config,
                 "Speculative decoding, as a JSON object: {\"method\": \"ngram\", \"num_speculative_tokens\": 5, "
                 "\"prompt_lookup_max\": 4, \"prompt_lookup_min\": 2}, or {\"model\": \"SMALL_MODEL\", "
                 "\"num_speculative_tokens\": 4}. The answers are the same")
      ->group("Scheduling");
  app.add_option("--max-num-queued-reqs", load.max_queued_requests, "Requests that may wait; more get a 429")
      ->transform(WholeNumber(1, kMaxInt32))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--max-num-queued-tokens", load.max_queued_tokens,
                 "Prompt tokens of requests that may wait; more get a 429; 0: no limit")
      ->transform(WholeNumber(0, std::numeric_limits<int64_t>::max()))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--scheduling-policy", load.scheduling_policy,
                 "Who is next: fcfs (who came first) or priority (the request's field; lower is sooner)")
      ->check(OneOf({"fcfs", "priority"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_flag("--fair", load.fair,
               "Share tokens evenly between API keys (or the request's user, without a key), so that one client with a "
               "thousand requests does not hold up another")
      ->group("Scheduling");
  app.add_option("--batching", load.batching,
                 "continuous: requests join and leave at every step; static: a batch runs to completion, as a baseline")
      ->check(OneOf({"continuous", "static"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--preemption-mode", load.preemption_mode,
                 "What happens to a sequence that must give up its memory: recompute (computed again), swap (moved to "
                 "swap space and back), auto (whichever measured times say is cheaper)")
      ->check(OneOf({"recompute", "swap", "auto"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--trace", load.trace, "Write every step's plan and result to this file, for replay")
      ->group("Scheduling");
}

void AddDevice(CLI::App& app, LoadOptions& load) {
  app.add_option("--threads", load.threads, "Compute threads (default: one per core)")
      ->transform(WholeNumber(1, 1024))
      ->group("Device");
  app.add_option("--cpu-isa", load.cpu_isa,
                 "Instruction set of the kernels: auto, ref, ref-amx, avx2, avx512, avx512bf16, amx")
      ->capture_default_str()
      ->group("Device");
}

// vLLM's name for memory of the KV cache on a CPU; an option replaces it.
void ReadEnvironment(LoadOptions& load) {
  const char* space = std::getenv("VLLM_CPU_KVCACHE_SPACE");
  if (space != nullptr && *space != '\0' && std::string_view(space) != "0")
    load.kv_cache_memory = space + std::string("GiB");
}

}  // namespace

void AddLoad(CLI::App& app, LoadOptions& load, bool model_required) {
  ReadEnvironment(load);
  AddModelFiles(app, load, model_required);
  AddMemory(app, load);
  AddCaching(app, load);
  AddScheduling(app, load);
  AddDevice(app, load);
}

}  // namespace quire
