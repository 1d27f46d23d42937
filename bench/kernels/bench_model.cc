// A whole model through the engine against what the machine allows at that moment: one stream's decode against the read
// bandwidth of memory, a prompt's prefill against the peak of the products. Sampling, attention, the step loop and the
// engine are in the time; loading is not.
//
//   bench_model MODEL [--threads N] [--isa NAME] [--tokens N] [--prompts 512,2000] [--repeats N] [--dtype auto]
//
// Each sample stands between two probes (bandwidth: the best of four read patterns) and is taken against the better of
// them; one whose probes differ by more than a quarter is dropped. More than 100 % cannot be: the benchmark fails, for
// then the probe is wrong.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend_factory.h"
#include "base/log.h"
#include "base/rng.h"
#include "engine/engine.h"
#include "llm/loader.h"
#include "llm/option_table.h"
#include "probes.h"
#include "tensor/buffer.h"

namespace quire::bench {
namespace {

struct Options {
  LoadOptions load;
  int tokens = 48;
  int repeats = 7;
  std::vector<int> prompts = {512, 2000};
};

bool ParseOptions(int argc, char** argv, Options& options) {
  if (argc < 2 || argc % 2 != 0) return false;
  options.load.model = argv[1];
  options.load.threads = static_cast<int32_t>(std::thread::hardware_concurrency());
  options.load.cpu_isa = SupportedCpuIsas().back();
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--isa")
      options.load.cpu_isa = value == "auto" ? SupportedCpuIsas().back() : value;
    else if (name == "--tokens")
      options.tokens = std::atoi(value.c_str());
    else if (name == "--repeats")
      options.repeats = std::atoi(value.c_str());
    else if (name == "--prompts") {
      options.prompts.clear();
      std::istringstream list(value);
      for (std::string item; std::getline(list, item, ',');) options.prompts.push_back(std::atoi(item.c_str()));
    } else {
      const LoadOption* option = FindLoadOption(name);
      if (option == nullptr || !ReadValue(option->value, value, options.load).ok()) return false;
    }
  }
  return options.tokens > 0 && options.repeats > 0;
}

// What one token costs at least.
struct Cost {
  double weight_bytes;   // that every step reads: all but the embedding's table, unless that is the output layer too
  double kv_bytes;       // of one position
  double layer_flops;    // of one row, without attention over its context
  double head_flops;     // of one row whose logits are wanted
  double context_flops;  // of one row for one position of its context
};

Cost CostOf(const LoadedModel& model) {
  const ModelConfig& config = model.config;
  const double embedding = 1.0 * config.vocab_size * config.hidden_size;
  const double read = static_cast<double>(model.num_parameters) - (config.tie_word_embeddings ? 0 : embedding);
  const double head_dim = config.head_dim, layers = config.num_layers;
  Cost cost;
  cost.weight_bytes = read * static_cast<double>(DTypeSize(model.compute_dtype));
  cost.kv_bytes = 2 * layers * config.num_kv_heads * head_dim * static_cast<double>(DTypeSize(model.kv_dtype));
  cost.layer_flops = 2 * (read - embedding);
  cost.head_flops = 2 * embedding;
  cost.context_flops = 4 * layers * config.num_heads * head_dim;
  return cost;
}

struct Summary {
  double median, min, max;
};
Summary Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
}

// A time against a probe of the rate that bounds it.
struct Sample {
  double seconds = 0, least_work = 0;
};

class Benchmark {
 public:
  Benchmark(LoadedModel& model, const Options& options)
      : model_(model),
        options_(options),
        cost_(CostOf(model)),
        team_(*ThreadTeam::Start(*options.load.threads)),
        memory_(*Buffer::Allocate(size_t{384} << 20)) {
    std::memset(memory_.data(), 1, memory_.bytes());
  }

  // Returns whether every share was possible.
  bool Run() {
    fmt::print("{}: {} weights, {:.2f} GB read by a step; {} threads, {}\n", options_.load.model,
               DTypeName(model_.compute_dtype), cost_.weight_bytes * 1e-9, *options_.load.threads,
               options_.load.cpu_isa);
    fmt::print("{:>12} {:>10} {:>26} {:>18} {:>7}\n", "", "tokens/s", "share of the limit, %", "limit", "dropped");
    Decode();  // warms up
    bool possible = Measure(
        "decode", options_.tokens, "GB/s", [&] { return Bandwidth(); }, [&] { return Decode(); });
    for (const int prompt : options_.prompts) {
      possible &= Measure(
          fmt::format("prefill {}", prompt), prompt, "GFLOP/s", [&] { return Peak(); },
          [&] { return Prefill(prompt); });
    }
    return possible;
  }

 private:
  double Bandwidth() { return ProbeReadBandwidth(team_, {static_cast<const char*>(memory_.data()), memory_.bytes()}); }
  double Peak() {
    const PeakRates peak = ProbePeak(team_, options_.load.cpu_isa);
    return model_.compute_dtype == DType::kF32 ? peak.f32_flops : peak.bf16_flops;
  }

