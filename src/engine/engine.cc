#include "engine/engine.h"

#include <algorithm>
#include <atomic>
#include <future>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/active_request.h"
#include "engine/admission.h"
#include "engine/inbox.h"
#include "sched/step_trace.h"

namespace quire {

struct Engine::Impl {
  Impl(EngineOptions engine_options, std::unique_ptr<StepRunner> step_runner,
       std::shared_ptr<const Tokenizer> text_tokenizer, const Clock& engine_clock)
      : options(std::move(engine_options)),
        runner(std::move(step_runner)),
        tokenizer(std::move(text_tokenizer)),
        clock(engine_clock),
        scheduler(options.scheduler, options.on_disk, options.drafter),
        inbox(std::make_shared<Inbox>()) {}

  Result<Request> NewRequest(SubmitArgs args);
  Result<RequestHandle> Enqueue(Request request);
  Status TakePlace(size_t num_prompt_tokens);
  Status CheckOpen() const;
  std::optional<Error> Failure() const;
  void DrainInbox();
  void LeaveQueue(size_t num_prompt_tokens);
  void RunCalls();
  void RunCallsAfterAll();
  void RefuseTaken(const Error& reason);
  void Call(std::function<void()> call);
  void Admit(Submission& submission);
  template <typename Record>
  void Trace(const Record& record);
  Status RunStep(const StepPlan& plan, TimeUs planned_at);
  void Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now);
  void PublishTokens(TimeUs now, const SchedulerEvent& event, ActiveRequest& active);
  void EndStream(const SchedulerEvent& event, ActiveRequest& active, FinishReason reason, TimeUs now);
  void Retire(RequestId id, ActiveRequest& active);
  void UpdateGauges(TimeUs now);
  // Returns whether there was no failure before.
  bool SetFailure(const Error& reason);
  void FailAll(const Error& reason);

  const EngineOptions options;
  const std::unique_ptr<StepRunner> runner;
  const std::shared_ptr<const Tokenizer> tokenizer;
  const Clock& clock;

  // Engine thread.
  Scheduler scheduler;
  std::unordered_map<RequestId, std::unique_ptr<ActiveRequest>> active;
  Inbox::Contents taken;
  size_t num_admitted = 0, num_called = 0;          // of what was taken
  std::function<void(Status)> prefix_cache_stored;  // or none waits for it
  StepResult result;
  std::optional<TraceWriter> trace;

  // Shared. Handles outlive the engine: they hold the inbox.
  const std::shared_ptr<Inbox> inbox;
  std::atomic<uint64_t> next_id{1};
  std::atomic<size_t> num_open{0};             // submitted and not yet ended
  std::atomic<size_t> num_queued{0};           // of these, not started
  std::atomic<uint64_t> num_queued_tokens{0};  // of their prompts
  std::atomic<bool> lacks_room{false};         // for those who wait
  std::atomic<uint32_t> num_pinned_blocks{0};
  std::atomic<bool> draining{false};
  mutable std::mutex stats_mutex;
  StatsSnapshot stats;
  mutable std::mutex failure_mutex;
  std::optional<Error> failure;
  std::mutex end_mutex;  // of the engine thread's state once the inbox is closed, when that thread is gone
};

std::optional<Error> Engine::Impl::Failure() const {
  std::lock_guard lock(failure_mutex);
  return failure;
}

Status Engine::Impl::CheckOpen() const {
  if (const std::optional<Error> reason = Failure()) return *reason;
  if (draining) return Unavailable("the server is shutting down");
  return {};
}

Result<Request> Engine::Impl::NewRequest(SubmitArgs args) {
  QUIRE_ASSIGN_OR_RETURN(Request request, MakeRequest(options, std::move(args), num_pinned_blocks));
  const uint64_t id = next_id.fetch_add(1);
  request.id = static_cast<RequestId>(id);
  if (!request.params.seed) request.params.seed = NewSeed(options, id);
  request.arrival = clock.NowUs();
  return request;
}

void Engine::Impl::LeaveQueue(size_t num_prompt_tokens) {
  num_queued.fetch_sub(1);
  num_queued_tokens.fetch_sub(num_prompt_tokens);
}

