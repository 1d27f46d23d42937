// Engine: the step loop. One thread (EngineThread) owns the scheduler and the runner; clients submit through an inbox
// and read from RequestHandles.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/request_handle.h"
#include "engine/stats.h"
#include "quire/result.h"
#include "sched/request.h"
#include "sched/scheduler.h"
#include "sched/step_runner.h"
#include "text/tokenizer.h"

namespace quire {

struct EngineOptions {
  SchedulerConfig scheduler;
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_token_ids;
  size_t max_queued_requests = 4096;  // beyond: kResourceExhausted
  std::string trace_path;             // --trace FILE: plans and results, for replay
};

// What a front end fills in; the engine makes a Request of it.
struct SubmitArgs {
  std::vector<int32_t> prompt;
  SamplingParams params;
  int32_t priority = 0;
  uint32_t stream = 0;  // which of several samples of one prompt: part of the random key
  std::string cache_salt;
  std::string client_key;
  std::string external_id;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Create(EngineOptions options, std::unique_ptr<StepRunner> runner,
                                                std::shared_ptr<const Tokenizer> tokenizer,
                                                const Clock& clock = Clock::Real());
  ~Engine();

  // Any thread. Validates, proves that the request can ever fit, and that the queue has room.
  Result<RequestHandle> Submit(SubmitArgs args);
  void Abort(RequestId id);
  // A copy of the numbers as of the last step.
  StatsSnapshot Stats() const;
  // kUnavailable with the reason once the engine has failed or is stopped.
  Status Health() const;
  const EngineOptions& options() const;

  // Engine thread only. One step: drain the inbox, plan, run, apply, publish. False when there is nothing to do.
  bool Step();
  // Blocks until there is something to do or `stop_requested`.
  void WaitForWork();
  // Ends every request with the error and refuses new ones.
  void Fail(const Error& reason);
  bool HasWork() const;

  // Refuse new requests (they get kUnavailable), finish what runs: for SIGTERM.
  void StartDraining();
  bool Drained() const;
  // Wakes WaitForWork.
  void Wake();

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Runs the engine's loop on its own thread; an exception there fails the engine: /health and every waiting client hear
// the reason at once.
class EngineThread {
 public:
  explicit EngineThread(Engine& engine);
  ~EngineThread();  // Stop()
  void Stop();      // aborts what still runs

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quire
