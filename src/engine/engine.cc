#include "engine/engine.h"

#include <future>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "engine/active_requests.h"
#include "engine/inbox.h"
#include "engine/intake.h"
#include "engine/published.h"
#include "sched/step_trace.h"

namespace quire {

struct Engine::Impl {
  Impl(EngineOptions engine_options, std::unique_ptr<StepRunner> step_runner,
       std::shared_ptr<const Tokenizer> text_tokenizer, const Clock& engine_clock)
      : options(std::move(engine_options)),
        runner(std::move(step_runner)),
        tokenizer(std::move(text_tokenizer)),
        clock(engine_clock),
        intake(options, clock),
        scheduler(options.scheduler, options.on_disk, options.drafter),
        active(scheduler, intake, tokenizer.get()) {}

  void DrainInbox();
  void RunCalls();
  void RunCallsAfterAll();
  void RefuseTaken(const Error& reason);
  void Call(std::function<void()> call);
  template <typename Record>
  void Trace(const Record& record);
  Status RunStep(const StepPlan& plan, TimeUs planned_at);
  void PublishStats(TimeUs now);
  void FailAll(const Error& reason);

  const EngineOptions options;
  const std::unique_ptr<StepRunner> runner;
  const std::shared_ptr<const Tokenizer> tokenizer;
  const Clock& clock;

  // Any thread.
  Intake intake;
  Published<StatsSnapshot> stats;
  std::mutex end_mutex;  // of the engine thread's state once the inbox is closed, when that thread is gone

  // Engine thread.
  Scheduler scheduler;
  ActiveRequests active;
  Inbox::Contents taken;
  size_t num_admitted = 0, num_called = 0;          // of what was taken
  std::function<void(Status)> prefix_cache_stored;  // or none waits for it
  StepResult result;
  std::optional<TraceWriter> trace;
};

Result<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, std::unique_ptr<StepRunner> runner,
                                               std::shared_ptr<const Tokenizer> tokenizer, const Clock& clock) {
  QUIRE_RETURN_IF_ERROR(ValidateSchedulerConfig(options.scheduler));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(runner), std::move(tokenizer), clock);
  if (!impl->options.trace_path.empty()) {
    QUIRE_ASSIGN_OR_RETURN(impl->trace, TraceWriter::Create(impl->options.trace_path));
  }
  impl->PublishStats(impl->clock.NowUs());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() { Stop(); }

const EngineOptions& Engine::options() const { return impl_->options; }

Result<RequestHandle> Engine::Submit(Request request) {
  QUIRE_ASSIGN_OR_RETURN(Request proved, impl_->intake.Prove(std::move(request)));
  return impl_->intake.Enqueue(std::move(proved));
}

void Engine::Abort(RequestId id) { impl_->intake.Abort(id); }

StatsSnapshot Engine::Stats() const {
  StatsSnapshot copy = impl_->stats.Read([](const StatsSnapshot& stats) { return stats; });
  copy.AdvanceTo(impl_->clock.NowUs());
  copy.queued_tokens = impl_->intake.num_queued_tokens();
  return copy;
}

void Engine::Call(std::function<void(Scheduler&)> work) {
  impl_->Call([impl = impl_.get(), work = std::move(work)] { work(impl->scheduler); });
}

void Engine::Impl::Call(std::function<void()> call) {
  if (intake.inbox().Call(call)) return;
  const std::lock_guard lock(end_mutex);
  call();
}

void Engine::ReportKv(std::function<void(EngineKvReport)> done) {
  impl_->Call([impl = impl_.get(), done = std::move(done)] {
    EngineKvReport report{.kv = impl->scheduler.ReportKv()};
    for (const KvReport::Group& group : report.kv.groups) {
      report.external_ids.push_back(impl->active.ExternalIdOf(group.request));
    }
    done(std::move(report));
  });
}

void Engine::ResetPrefixCache(std::function<void(Status)> done) {
  impl_->Call([impl = impl_.get(), done = std::move(done)] {
    Status status;
    if (!impl->scheduler.ResetPrefixCache()) {
      const SchedulerStats now = impl->scheduler.Stats();
      status = Unavailable("the prefix cache is in use: {} of {} KV blocks are, by {} running sequences",
                           now.num_blocks_used, now.num_blocks_total, now.num_running);
    }
    impl->PublishStats(impl->clock.NowUs());
    done(std::move(status));
  });
}

void Engine::StorePrefixCache(std::function<void(Status)> done) {
  impl_->Call([impl = impl_.get(), done = std::move(done)]() mutable {
    if (const std::optional<Error> reason = impl->intake.failure()) return done(*reason);
    impl->scheduler.StorePrefixCache();
    impl->prefix_cache_stored = std::move(done);
  });
}

Result<uint32_t> Engine::PinPrefix(std::vector<int32_t> tokens) {
  const SchedulerConfig& config = impl_->options.scheduler;
  if (!KeepsPrefixes(config)) {
    return InvalidArgument("a shared prefix needs prefix caching and paged memory");
  }
  if (tokens.size() < config.block_size) {
    return InvalidArgument("the prefix has {} tokens: it must fill at least one KV block of {}", tokens.size(),
                           config.block_size);
  }
  Request request{.prompt = std::move(tokens), .pins_prompt = true, .external_id = "shared-prefix"};
  request.params.max_tokens = 1;
  request.params.temperature = 0;
  request.params.ignore_eos = true;
  request.params.detokenize = false;
  QUIRE_ASSIGN_OR_RETURN(RequestHandle handle, Submit(std::move(request)));
  std::optional<OutputDelta> delta;
  while (!delta || !delta->finished()) delta = handle.Wait(std::chrono::seconds(1));
  if (delta->error) return *delta->error;
  const auto counted = std::make_shared<std::promise<uint32_t>>();
  Call([counted](Scheduler& scheduler) { counted->set_value(scheduler.num_pinned_blocks()); });
  return counted->get_future().get();
}