// Counts a request in, if the queue has room for it. Those that have not started may all find a seat, unless somebody
// waits for one, or for memory.
Status Engine::Impl::TakePlace(size_t num_prompt_tokens) {
  const size_t most_queued = options.max_queued_requests;
  const size_t most_open = most_queued + options.scheduler.max_num_seqs;
  const size_t num_before = num_open.fetch_add(1);
  const size_t num_queued_before = num_queued.fetch_add(1);
  const uint64_t before = num_queued_tokens.fetch_add(num_prompt_tokens);
  if (num_before >= most_open || (lacks_room && num_queued_before >= most_queued)) {
    LeaveQueue(num_prompt_tokens);
    num_open.fetch_sub(1);
    return ResourceExhausted("{} requests wait already, and at most {} may: try again later", num_queued_before,
                             most_queued);
  }
  const uint64_t most_tokens = options.max_queued_tokens;
  if (most_tokens > 0 && before > 0 && before + num_prompt_tokens > most_tokens) {
    LeaveQueue(num_prompt_tokens);
    num_open.fetch_sub(1);
    return ResourceExhausted("prompts of {} tokens wait already, and at most {} may: try again later", before,
                             most_tokens);
  }
  return {};
}

Result<RequestHandle> Engine::Impl::Enqueue(Request request) {
  QUIRE_RETURN_IF_ERROR(TakePlace(request.prompt.size()));
  const RequestId id = request.id;
  SamplingParams& params = request.params;
  const std::optional<int32_t> shown_logprobs = params.logprobs;
  const bool ranks = !params.use_beam_search && params.num_streams() > params.n;
  if (ranks && !params.logprobs) params.logprobs = 0;
  auto queue = std::make_shared<OutputQueue>(static_cast<uint32_t>(params.n));
  const size_t num_prompt_tokens = request.prompt.size();
  if (!inbox->Add({std::move(request), shown_logprobs, queue})) {
    LeaveQueue(num_prompt_tokens);
    num_open.fetch_sub(1);
    return Failure().value_or(Unavailable("the server has stopped"));
  }
  return RequestHandle(id, std::move(queue), [inbox = inbox](RequestId aborted) { inbox->Abort(aborted); });
}

Result<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, std::unique_ptr<StepRunner> runner,
                                               std::shared_ptr<const Tokenizer> tokenizer, const Clock& clock) {
  QUIRE_RETURN_IF_ERROR(ValidateSchedulerConfig(options.scheduler));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(runner), std::move(tokenizer), clock);
  if (!impl->options.trace_path.empty()) {
    QUIRE_ASSIGN_OR_RETURN(impl->trace, TraceWriter::Create(impl->options.trace_path));
  }
  impl->UpdateGauges(impl->clock.NowUs());
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() { Stop(); }

const EngineOptions& Engine::options() const { return impl_->options; }

Result<RequestHandle> Engine::Submit(SubmitArgs args) {
  QUIRE_RETURN_IF_ERROR(impl_->CheckOpen());
  QUIRE_ASSIGN_OR_RETURN(Request request, impl_->NewRequest(std::move(args)));
  return impl_->Enqueue(std::move(request));
}

void Engine::Abort(RequestId id) { impl_->inbox->Abort(id); }

StatsSnapshot Engine::Stats() const {
  StatsSnapshot copy;
  {
    std::lock_guard lock(impl_->stats_mutex);
    copy = impl_->stats;
  }
  copy.AdvanceTo(impl_->clock.NowUs());
  copy.queued_tokens = impl_->num_queued_tokens;
  return copy;
}

void Engine::Call(std::function<void(Scheduler&)> work) {
  impl_->Call([impl = impl_.get(), work = std::move(work)] { work(impl->scheduler); });
}

void Engine::Impl::Call(std::function<void()> call) {
  if (inbox->Call(call)) return;
  const std::lock_guard lock(end_mutex);
  call();
}

