// Engine: the step loop. One thread (EngineThread) owns the scheduler and the runner; clients submit through an inbox
// and read from RequestHandles.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/engine_options.h"
#include "engine/request_handle.h"
#include "engine/stats.h"
#include "quire/result.h"
#include "sched/request.h"
#include "sched/scheduler.h"
#include "sched/step_runner.h"
#include "text/tokenizer.h"

namespace quire {

// What /debug/kv shows: the scheduler's report, and what its requests are called outside.
struct EngineKvReport {
  KvReport kv;
  std::vector<std::string> external_ids;  // [kv.groups]
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> Create(EngineOptions options, std::unique_ptr<StepRunner> runner,
                                                std::shared_ptr<const Tokenizer> tokenizer,
                                                const Clock& clock = Clock::Real());
  ~Engine();

  // Any thread. Validates, proves that the request can ever fit, and that the queue has room. The id, the end tokens
  // and the time of arrival are the engine's to give, as is a seed, where there is none.
  Result<RequestHandle> Submit(Request request);
  void Abort(RequestId id);
  // A copy of the numbers as of the last step; what is integrated over time reaches until now. Delays no step.
  StatsSnapshot Stats() const;
  // kUnavailable with the reason once the engine has failed or is stopped.
  Status Health() const;
  const EngineOptions& options() const;

  // Any thread. `work` runs on the engine thread, between two steps: also while the engine is idle, drains, or has
  // failed; after Stop, on the thread that calls. It must be quick, and must not call the engine.
  void Call(std::function<void(Scheduler&)> work);
  // `done` is called as `work` is.
  void ReportKv(std::function<void(EngineKvReport)> done);
  // Forgets every cached prefix that is not pinned; an error while blocks are in use.
  void ResetPrefixCache(std::function<void(Status)> done);
  // Stores what is cached in memory only in the prefix cache on disk, as far as there is one; then, or when the engine
  // ends before, or a store fails, `done` is called as `work` is, with what kept it from storing all. For a process
  // that is about to end. REQUIRES: it is not under way.
  void StorePrefixCache(std::function<void(Status)> done);
  // Computes these tokens and keeps the full blocks of their keys and values for whoever starts with them. Waits for
  // it. Returns how many blocks are pinned now. REQUIRES: an EngineThread runs, and this is another one.
  Result<uint32_t> PinPrefix(std::vector<int32_t> tokens);

  // Engine thread only. One step: drain the inbox, plan, run, apply, publish. False when there is nothing to do.
  bool Step();
  // Blocks until there is something to do, or Wake.
  void WaitForWork();
  // Ends every request with the error and refuses new ones. Stop is the same for an end that is meant.
  void Fail(const Error& reason);
  void Stop();
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
