// What the commands that generate share: loading with a message, the engine's thread, streaming to the terminal.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/function_ref.h"
#include "cli/commands.h"
#include "engine/engine.h"
#include "llm/loader.h"

namespace quire {

// A loaded model whose engine runs, and holds the shared prefixes.
class RunningModel {
 public:
  static Result<RunningModel> Start(const LoadOptions& options);

  LoadedModel& loaded() { return *loaded_; }
  Engine& engine() { return *loaded_->engine; }
  // For the end: what of the prefix cache is in memory only goes to disk, if there is a disk cache. Asks `gives_up`
  // again and again, which may wait for some ms.
  void StorePrefixCache(FunctionRef<bool()> gives_up);

 private:
  Status PinPrefix(const std::string& path);

  std::unique_ptr<LoadedModel> loaded_;
  std::unique_ptr<EngineThread> thread_;  // ends before the engine does
};

// Ctrl-C while it lives: noticed by the loop that does the work, no end of the program.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  bool WasInterrupted() const;

 private:
  void (*previous_)(int);
};

// For a benchmark, which submits so many requests as fast as it likes: with a queue that turns none of them away.
LoadOptions WithQueueFor(int64_t num_requests, LoadOptions options);

// Before a model is loaded: what no model would be asked for. The error names the option.
Status CheckSampling(const SamplingOptions& options);
// The model's defaults with the command's options over them.
SamplingParams MakeSamplingParams(const ModelConfig& config, const SamplingOptions& options);

// Prints the text of the request as it comes; returns it whole. Ctrl-C ends the request, not the program.
Result<std::string> StreamToTerminal(Engine& engine, Request args);

// "quire: message" on standard error; the exit code for it.
int Complain(const Error& error);

}  // namespace quire