void Engine::ReportKv(std::function<void(EngineKvReport)> done) {
  impl_->Call([impl = impl_.get(), done = std::move(done)] {
    EngineKvReport report{.kv = impl->scheduler.ReportKv()};
    for (const KvReport::Group& group : report.kv.groups) {
      const auto found = impl->active.find(group.request);
      report.external_ids.push_back(found == impl->active.end() ? std::string() : found->second->external_id());
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
    {
      const std::lock_guard lock(impl->stats_mutex);
      impl->UpdateGauges(impl->clock.NowUs());
    }
    done(std::move(status));
  });
}

void Engine::StorePrefixCache(std::function<void(Status)> done) {
  impl_->Call([impl = impl_.get(), done = std::move(done)]() mutable {
    if (const std::optional<Error> reason = impl->Failure()) return done(*reason);
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
  QUIRE_RETURN_IF_ERROR(impl_->CheckOpen());
  SubmitArgs args{.prompt = std::move(tokens), .external_id = "shared-prefix"};
  args.params.max_tokens = 1;
  args.params.temperature = 0;
  args.params.ignore_eos = true;
  args.params.detokenize = false;
  QUIRE_ASSIGN_OR_RETURN(Request request, impl_->NewRequest(std::move(args)));
  request.pins_prompt = true;
  QUIRE_ASSIGN_OR_RETURN(RequestHandle handle, impl_->Enqueue(std::move(request)));
  std::optional<OutputDelta> delta;
  while (!delta || !delta->finished()) delta = handle.Wait(std::chrono::seconds(1));
  if (delta->error) return *delta->error;
  const auto counted = std::make_shared<std::promise<uint32_t>>();
  Call([counted](Scheduler& scheduler) { counted->set_value(scheduler.num_pinned_blocks()); });
  return counted->get_future().get();
}

Status Engine::Health() const { return impl_->CheckOpen(); }

void Engine::Impl::Admit(Submission& submission) {
  const RequestId id = submission.request.id;
  auto created = std::make_unique<ActiveRequest>(submission, tokenizer.get());
  stats.max_tokens_param.Observe(*submission.request.params.max_tokens);
  stats.n_param.Observe(submission.request.params.n);
  ActiveRequest& request = *active.emplace(id, std::move(created)).first->second;
  if (const Status status = scheduler.Add(std::move(submission.request)); !status.ok()) {
    request.Fail(FinishReason::kError, status.error(), stats);
    Retire(id, request);
  }
}

void Engine::Impl::DrainInbox() {
  inbox->Take(taken);
  num_admitted = num_called = 0;
  if (taken.submissions.empty() && taken.aborts.empty()) return;
  std::lock_guard lock(stats_mutex);
  for (; num_admitted < taken.submissions.size(); ++num_admitted) Admit(taken.submissions[num_admitted]);
  for (const RequestId id : taken.aborts) {
    const auto found = active.find(id);
    if (found == active.end()) continue;
    scheduler.Abort(id);
    found->second->Fail(FinishReason::kAbort, Cancelled("the request was cancelled"), stats);
    Retire(id, *found->second);
  }
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
    LeaveQueue(submission.request.prompt.size());
    num_open.fetch_sub(1);
  }
  RunCallsAfterAll();
}

// REQUIRES: the request has had its last push and the scheduler has forgotten it.
void Engine::Impl::Retire(RequestId id, ActiveRequest& ended) {
  LogDebug("request_retired id={} tokens={}", LogValue(ended.external_id()), ended.num_output_tokens());
  if (!ended.started()) LeaveQueue(ended.num_prompt_tokens());
  active.erase(id);
  num_open.fetch_sub(1);
}

void Engine::Impl::PublishTokens(TimeUs now, const SchedulerEvent& event, ActiveRequest& request) {
  if (!request.OnTokens(event, now, stats)) return;
  scheduler.FinishStream(event.request, event.stream, FinishReason::kStop);
  EndStream(event, request, FinishReason::kStop, now);
}

void Engine::Impl::EndStream(const SchedulerEvent& event, ActiveRequest& request, FinishReason reason, TimeUs now) {
  const bool last = request.EndStream(
      event.stream, {.reason = reason, .stop_token = event.stop_token, .score = event.score}, now, stats);
  if (last) Retire(event.request, request);
}

void Engine::Impl::Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now) {
  const auto found = active.find(event.request);
  if (found == active.end()) return;  // ended by stop strings earlier in this step
  ActiveRequest& request = *found->second;
  switch (event.kind) {
    case SchedulerEvent::Kind::kAdmitted:
      if (!request.started()) LeaveQueue(request.num_prompt_tokens());
      request.OnAdmitted(event.num_cached_tokens, planned_at, stats);
      break;
    case SchedulerEvent::Kind::kPreempted:
      LogInfo("request_preempted id={} mode={} reason={}", LogValue(request.external_id()),
              event.preemption == PreemptionMode::kSwap ? "swap" : "recompute", LogValue(event.error));
      break;
    case SchedulerEvent::Kind::kPromptLogprobs:
      request.OnPromptLogprobs(event.tokens, event.candidates);
      break;
    case SchedulerEvent::Kind::kTokens:
      if (!request.HasEnded(event.stream)) PublishTokens(now, event, request);
      break;
    case SchedulerEvent::Kind::kFinished:
      if (!request.HasEnded(event.stream)) EndStream(event, request, event.reason, now);
      QUIRE_CHECK(!event.last || !active.contains(event.request), "request {}: a stream has not ended",
                  static_cast<uint64_t>(event.request));
      break;
    case SchedulerEvent::Kind::kFailed:
      LogError("request_failed id={} reason={}", LogValue(request.external_id()), LogValue(event.error));
      request.Fail(FinishReason::kError, Internal("{}", event.error), stats);
      Retire(event.request, request);
      break;
  }
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
  QUIRE_RETURN_IF_ERROR(runner->Submit(plan));
  QUIRE_RETURN_IF_ERROR(runner->Collect(result));
  Trace(result);
  const std::span<const SchedulerEvent> events = scheduler.Apply(result);
  const TimeUs now = clock.NowUs();
  std::lock_guard lock(stats_mutex);
  for (const SchedulerEvent& event : events) Handle(event, planned_at, now);
  for (const SchedulerEvent& event : events) {
    if (event.kind != SchedulerEvent::Kind::kTokens) continue;
    if (const auto found = active.find(event.request); found != active.end()) found->second->Publish(event.stream);
  }
  ++stats.steps;
  stats.tokens_per_step.Observe(static_cast<double>(plan.num_rows()));
  UpdateGauges(now);
  return {};
}

void Engine::Impl::UpdateGauges(TimeUs time) {
  stats.AdvanceTo(time);
  const SchedulerStats now = scheduler.Stats();
  num_pinned_blocks = scheduler.num_pinned_blocks();
  lacks_room = scheduler.lacks_room();
  const auto share = [](double part, double whole) { return whole > 0 ? part / whole : 0; };
  stats.num_running = now.num_running;
  stats.num_waiting = now.num_waiting;
  stats.num_swapped = now.num_swapped;
  stats.kv_cache_usage = share(now.num_blocks_used, now.num_blocks_total);
  stats.swap_usage = share(static_cast<double>(now.slots.swapped),
                           1.0 * options.scheduler.num_swap_blocks * options.scheduler.block_size);
  stats.blocks_total = now.num_blocks_total;
  stats.blocks_used = now.num_blocks_used;
  stats.blocks_cached = now.num_blocks_cached;
  stats.blocks_free = now.num_blocks_free;
  stats.blocks_pinned = num_pinned_blocks;
  stats.blocks_on_disk = now.num_disk_blocks;
  stats.SetSlots(now.slots);
  stats.prefix_queries = now.prefix_query_tokens;
  stats.prefix_hits = now.prefix_hit_tokens;
  stats.recent_prefix_hit_rate = now.recent_prefix_hit_rate;
  stats.preemptions_recompute = now.num_preemptions_recompute;
  stats.preemptions_swap = now.num_preemptions_swap;
  stats.blocks_swapped_out = now.num_blocks_swapped_out;
  stats.blocks_swapped_in = now.num_blocks_swapped_in;
  stats.swap_failures = now.num_swap_failures;
  stats.blocks_copied = now.num_blocks_copied;
  stats.disk_blocks_stored = now.num_disk_blocks_stored;
  stats.disk_blocks_loaded = now.num_disk_blocks_loaded;
  stats.disk_blocks_missed = now.num_disk_blocks_missed;
  stats.disk_store_failures = now.num_disk_store_failures;
  stats.disk_load_failures = now.num_disk_load_failures;
  stats.speculation = now.speculation;
}

bool Engine::Step() {
  Impl& impl = *impl_;
  if (const std::optional<Error> reason = impl.Failure()) {
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
    std::lock_guard lock(impl.stats_mutex);
    impl.UpdateGauges(impl.clock.NowUs());
    return false;
  }
  if (const Status status = impl.RunStep(plan, planned_at); !status.ok()) Fail(status.error());
  return true;
}

bool Engine::HasWork() const { return impl_->num_open.load() > 0; }

void Engine::WaitForWork() { impl_->inbox->Wait(); }
void Engine::Wake() { impl_->inbox->Wake(); }

void Engine::Impl::FailAll(const Error& reason) {
  RefuseTaken(reason);
  DrainInbox();
  RunCallsAfterAll();
  if (prefix_cache_stored) std::exchange(prefix_cache_stored, nullptr)(reason);
  std::lock_guard lock(stats_mutex);
  while (!active.empty()) {
    const auto& [id, request] = *active.begin();
    scheduler.Abort(id);
    request->Fail(FinishReason::kError, reason, stats);
    Retire(id, *request);
  }
  UpdateGauges(clock.NowUs());
}

bool Engine::Impl::SetFailure(const Error& reason) {
  std::lock_guard lock(failure_mutex);
  if (failure) return false;
  failure = Error{ErrorCode::kUnavailable, reason.message};
  return true;
}

void Engine::Fail(const Error& reason) {
  if (impl_->SetFailure(reason)) LogError("engine_failed reason={}", LogValue(reason.message));
  impl_->FailAll(*impl_->Failure());
}

void Engine::Stop() {
  impl_->SetFailure(Unavailable("the server has stopped"));
  const std::lock_guard lock(impl_->end_mutex);
  impl_->inbox->Close();
  impl_->FailAll(*impl_->Failure());
}

void Engine::StartDraining() {
  impl_->draining = true;
  Wake();
}

bool Engine::Drained() const { return impl_->num_open.load() == 0; }

}  // namespace quire
