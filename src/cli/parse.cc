// The only file that sees CLI11: its header is heavy. Option names and defaults are vLLM's where vLLM has the option.
#include "cli/parse.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>

#include "base/log.h"
#include "cli/commands.h"
#include "quire/version.h"

namespace quire {
namespace {

// Counts of requests or tokens: no benchmark needs more, and products of two fit easily into 64 bits.
CLI::Range CountFrom(int least) { return CLI::Range(least, 1 << 24); }

void AddModelFiles(CLI::App& app, LoadOptions& load, bool model_required) {
  auto* model = app.add_option("model", load.model,
                               "Model: a Hugging Face directory, or a hub name that is in the local cache "
                               "(default: the embedded model)");
  if (model_required) model->required();
  app.add_option("--tokenizer", load.tokenizer, "Directory of tokenizer.json (default: the model's)");
  app.add_option("--chat-template", load.chat_template, "Jinja file to use instead of the model's chat template");
  app.add_option("--generation-config", load.generation_config,
                 "Where sampling defaults come from: auto (the model's generation_config.json) or vllm (neutral)")
      ->check(CLI::IsMember({"auto", "vllm"}))
      ->capture_default_str();
}

void AddMemory(CLI::App& app, LoadOptions& load) {
  app.add_option("--dtype", load.dtype,
                 "Products of the weights: auto (float32 checkpoints in float32, others in bfloat16), bfloat16, "
                 "float32 (or float)")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32", "float"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--kv-cache-dtype", load.kv_cache_dtype, "Keys and values: auto (as the products), bfloat16, float32")
      ->check(CLI::IsMember({"auto", "bfloat16", "float32"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--max-model-len", load.max_model_len,
                 "Longest sequence, prompt and output (default: the model's, or what the KV cache holds); with dynamic "
                 "rope scaling up to its factor times the model's, which changes what shorter sequences give, too")
      ->check(CLI::PositiveNumber)
      ->group("Memory and precision");
  app.add_option("--block-size", load.block_size, "Tokens per KV block: a power of two from 1 to 256")
      ->check(CLI::IsMember({1, 2, 4, 8, 16, 32, 64, 128, 256}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--kv-cache-memory,--kv-cache-memory-bytes", load.kv_cache_memory,
                 "Memory for the KV cache, such as 4GiB (default: a share of free memory)")
      ->group("Memory and precision");
  app.add_option("--num-gpu-blocks-override", load.num_gpu_blocks_override, "Exactly this many KV blocks")
      ->check(CLI::PositiveNumber)
      ->group("Memory and precision");
  app.add_option(
         "--kv-policy", load.kv_policy,
         "How KV memory is promised: paged (block by block, as needed), or as a baseline one chunk for the whole "
         "request: reserve-max (the longest possible), reserve-pow2 (the output rounded up to a power of two), "
         "reserve-exact (max_tokens)")
      ->check(CLI::IsMember({"paged", "reserve-max", "reserve-pow2", "reserve-exact"}))
      ->capture_default_str()
      ->group("Memory and precision");
  app.add_option("--gpu-memory-utilization,--device-memory-utilization", load.gpu_memory_utilization,
                 "Share of the memory left after the weights that the KV cache may take by default (vLLM's 0.92 is for "
                 "a GPU of its own; here other programs may want the rest)")
      ->check(CLI::Range(0.01, 1.0))
      ->capture_default_str()
      ->group("Memory and precision");
}

void AddCaching(CLI::App& app, LoadOptions& load) {
  const char* group = "Prefix cache and swap space";
  app.add_flag("--enable-prefix-caching,!--no-enable-prefix-caching", load.enable_prefix_caching,
               "Share the KV blocks of common prefixes between requests (default: on)")
      ->group(group);
  app.add_option("--shared-prefix", load.shared_prefixes,
                 "Text file whose keys and values are computed at the start and stay in memory, for all prompts that "
                 "begin with the same text, as /v1/completions sees it (may be given several times)")
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
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--max-num-batched-tokens", load.max_num_batched_tokens, "Most tokens of one step")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--long-prefill-token-threshold", load.long_prefill_token_threshold,
                 "Most prompt tokens of one sequence in one step; 0: no limit of its own")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Scheduling");
  app.add_flag("--adaptive-chunking,!--no-adaptive-chunking", load.adaptive_chunking,
               "Fit prompt chunks to measured step times, so that long prompts do not stall the streams beside them "
               "(default: on)")
      ->group("Scheduling");
  app.add_option("--max-num-queued-reqs", load.max_queued_requests, "Requests that may wait; more get a 429")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--max-num-queued-tokens", load.max_queued_tokens,
                 "Prompt tokens of requests that may wait; more get a 429; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--scheduling-policy", load.scheduling_policy,
                 "Who is next: fcfs (who came first) or priority (the request's field; lower is sooner)")
      ->check(CLI::IsMember({"fcfs", "priority"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_flag("--fair", load.fair,
               "Share tokens evenly between API keys (or the request's user, without a key), so that one client with a "
               "thousand requests does not hold up another")
      ->group("Scheduling");
  app.add_option("--batching", load.batching,
                 "continuous: requests join and leave at every step; static: a batch runs to completion, as a baseline")
      ->check(CLI::IsMember({"continuous", "static"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--preemption-mode", load.preemption_mode,
                 "What happens to a sequence that must give up its memory: recompute (computed again), swap (moved to "
                 "swap space and back), auto (whichever measured times say is cheaper)")
      ->check(CLI::IsMember({"recompute", "swap", "auto"}))
      ->capture_default_str()
      ->group("Scheduling");
  app.add_option("--trace", load.trace, "Write every step's plan and result to this file, for replay")
      ->group("Scheduling");
}

void AddDevice(CLI::App& app, LoadOptions& load) {
  app.add_option("--threads", load.threads, "Compute threads (default: one per core)")
      ->check(CLI::Range(1, 1024))
      ->group("Device");
  app.add_option("--cpu-isa", load.cpu_isa,
                 "Instruction set of the kernels: auto, ref, ref-amx, avx2, avx512, avx512bf16, amx")
      ->capture_default_str()
      ->group("Device");
}

void AddLoad(CLI::App& app, LoadOptions& load, bool model_required) {
  AddModelFiles(app, load, model_required);
  AddMemory(app, load);
  AddCaching(app, load);
  AddScheduling(app, load);
  AddDevice(app, load);
}

void AddSampling(CLI::App& app, SamplingOptions& sampling) {
  const char* group = "Sampling";
  app.add_option("--temperature", sampling.temperature, "0 is greedy")->group(group);
  app.add_option("--top-p", sampling.top_p, "Nucleus: the most likely tokens that add up to this probability")
      ->group(group);
  app.add_option("--top-k", sampling.top_k, "Only the k most likely tokens")->group(group);
  app.add_option("--min-p", sampling.min_p, "Only tokens at least this likely, relative to the best")->group(group);
  app.add_option("--repetition-penalty", sampling.repetition_penalty)->group(group);
  app.add_option("--presence-penalty", sampling.presence_penalty)->group(group);
  app.add_option("--frequency-penalty", sampling.frequency_penalty)->group(group);
  app.add_option("--seed", sampling.seed, "The same seed gives the same text")->group(group);
  app.add_option("--max-tokens,-n", sampling.max_tokens, "Most tokens to generate")->group(group);
  app.add_option("--stop", sampling.stop, "Stop at this text (may be given several times)")
      ->allow_extra_args(false)
      ->group(group);
  app.add_flag("--ignore-eos", sampling.ignore_eos, "Go on after the end-of-sequence token")->group(group);
}

// A sub-command's options live as long as the parser.
template <typename Command>
CLI::App& AddCommand(CLI::App& app, const char* name, const char* help, Command& command, int (*run)(const Command&),
                     std::function<int()>& chosen) {
  CLI::App& sub = *app.add_subcommand(name, help);
  sub.final_callback([&command, run, &chosen] { chosen = [&command, run] { return run(command); }; });
  return sub;
}

void AddServe(CLI::App& sub, ServeCommand& serve) {
  AddLoad(sub, serve.load, false);
  const char* group = "Server";
  sub.add_option("--host", serve.host, "Address to listen on; 0.0.0.0 for all")->capture_default_str()->group(group);
  sub.add_option("--port", serve.port, "Port to listen on; 0 for any free one")->capture_default_str()->group(group);
  // The option and QUIRE_API_KEY replace it.
  if (const char* key = std::getenv("VLLM_API_KEY"); key != nullptr && *key != '\0') serve.api_keys = {key};
  sub.add_option("--api-key", serve.api_keys,
                 "Require this key (may be given several times; also QUIRE_API_KEY or VLLM_API_KEY)")
      ->envname("QUIRE_API_KEY")
      ->allow_extra_args(false)
      ->group(group);
  sub.add_flag("--no-key-for-metrics", serve.no_key_for_metrics, "Let dashboards read /metrics without a key")
      ->group(group);
  sub.add_option("--served-model-name", serve.served_model_names,
                 "What the API calls the model (may be given several times; default: the model as given)")
      ->allow_extra_args(false)
      ->group(group);
  sub.add_option("--io-threads", serve.io_threads, "Threads of the HTTP server")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(group);
}

// `when`: for which workload, if not for all.
template <typename Command>
void AddLengths(CLI::App& sub, Command& command, const std::string& when) {
  const char* group = "Benchmark";
  sub.add_option("--input-len,--random-input-len", command.input_len, "Tokens of each prompt" + when)
      ->check(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--output-len,--random-output-len", command.output_len, "Tokens of each answer" + when)
      ->check(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--range-ratio,--random-range-ratio", command.range_ratio,
                 "Spread lengths evenly within this share of their mean" + when)
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
}

void AddBenchOptions(CLI::App& sub, BenchCommand& bench) {
  AddLoad(sub, bench.load, false);
  const char* group = "Benchmark";
  AddLengths(sub, bench, "");
  sub.add_option("--seed", bench.seed, "Seed of prompts and lengths")->capture_default_str()->group(group);
  sub.add_flag("--json", bench.json, "Print one JSON object instead of a table")->group(group);
}

std::string CheckRate(const std::string& text) {
  double rate = 0;
  return CLI::detail::lexical_cast(text, rate) && rate > 0 ? "" : "must be a number above 0, or inf";
}

void AddBenchKv(CLI::App& sub, BenchKvCommand& kv) {
  AddLoad(sub, kv.load, false);
  const char* group = "Benchmark";
  sub.add_option("--workload", kv.workload,
                 "Lengths: sharegpt or alpaca (shaped as in the PagedAttention paper), or uniform")
      ->check(CLI::IsMember({"sharegpt", "alpaca", "uniform"}))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--length-scale", kv.length_scale, "Factor of both lengths, to fit the model's context")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  AddLengths(sub, kv, " (uniform)");
  sub.add_option("--num-prompts", kv.num_prompts, "How many requests")
      ->check(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--request-rate", kv.request_rate, "Requests per second, Poisson arrivals (default: inf, all at once)")
      ->check(CheckRate)
      ->group(group);
  sub.add_option("--n", kv.n, "Answers to each prompt")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  sub.add_option("--best-of", kv.best_of, "Sample so many and return n")->check(CLI::PositiveNumber)->group(group);
  sub.add_option("--beam-width", kv.beam_width, "Beam search of this width instead of sampling")
      ->check(CLI::PositiveNumber)
      ->group(group);
  sub.add_option("--seed", kv.seed, "Seed of prompts, lengths, arrivals and samples")
      ->capture_default_str()
      ->group(group);
  sub.add_flag("--json", kv.json, "Print one JSON object instead of a table")->group(group);
}

void AddBench(CLI::App& app, BenchCommand& throughput, BenchCommand& latency, BenchKvCommand& kv,
              std::function<int()>& chosen) {
  CLI::App& bench = *app.add_subcommand("bench", "Measure the engine without a server: throughput, latency, kv");
  bench.require_subcommand(1);
  AddBenchKv(AddCommand(bench, "kv", "Where every slot of the KV cache was while a workload ran, and what that gave",
                        kv, &RunBenchKv, chosen),
             kv);
  throughput.kind = BenchCommand::Kind::kThroughput;
  latency.kind = BenchCommand::Kind::kLatency;
  latency.input_len = 32;
  CLI::App& many = AddCommand(bench, "throughput", "Many random prompts at once: requests/s, tokens/s, TTFT, TPOT, ITL",
                              throughput, &RunBench, chosen);
  AddBenchOptions(many, throughput);
  many.add_option("--num-prompts", throughput.num_prompts, "How many requests")
      ->check(CountFrom(1))
      ->capture_default_str();
  many.add_option("--max-concurrency", throughput.max_concurrency, "How many at a time; 0: all")
      ->check(CountFrom(0))
      ->capture_default_str();
  CLI::App& one =
      AddCommand(bench, "latency", "One batch after another: seconds per batch", latency, &RunBench, chosen);
  AddBenchOptions(one, latency);
  one.add_option("--batch-size", latency.batch_size, "Requests of one batch")
      ->check(CountFrom(1))
      ->capture_default_str();
  one.add_option("--num-iters", latency.num_iters, "Batches that count")->check(CountFrom(1))->capture_default_str();
  one.add_option("--num-iters-warmup", latency.num_iters_warmup, "Batches before them")
      ->check(CountFrom(0))
      ->capture_default_str();
}

void AddTokenize(CLI::App& sub, TokenizeCommand& tokenize) {
  sub.add_option("directory", tokenize.directory, "Directory of tokenizer.json")->required();
  sub.add_flag("--jsonl", tokenize.jsonl, "Read one JSON string a line, write {\"ids\": [...]} a line");
  sub.add_flag("--no-special-tokens", tokenize.no_special_tokens, "Do not add BOS and the like");
  sub.add_flag("--decode", tokenize.decode, "The other way: ids to text");
}

}  // namespace

int Main(int argc, char** argv) {
  CLI::App app("Quire serves large language models: PagedAttention, continuous batching, the OpenAI API.", "quire");
  app.set_version_flag("--version", std::string("quire ") + kVersion);
  app.require_subcommand(1);
  std::string log_level = "info";
  app.add_option("--log-level", log_level, "debug, info, warning, error, off")
      ->check(CLI::IsMember({"debug", "info", "warning", "error", "off"}))
      ->capture_default_str();
  app.fallthrough();

  std::function<int()> chosen;
  ServeCommand serve;
  AddServe(AddCommand(app, "serve", "Serve a model over HTTP (OpenAI's and vLLM's API)", serve, &RunServe, chosen),
           serve);
  RunCommand run;
  CLI::App& run_app = AddCommand(app, "run", "Complete one prompt, streaming to the terminal", run, &RunOnce, chosen);
  AddLoad(run_app, run.load, true);
  run_app.add_option("prompt", run.prompt, "The text to go on from; - reads standard input")->required();
  run_app.add_flag("--chat", run.chat, "Treat the prompt as a user's message: apply the chat template");
  AddSampling(run_app, run.sampling);
  ChatCommand chat;
  CLI::App& chat_app = AddCommand(app, "chat", "Talk to a model in the terminal", chat, &RunChat, chosen);
  AddLoad(chat_app, chat.load, false);
  chat_app.add_option("--system", chat.system, "System message");
  AddSampling(chat_app, chat.sampling);
  BenchCommand throughput, latency;
  BenchKvCommand kv;
  AddBench(app, throughput, latency, kv, chosen);
  TokenizeCommand tokenize;
  AddTokenize(AddCommand(app, "tokenize", "Text to token ids, and back", tokenize, &RunTokenize, chosen), tokenize);
  InfoCommand info;
  AddLoad(AddCommand(app, "info", "What a model is and how memory would be planned; loads no weights", info, &RunInfo,
                     chosen),
          info.load, false);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  const LogLevel levels[] = {LogLevel::kDebug, LogLevel::kInfo, LogLevel::kWarning, LogLevel::kError, LogLevel::kOff};
  const std::string names[] = {"debug", "info", "warning", "error", "off"};
  for (size_t i = 0; i < std::size(names); ++i) {
    if (log_level == names[i]) SetLogLevel(levels[i]);
  }
  return chosen ? chosen() : 1;
}

}  // namespace quire
