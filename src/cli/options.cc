// Option names and defaults are vLLM's where vLLM has the option.
#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <limits>

#include "cli/checks.h"
#include "cli/load_options.h"
#include "llm/value_text.h"

namespace quire {
namespace {

// Counts of requests or tokens: no benchmark needs more, and products of two fit easily into 64 bits.
CLI::Validator CountFrom(int least) { return WholeNumber(least, 1 << 24); }

// Any number: ValidateSamplingParams decides which ones may be asked for.
CLI::Validator AnyWholeNumber() { return WholeNumber(std::numeric_limits<int32_t>::min(), kMaxInt32); }

void AddSampling(CLI::App& app, SamplingOptions& sampling) {
  const char* group = "Sampling";
  app.add_option("--temperature", sampling.temperature, "0 is greedy")->check(Number())->group(group);
  app.add_option("--top-p", sampling.top_p, "Nucleus: the most likely tokens that add up to this probability")
      ->check(Number())
      ->group(group);
  app.add_option("--top-k", sampling.top_k, "Only the k most likely tokens")->transform(AnyWholeNumber())->group(group);
  app.add_option("--min-p", sampling.min_p, "Only tokens at least this likely, relative to the best")
      ->check(Number())
      ->group(group);
  app.add_option("--repetition-penalty", sampling.repetition_penalty)->check(Number())->group(group);
  app.add_option("--presence-penalty", sampling.presence_penalty)->check(Number())->group(group);
  app.add_option("--frequency-penalty", sampling.frequency_penalty)->check(Number())->group(group);
  app.add_option("--seed", sampling.seed, "The same seed gives the same text")->check(Seed())->group(group);
  app.add_option("--max-tokens,-n", sampling.max_tokens, "Most tokens to generate")
      ->transform(AnyWholeNumber())
      ->group(group);
  app.add_option("--stop", sampling.stop, "Stop at this text (may be given several times)")
      ->take_all()
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
  AddLoadForServe(sub, serve.load);
  ServerOptions& server = serve.server;
  const char* group = "Server";
  sub.add_option("--host", server.host, "Address to listen on; 0.0.0.0 for all")->capture_default_str()->group(group);
  sub.add_option("--port", server.port, "Port to listen on; 0 for any free one")
      ->transform(WholeNumber(0, 65535))
      ->capture_default_str()
      ->group(group);
  // The option and QUIRE_API_KEY replace it.
  if (const char* key = std::getenv("VLLM_API_KEY"); key != nullptr && *key != '\0') server.api_keys = {key};
  sub.add_option("--api-key", server.api_keys, "Require one of these keys (also QUIRE_API_KEY or VLLM_API_KEY)")
      ->envname("QUIRE_API_KEY")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  sub.add_flag("--no-key-for-metrics", server.no_key_for_metrics, "Let dashboards read /metrics without a key")
      ->group(group);
  sub.add_option("--served-model-name", server.served_model_names,
                 "What the API calls the model; of several names the first is what answers say (default: the model as "
                 "given)")
      ->take_all()
      ->allow_extra_args(false)
      ->group(group);
  sub.add_option("--io-threads", server.num_io_threads, "Threads of the HTTP server")
      ->transform(WholeNumber(1, 64))
      ->capture_default_str()
      ->group(group);
}

// `when`: for which workload, if not for all.
template <typename Command>
void AddLengths(CLI::App& sub, Command& command, const std::string& when) {
  const char* group = "Benchmark";
  sub.add_option("--input-len,--random-input-len", command.input_len, "Tokens of each prompt" + when)
      ->transform(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--output-len,--random-output-len", command.output_len, "Tokens of each answer" + when)
      ->transform(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--range-ratio,--random-range-ratio", command.range_ratio,
                 "Spread lengths evenly within this share of their mean" + when)
      ->check(Number(0.0, 1.0))
      ->group(group);
}

void AddBenchOptions(CLI::App& sub, BenchCommand& bench) {
  AddLoad(sub, bench.load, false);
  const char* group = "Benchmark";
  AddLengths(sub, bench, "");
  sub.add_option("--seed", bench.seed, "Seed of prompts and lengths")
      ->check(Seed())
      ->capture_default_str()
      ->group(group);
  sub.add_flag("--json", bench.json, "Print one JSON object instead of a table")->group(group);
}

void AddBenchKv(CLI::App& sub, BenchKvCommand& kv) {
  AddLoad(sub, kv.load, false);
  const char* group = "Benchmark";
  sub.add_option("--workload", kv.workload,
                 "Lengths: sharegpt or alpaca (shaped as in the PagedAttention paper), or uniform")
      ->check(OneOf({"sharegpt", "alpaca", "uniform"}))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--length-scale", kv.length_scale, "Factor of both lengths, to fit the model's context")
      ->check(PositiveNumber())
      ->capture_default_str()
      ->group(group);
  AddLengths(sub, kv, " (uniform)");
  sub.add_option("--num-prompts", kv.num_prompts, "How many requests")
      ->transform(CountFrom(1))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--request-rate", kv.request_rate, "Requests per second, Poisson arrivals (default: inf, all at once)")
      ->check(PositiveNumber())
      ->group(group);
  sub.add_option("--n", kv.n, "Answers to each prompt")
      ->transform(WholeNumber(1, kMaxInt32))
      ->capture_default_str()
      ->group(group);
  sub.add_option("--best-of", kv.best_of, "Sample so many and return n")
      ->transform(WholeNumber(1, kMaxInt32))
      ->group(group);
  sub.add_option("--beam-width", kv.beam_width, "Beam search of this width instead of sampling")
      ->transform(WholeNumber(1, kMaxInt32))
      ->group(group);
  sub.add_option("--seed", kv.seed, "Seed of prompts, lengths, arrivals and samples")
      ->check(Seed())
      ->capture_default_str()
      ->group(group);
  sub.add_flag("--json", kv.json, "Print one JSON object instead of a table")->group(group);
}

void AddBench(CLI::App& app, Commands& commands, std::function<int()>& chosen) {
  BenchCommand &throughput = commands.throughput, &latency = commands.latency;
  BenchKvCommand& kv = commands.kv;
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
      ->transform(CountFrom(1))
      ->capture_default_str();
  many.add_option("--max-concurrency", throughput.max_concurrency, "How many at a time; 0: all")
      ->transform(CountFrom(0))
      ->capture_default_str();
  CLI::App& one =
      AddCommand(bench, "latency", "One batch after another: seconds per batch", latency, &RunBench, chosen);
  AddBenchOptions(one, latency);
  one.add_option("--batch-size", latency.batch_size, "Requests of one batch")
      ->transform(CountFrom(1))
      ->capture_default_str();
  one.add_option("--num-iters", latency.num_iters, "Batches that count")
      ->transform(CountFrom(1))
      ->capture_default_str();
  one.add_option("--num-iters-warmup", latency.num_iters_warmup, "Batches before them")
      ->transform(CountFrom(0))
      ->capture_default_str();
}

void AddTokenize(CLI::App& sub, TokenizeCommand& tokenize) {
  sub.add_option("directory", tokenize.directory, "Directory of tokenizer.json, or GGUF file")->required();
  sub.add_flag("--jsonl", tokenize.jsonl, "Read one JSON string a line, write {\"ids\": [...]} a line");
  sub.add_flag("--no-special-tokens", tokenize.no_special_tokens, "Do not add BOS and the like");
  sub.add_flag("--decode", tokenize.decode, "The other way: ids to text");
}

void AddHub(CLI::App& app, Commands& commands, std::function<int()>& chosen) {
  CLI::App& pull =
      AddCommand(app, "pull", "Download a model from the hub, or what it has that is new; prints where it is",
                 commands.pull, &RunPull, chosen);
  pull.add_option("model", commands.pull.model, "org/name[@revision][:quantisation]")->required();
  pull.add_option("--revision", commands.pull.revision, "A branch, a tag or a commit")->capture_default_str();
  CLI::App& list = AddCommand(app, "list", "The models in the Hugging Face cache: sizes, revisions, formats",
                              commands.list, &RunList, chosen);
  list.add_flag("--json", commands.list.json, "Print one JSON object instead of a table");
  CLI::App& remove =
      AddCommand(app, "rm", "Remove models from the Hugging Face cache", commands.remove, &RunRemove, chosen);
  remove
      .add_option("models", commands.remove.models,
                  "org/name: all of it; org/name@revision: that revision; org/name:quantisation: that GGUF file")
      ->required();
}

void AddQuantize(CLI::App& sub, QuantizeCommand& quantize) {
  sub.add_option("model", quantize.model, "A directory of safetensors, a GGUF file, or a name on the hub")->required();
  sub.add_option("out", quantize.out, "The directory or GGUF file to write, which is not there yet")->required();
  sub.add_option(
         "--format", quantize.format,
         "int8: 8 bits, a scale for each output, activations by token; int4-g32, int4-g128: 4 bits, a scale for "
         "each 32 or 128 inputs; of GGUF files: q8_0, q4_0, q4_k")
      ->required();
  sub.add_option("--text", quantize.text, "A text file on which perplexity is measured before and after");
}

void AddConvert(CLI::App& sub, ConvertCommand& convert) {
  sub.add_option("model", convert.model, "A GGUF file, a directory of safetensors, or a name on the hub")->required();
  sub.add_option("out", convert.out, "What to write, which is not there yet: a directory, or a name that ends in .gguf")
      ->required();
  sub.add_option("--dtype", convert.dtype,
                 "auto: floats stay as they are, quantised weights become bfloat16; or all become float32, which is "
                 "exact, or bfloat16")
      ->capture_default_str();
}

}  // namespace

bool TakesSeveralValues(const std::string& name) { return name == "--api-key" || name == "--served-model-name"; }

void AddCommands(CLI::App& app, Commands& commands, std::function<int()>& chosen) {
  AddServe(
      AddCommand(app, "serve", "Serve a model over HTTP (OpenAI's and vLLM's API)", commands.serve, &RunServe, chosen),
      commands.serve);
  RunCommand& run = commands.run;
  CLI::App& run_app = AddCommand(app, "run", "Complete one prompt, streaming to the terminal", run, &RunOnce, chosen);
  AddLoad(run_app, run.load, true);
  run_app.add_option("prompt", run.prompt, "The text to go on from; - reads standard input")->required();
  run_app.add_flag("--chat", run.chat, "Treat the prompt as a user's message: apply the chat template");
  AddSampling(run_app, run.sampling);
  ChatCommand& chat = commands.chat;
  CLI::App& chat_app = AddCommand(app, "chat", "Talk to a model in the terminal", chat, &RunChat, chosen);
  AddLoad(chat_app, chat.load, false);
  chat_app.add_option("--system", chat.system, "System message");
  AddSampling(chat_app, chat.sampling);
  AddBench(app, commands, chosen);
  AddHub(app, commands, chosen);
  AddConvert(AddCommand(app, "convert", "Write a GGUF file as a directory of safetensors, or the other way round",
                        commands.convert, &RunConvert, chosen),
             commands.convert);
  AddQuantize(
      AddCommand(app, "quantize", "Write a copy of a model with its weights as integers, and say what that costs",
                 commands.quantize, &RunQuantize, chosen),
      commands.quantize);
  AddTokenize(AddCommand(app, "tokenize", "Text to token ids, and back", commands.tokenize, &RunTokenize, chosen),
              commands.tokenize);
  AddLoad(AddCommand(app, "info", "What a model is and how memory would be planned; loads no weights", commands.info,
                     &RunInfo, chosen),
          commands.info.load, false);
}

}  // namespace quire