Status Engine::Health() const { return impl_->intake.CheckOpen(); }

void Engine::Impl::DrainInbox() {
  intake.inbox().Take(taken);
  num_admitted = num_called = 0;
  for (; num_admitted < taken.submissions.size(); ++num_admitted) active.Admit(taken.submissions[num_admitted]);
  for (const RequestId id : taken.aborts) active.Cancel(id);
  if (!active.has_ended()) return;
  PublishStats(clock.NowUs());
  active.Publish({});
}

void Engine::Impl::RunCalls() {
  while (num_called < taken.calls.size()) {
    const std::function<void()> call = std::move(taken.calls[num_called++]);
    call();
  }
}

// One that throws keeps nobody else from being answered.
void Engine::Impl::RunCallsAfterAll() {
  while (num_called < taken.calls.size()) {
    try {
      RunCalls();
    } catch (const std::exception& exception) {
      LogError("call_failed reason={}", LogValue(exception.what()));
    }
  }
}

// What had been taken when an exception came in between.
void Engine::Impl::RefuseTaken(const Error& reason) {
  for (; num_admitted < taken.submissions.size(); ++num_admitted) {
    const Submission& submission = taken.submissions[num_admitted];
    if (active.contains(submission.request.id)) continue;
    for (uint32_t choice = 0; choice < static_cast<uint32_t>(submission.request.params.n); ++choice) {
      submission.queue->Push({.choice = choice, .finish_reason = FinishReason::kError, .error = reason});
    }
    intake.LeaveQueue(submission.request.prompt.size());
    intake.Leave();
  }
  RunCallsAfterAll();
}

// Whoever asks for a trace wants the plan of a step that fails most of all. A trace that cannot be written ends.
template <typename Record>
void Engine::Impl::Trace(const Record& record) {
  if (!trace) return;
  Status status = trace->Write(record);
  if (status.ok()) status = trace->Flush();
  if (status.ok()) return;
  LogError("trace_ended reason={}", LogValue(status.error().message));
  trace.reset();
}

Status Engine::Impl::RunStep(const StepPlan& plan, TimeUs planned_at) {
  Trace(plan);
  QUIRE_RETURN_IF_ERROR(runner->Run(plan, result));
  Trace(result);
  const std::span<const SchedulerEvent> events = scheduler.Apply(result);
  const TimeUs now = clock.NowUs();
  ++active.stats().steps;
  active.stats().tokens_per_step.Observe(static_cast<double>(plan.num_rows()));
  active.Take(events, planned_at, now);
  PublishStats(clock.NowUs());
  active.Publish(events);
  return {};
}

void Engine::Impl::PublishStats(TimeUs now) {
  StatsSnapshot& latest = active.stats();
  latest.AdvanceTo(now);
  latest.SetScheduler(scheduler.Stats());
  intake.SetRoom(scheduler.lacks_room(), latest.scheduler.num_blocks_pinned);
  stats.Publish(latest);
}

bool Engine::Step() {
  Impl& impl = *impl_;
  if (const std::optional<Error> reason = impl.intake.failure()) {
    impl.FailAll(*reason);  // what came in after the failure
    return false;
  }
  impl.DrainInbox();
  impl.RunCalls();
  const TimeUs planned_at = impl.clock.NowUs();
  const StepPlan& plan = impl.scheduler.Plan();
  if (impl.prefix_cache_stored && !impl.scheduler.stores_prefix_cache()) {
    Status status;
    if (!impl.scheduler.prefix_cache_is_stored()) status = Io("a block of the prefix cache could not be stored");
    std::exchange(impl.prefix_cache_stored, nullptr)(std::move(status));
  }
  if (plan.empty()) {
    impl.PublishStats(impl.clock.NowUs());
    return false;
  }
  if (const Status status = impl.RunStep(plan, planned_at); !status.ok()) Fail(status.error());
  return true;
}

bool Engine::HasWork() const { return impl_->intake.num_open() > 0; }

void Engine::WaitForWork() { impl_->intake.inbox().Wait(); }
void Engine::Wake() { impl_->intake.inbox().Wake(); }

void Engine::Impl::FailAll(const Error& reason) {
  RefuseTaken(reason);
  DrainInbox();
  RunCallsAfterAll();
  if (prefix_cache_stored) std::exchange(prefix_cache_stored, nullptr)(reason);
  active.FailAll(reason);
  PublishStats(clock.NowUs());
  active.Publish({});
}

void Engine::Fail(const Error& reason) {
  if (impl_->intake.SetFailure(reason)) LogError("engine_failed reason={}", LogValue(reason.message));
  impl_->FailAll(*impl_->intake.failure());
}

void Engine::Stop() {
  impl_->intake.SetFailure(Unavailable("the server has stopped"));
  const std::lock_guard lock(impl_->end_mutex);
  impl_->intake.inbox().Close();
  impl_->FailAll(*impl_->intake.failure());
}

void Engine::StartDraining() {
  impl_->intake.StartDraining();
  Wake();
}

bool Engine::Drained() const { return impl_->intake.num_open() == 0; }

}  // namespace quire
