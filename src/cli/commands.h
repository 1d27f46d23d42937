// What the command line says, parsed: one struct a sub-command, and the functions that run them. Each returns the
// process's exit code.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "llm/load_options.h"
#include "server/server.h"

namespace quire {

struct ServeCommand {
  LoadOptions load;
  ServerOptions server;
};

// Sampling options of the commands that generate; absent: the model's defaults.
struct SamplingOptions {
  std::optional<float> temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<int32_t> top_k, max_tokens;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

struct RunCommand {
  LoadOptions load;
  SamplingOptions sampling;
  std::string prompt;
  bool chat = false;  // apply the chat template to the prompt
};

struct ChatCommand {
  LoadOptions load;
  SamplingOptions sampling;
  std::string system;
};

// Names and defaults are those of vLLM's benchmarks where they have them.
struct BenchCommand {
  enum class Kind { kThroughput, kLatency };
  Kind kind = Kind::kThroughput;
  LoadOptions load;
  int32_t input_len = 1024;
  int32_t output_len = 128;
  int32_t num_prompts = 1000;     // throughput
  int32_t max_concurrency = 0;    // throughput; 0: all at once
  int32_t batch_size = 8;         // latency
  int32_t num_iters = 30;         // latency
  int32_t num_iters_warmup = 10;  // latency
  double range_ratio = 0;         // lengths uniform in [len * (1 - r), len * (1 + r)]
  uint64_t seed = 0;
  bool json = false;
};

struct BenchKvCommand {
  LoadOptions load;
  std::string workload = "sharegpt";
  double length_scale = 1;
  uint32_t input_len = 128;  // uniform
  uint32_t output_len = 128;
  double range_ratio = 0;
  uint32_t num_prompts = 100;
  double request_rate = std::numeric_limits<double>::infinity();
  int32_t n = 1;
  std::optional<int32_t> best_of;
  std::optional<int32_t> beam_width;
  uint64_t seed = 0;
  bool json = false;
};

struct TokenizeCommand {
  std::string directory;
  bool jsonl = false;
  bool no_special_tokens = false;
  bool decode = false;
};

struct InfoCommand {
  LoadOptions load;
};

struct QuantizeCommand {
  LoadOptions load;  // with which perplexity is measured
  std::string model;
  std::string out;
  std::string format;
  std::string text;  // a file; empty: no perplexity
};

struct ConvertCommand {
  std::string model;
  std::string out;
  std::string dtype = "auto";
};

struct PullCommand {
  std::string model;
  std::string revision = "main";
};

struct ListCommand {
  bool json = false;
};

struct RemoveCommand {
  std::vector<std::string> models;
};

int RunServe(const ServeCommand& command);
int RunOnce(const RunCommand& command);
int RunChat(const ChatCommand& command);
int RunBench(const BenchCommand& command);
int RunBenchKv(const BenchKvCommand& command);
int RunTokenize(const TokenizeCommand& command);
int RunInfo(const InfoCommand& command);
int RunQuantize(const QuantizeCommand& command);
int RunConvert(const ConvertCommand& command);
int RunPull(const PullCommand& command);
int RunList(const ListCommand& command);
int RunRemove(const RemoveCommand& command);

}  // namespace quire