  template <typename Probe, typename Run>
  bool Measure(const std::string& name, int tokens, const char* unit, Probe probe, Run run) {
    std::vector<double> rates, shares, limits;
    int dropped = 0;
    double before = probe();
    while (static_cast<int>(rates.size()) < options_.repeats && dropped < 3 * options_.repeats) {
      const Sample sample = run();
      const double after = probe();
      const double limit = std::max(before, after);
      const bool unsteady = limit > 1.25 * std::min(before, after);
      before = after;
      if (unsteady) {
        ++dropped;
        continue;
      }
      rates.push_back(tokens / sample.seconds);
      limits.push_back(limit * 1e-9);
      shares.push_back(100 * sample.least_work / limit / sample.seconds);
    }
    const Summary share = Summarize(shares), limit = Summarize(limits);
    fmt::print("{:>12} {:>10.1f} {:>10.1f} ({:>5.1f} - {:>5.1f}) {:>8.1f} {:<9} {:>7}\n", name, Summarize(rates).median,
               share.median, share.min, share.max, limit.median, unit, dropped);
    std::fflush(stdout);
    if (share.max > 100) fmt::print(stderr, "{}: {:.1f} % of the limit: the probe is wrong\n", name, share.max);
    return !shares.empty() && share.max <= 100;
  }

  // From the first token of an answer to the last.
  Sample Decode() {
    const RequestHandle handle = Submit(kContext, options_.tokens + 1);
    Engine& engine = *model_.engine;
    while (engine.HasWork() && engine.Stats().generation_tokens == told_) engine.Step();
    if (!engine.HasWork()) {
      fmt::print(stderr, "a request ended before its time: {}\n",
                 engine.Health().ok() ? "the model produced a NaN" : engine.Health().error().message);
      std::exit(2);
    }
    const double begin = Now();
    while (engine.HasWork()) engine.Step();
    told_ = engine.Stats().generation_tokens;
    const double context = kContext + options_.tokens / 2.0;
    return {Now() - begin, options_.tokens * (cost_.weight_bytes + context * cost_.kv_bytes)};
  }

  Sample Prefill(int prompt) {
    const RequestHandle handle = Submit(prompt, 1);
    const double begin = Now();
    while (model_.engine->HasWork()) model_.engine->Step();
    const double seconds = Now() - begin;
    told_ = model_.engine->Stats().generation_tokens;
    const double context = prompt * (prompt + 1.0) / 2;
    return {seconds, prompt * cost_.layer_flops + context * cost_.context_flops + cost_.head_flops};
  }

  RequestHandle Submit(int num_prompt_tokens, int num_tokens) {
    Request args;
    for (int i = 0; i < num_prompt_tokens; ++i) {
      const auto bits = Philox({.seed = num_submitted_, .position = static_cast<uint32_t>(i)}, 0);
      args.prompt.push_back(static_cast<int32_t>(bits[0] % static_cast<uint32_t>(model_.config.vocab_size)));
    }
    ++num_submitted_;
    args.params.max_tokens = num_tokens;
    args.params.temperature = 0;
    args.params.ignore_eos = true;
    args.params.detokenize = false;
    Result<RequestHandle> handle = model_.engine->Submit(std::move(args));
    if (!handle.ok()) {
      fmt::print(stderr, "{}\n", handle.error().message);
      std::exit(2);
    }
    return *std::move(handle);
  }

  static constexpr int kContext = 16;
  LoadedModel& model_;
  const Options& options_;
  const Cost cost_;
  ThreadTeam team_;
  Buffer memory_;
  uint64_t num_submitted_ = 0;
  uint64_t told_ = 0;  // output tokens so far
};

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    fmt::print(stderr,
               "usage: bench_model MODEL [--threads N] [--isa NAME] [--tokens N] [--prompts 512,2000] [--repeats N] "
               "[--dtype auto|bfloat16|float32]\n");
    return 2;
  }
  SetLogLevel(LogLevel::kWarning);
  // One step takes a whole prompt.
  int longest = options.tokens + 64;
  for (const int prompt : options.prompts) longest = std::max(longest, prompt + 1);
  options.load.max_model_len = longest;
  options.load.max_num_batched_tokens = longest;
  options.load.max_num_seqs = 1;
  options.load.num_gpu_blocks_override = longest / options.load.block_size + 2;
  options.load.enable_prefix_caching = false;
  options.load.adaptive_chunking = false;
  Result<LoadedModel> model = LoadModel(options.load);
  if (!model.ok()) {
    fmt::print(stderr, "{}\n", model.error().message);
    return 2;
  }
  return Benchmark(*model, options).Run() ? 0 : 1;
}

}  // namespace
}  // namespace quire::bench

int main(int argc, char** argv) { return quire::bench::Main(argc, argv); }
