#include "llm/option_table.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "backend/backend_factory.h"
#include "llm/generation_overrides.h"
#include "llm/memory_plan.h"
#include "llm/speculation_options.h"
#include "llm/value_text.h"

namespace quire {
namespace {

constexpr const char* kHidden = "";
constexpr const char* kGeneral = "Options";
constexpr const char* kMemory = "Memory and precision";
constexpr const char* kCaching = "Prefix cache and swap space";
constexpr const char* kScheduling = "Scheduling";
constexpr const char* kDevice = "Device";
constexpr const char* kServer = "Server";

template <auto Parse>
Status Parses(const std::string& text) {
  const auto parsed = Parse(text);
  return parsed.ok() ? Status() : parsed.error();
}

constexpr LoadOption kOptions[] = {
    {.name = "--model",
     .value = takes::Text{&LoadOptions::model},
     .group = kHidden,
     .help = "The model, where it is not the first argument"},
    {.name = "--revision",
     .value = takes::Text{&LoadOptions::revision},
     .group = kGeneral,
     .help = "Of a model on the hub: a branch, a tag or a commit"},
    {.name = "--tokenizer",
     .value = takes::Text{&LoadOptions::tokenizer},
     .group = kGeneral,
     .help = "Directory of tokenizer.json, or GGUF file (default: the model's)"},
    {.name = "--chat-template",
     .value = takes::Text{&LoadOptions::chat_template},
     .group = kGeneral,
     .help = "Jinja file, or template on one line, to use instead of the model's chat template"},
    {.name = "--override-generation-config",
     .value = takes::CheckedText{&LoadOptions::override_generation_config, Parses<ParseGenerationOverrides>, "JSON"},
     .group = kGeneral,
     .help = "JSON of sampling defaults over those of the model, such as {\"temperature\": 0.5}"},
    {.name = "--generation-config",
     .value = takes::OneOf{&LoadOptions::generation_config, kSamplingDefaults},
     .group = kGeneral,
     .help = "Where sampling defaults come from: auto (the model's generation_config.json) or vllm (neutral)"},

    {.name = "--dtype",
     .value = takes::Spelling{&LoadOptions::dtype, kDTypes},
     .group = kMemory,
     .help = "Products of the weights: auto (bfloat16 and quantised checkpoints in bfloat16, others in float32), "
             "bfloat16, float32 "
             "(or float); float16 (or half) is computed in bfloat16"},
    {.name = "--quantization",
     .aliases = "-q",
     .value = takes::Text{&LoadOptions::quantization},
     .group = kMemory,
     .help = "What the weights must be stored as: auto (whatever it is), gguf, fp8, gptq, awq, compressed-tensors, "
             "bitsandbytes, or a format such as q4_1; they are decoded exactly while they are loaded"},
    {.name = "--kv-cache-dtype",
     .value = takes::Spelling{&LoadOptions::kv_cache_dtype, kKvDTypes},
     .group = kMemory,
     .help = "Keys and values: auto (as the products), bfloat16, float32"},
    {.name = "--max-model-len",
     .value = takes::WholeNumberOrAuto{&LoadOptions::max_model_len, 1, kMaxInt32},
     .group = kMemory,
     .help = "Longest sequence, prompt and output (default: auto, the model's, or what the KV cache holds); with "
             "dynamic rope scaling up to its factor times the model's, which changes what shorter sequences give, too"},
    {.name = "--block-size",
     .value = takes::OneOf{&LoadOptions::block_size, kBlockSizes},
     .group = kMemory,
     .help = "Tokens per KV block: a power of two from 1 to 256"},
    {.name = "--kv-cache-memory",
     .aliases = "--kv-cache-memory-bytes",
     .value = takes::ByteSize{&LoadOptions::kv_cache_memory, ParseByteSize},
     .group = kMemory,
     .help = "Memory for the KV cache, such as 4GiB (default: a share of free memory)"},
    {.name = "--num-gpu-blocks-override",
     .value = takes::WholeNumber{&LoadOptions::num_gpu_blocks_override, 1, kMaxInt32},
     .group = kMemory,
     .help = "Exactly this many KV blocks"},
    {.name = "--kv-policy",
     .value = takes::OneOf{&LoadOptions::kv_policy, kKvPolicies},
     .group = kMemory,
     .help = "How KV memory is promised: paged (block by block, as needed), or as a baseline one chunk for the whole "
             "request: reserve-max (the longest possible), reserve-pow2 (the output rounded up to a power of two), "
             "reserve-exact (max_tokens)"},
    {.name = "--gpu-memory-utilization",
     .aliases = "--device-memory-utilization",
     .value = takes::Number{&LoadOptions::gpu_memory_utilization, 0.01, 1.0},
     .group = kMemory,
     .help = "Share of the memory left after the weights that the KV cache may take by default (vLLM's 0.92 is for a "
             "GPU of its own; here other programs may want the rest)"},
    {.name = "--kv-populate",
     .aliases = "!--no-kv-populate",
     .value = takes::Switch{&LoadOptions::kv_populate},
     .group = kMemory,
     .help = "Take the memory of the KV cache at the start, in the background, and not as it is first written: so no "
             "other program can have it then"},
    {.name = "--mlock",
     .aliases = "!--no-mlock",
     .value = takes::Switch{&LoadOptions::mlock},
     .group = kMemory,
     .help = "Keep the system from swapping out weights or KV cache"},

    {.name = "--enable-prefix-caching",
     .aliases = "!--no-enable-prefix-caching,!--disable-prefix-caching",
     .value = takes::Switch{&LoadOptions::enable_prefix_caching},
     .group = kCaching,
     .help = "Share the KV blocks of common prefixes between requests (default: on)"},
    {.name = "--shared-prefix",
     .value = takes::Texts{&LoadOptions::shared_prefixes},
     .group = kCaching,
     .help = "Text file whose keys and values are computed at the start and stay in memory, for all prompts that begin "
             "with the same text, as /v1/completions sees it (may be given several times)"},
    {.name = "--prefix-cache-dir",
     .value = takes::Text{&LoadOptions::prefix_cache_dir},
     .group = kCaching,
     .help = "Directory where cached prefixes outlive memory and the process"},
    {.name = "--prefix-cache-disk",
     .value = takes::ByteSize{&LoadOptions::prefix_cache_disk, ParseByteSize},
     .group = kCaching,
     .help = "Most disk space for it, such as 8GiB"},
    {.name = "--swap-space",
     .value = takes::ByteSize{&LoadOptions::swap_space, ParseGibibytes},
     .group = kCaching,
     .help = "Disk space for preempted sequences: GiB, or with a unit, such as 512MiB; taken as needed, and no more "
             "than the KV cache has; 0: none"},
    {.name = "--swap-dir",
     .value = takes::Text{&LoadOptions::swap_dir},
     .group = kCaching,
     .help = "Directory of its file (default: the system's temporary directory)"},

    {.name = "--max-num-seqs",
     .value = takes::WholeNumber{&LoadOptions::max_num_seqs, 1, 65536},
     .group = kScheduling,
     .help = "Most sequences that run at once"},
    {.name = "--max-num-batched-tokens",
     .value = takes::WholeNumber{&LoadOptions::max_num_batched_tokens, 1, 1 << 20},
     .group = kScheduling,
     .help = "Most tokens of one step"},
    {.name = "--long-prefill-token-threshold",
     .value = takes::WholeNumber{&LoadOptions::long_prefill_token_threshold, 0, kMaxInt32},
     .group = kScheduling,
     .help = "Most prompt tokens of one sequence in one step; 0: no limit of its own"},
    {.name = "--adaptive-chunking",
     .aliases = "!--no-adaptive-chunking",
     .value = takes::Switch{&LoadOptions::adaptive_chunking},
     .group = kScheduling,
     .help = "Fit prompt chunks to measured step times, so that long prompts do not stall the streams beside them "
             "(default: on)"},
    {.name = "--speculative-config",
     .value = takes::CheckedText{&LoadOptions::speculative_config, Parses<ParseSpeculationOptions>, "JSON"},
     .group = kScheduling,
     .help = "Speculative decoding, as a JSON object: {\"method\": \"ngram\", \"num_speculative_tokens\": 5, "
             "\"prompt_lookup_max\": 4, \"prompt_lookup_min\": 2}, or {\"model\": \"SMALL_MODEL\", "
             "\"num_speculative_tokens\": 4}. The answers are the same"},
    {.name = "--max-num-queued-reqs",
     .value = takes::WholeNumber{&LoadOptions::max_queued_requests, 1, kMaxInt32},
     .group = kScheduling,
     .help = "Requests that may wait; more get a 429"},
    {.name = "--max-num-queued-tokens",
     .value = takes::WholeNumber{&LoadOptions::max_queued_tokens, 0, std::numeric_limits<int64_t>::max()},
     .group = kScheduling,
     .help = "Prompt tokens of requests that may wait; more get a 429; 0: no limit"},
    {.name = "--scheduling-policy",
     .value = takes::OneOf{&LoadOptions::scheduling_policy, kQueuePolicies},
     .group = kScheduling,
     .help = "Who is next: fcfs (who came first) or priority (the request's field; lower is sooner)"},
    {.name = "--fair",
     .value = takes::Switch{&LoadOptions::fair},
     .group = kScheduling,
     .help = "Share tokens evenly between API keys (or the request's user, without a key), so that one client with a "
             "thousand requests does not hold up another"},
    {.name = "--batching",
     .value = takes::OneOf{&LoadOptions::batching, kBatchings},
     .group = kScheduling,
     .help = "continuous: requests join and leave at every step; static: a batch runs to completion, as a baseline"},
    {.name = "--preemption-mode",
     .value = takes::OneOf{&LoadOptions::preemption_mode, kPreemptionModes},
     .group = kScheduling,
     .help = "What happens to a sequence that must give up its memory: recompute (computed again), swap (moved to swap "
             "space and back), auto (whichever measured times say is cheaper)"},
    {.name = "--trace",
     .value = takes::Text{&LoadOptions::trace},
     .group = kScheduling,
     .help = "Write every step's plan and result to this file, for replay"},

    {.name = "--threads",
     .value = takes::WholeNumber{&LoadOptions::threads, 1, 1024},
     .group = kDevice,
     .help = "Compute threads (default: one per core)"},
    {.name = "--cpu-isa",
     .value = takes::CheckedText{&LoadOptions::cpu_isa, CheckCpuIsa},
     .group = kDevice,
     .help = "Instruction set of the kernels: auto, ref, ref-amx, avx2, avx512, avx512bf16, amx"},

    {.name = "--seed",
     .value = takes::Seed{&LoadOptions::seed},
     .group = kServer,
     .help = "Seed of requests that have none: the same requests in the same order get the same answers (default: "
             "another one each time)",
     .is_for_serve = true},
};

}  // namespace

std::span<const LoadOption> LoadOptionTable() { return kOptions; }

const LoadOption* FindLoadOption(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, name, &LoadOption::name);
  return found == std::end(kOptions) ? nullptr : found;
}

}  // namespace quire
