#include "engine/engine.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "engine/active_request.h"
#include "sched/step_trace.h"

namespace quire {
namespace {

struct Submission {
  Request request;
  std::shared_ptr<OutputQueue> queue;
};

// What clients leave for the engine thread: the only lock between them and the scheduler.
class Inbox {
 public:
  void Add(Submission submission) {
    {
      std::lock_guard lock(mutex_);
      submissions_.push_back(std::move(submission));
    }
    wake_.notify_one();
  }
  void Abort(RequestId id) {
    {
      std::lock_guard lock(mutex_);
      aborts_.push_back(id);
    }
    wake_.notify_one();
  }
  void Wake() {
    {
      std::lock_guard lock(mutex_);
      woken_ = true;
    }
    wake_.notify_all();
  }
  void Wait() {
    std::unique_lock lock(mutex_);
    wake_.wait(lock, [&] { return woken_ || !submissions_.empty() || !aborts_.empty(); });
    woken_ = false;
  }
  // Swaps the contents out; the vectors given keep their capacity for the next time.
  void Take(std::vector<Submission>& submissions, std::vector<RequestId>& aborts) {
    submissions.clear();
    aborts.clear();
    std::lock_guard lock(mutex_);
    submissions.swap(submissions_);
    aborts.swap(aborts_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Submission> submissions_;
  std::vector<RequestId> aborts_;
  bool woken_ = false;
};

uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

struct Engine::Impl {
  Impl(EngineOptions engine_options, std::unique_ptr<StepRunner> step_runner,
       std::shared_ptr<const Tokenizer> text_tokenizer, const Clock& engine_clock)
      : options(std::move(engine_options)),
        runner(std::move(step_runner)),
        tokenizer(std::move(text_tokenizer)),
        clock(engine_clock),
        scheduler(options.scheduler),
        inbox(std::make_shared<Inbox>()) {}

  Result<Request> MakeRequest(SubmitArgs args);
  Status CheckOpen() const;
  std::optional<Error> Failure() const;
  void DrainInbox();
  void Admit(Submission submission);
  Status RunStep(const StepPlan& plan, TimeUs planned_at);
  void Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now);
  void PublishTokens(TimeUs now, const SchedulerEvent& event, ActiveRequest& active);
  void Retire(RequestId id, ActiveRequest& active, FinishReason reason);
  void UpdateGauges();
  void FailAll(const Error& reason);

  const EngineOptions options;
  const std::unique_ptr<StepRunner> runner;
  const std::shared_ptr<const Tokenizer> tokenizer;
  const Clock& clock;

  // Engine thread.
  Scheduler scheduler;
  std::unordered_map<RequestId, std::unique_ptr<ActiveRequest>> active;
  std::vector<Submission> submissions;
  std::vector<RequestId> aborts;
  StepResult result;
  std::optional<TraceWriter> trace;

  // Shared. Handles outlive the engine: they hold the inbox.
  const std::shared_ptr<Inbox> inbox;
  std::atomic<uint64_t> next_id{1};
  std::atomic<size_t> num_open{0};  // submitted and not yet ended
  std::atomic<bool> draining{false};
  mutable std::mutex stats_mutex;
  StatsSnapshot stats;
  mutable std::mutex failure_mutex;
  std::optional<Error> failure;
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

Result<Request> Engine::Impl::MakeRequest(SubmitArgs args) {
  QUIRE_RETURN_IF_ERROR(ValidateSamplingParams(args.params, options.vocab_size));
  if (args.prompt.empty()) return InvalidArgument("the prompt has no tokens: give at least one");
  for (const int32_t id : args.prompt) {
    if (id < 0 || id >= options.vocab_size) {
      return InvalidArgument("the prompt holds token id {}: it must be from 0 to {}", id, options.vocab_size - 1);
    }
  }
  const size_t max_len = options.scheduler.max_model_len;
  if (args.prompt.size() >= max_len) {
    return InvalidArgument(
        "This model's maximum context length is {} tokens, but the prompt has {}: shorten it to at most {}", max_len,
        args.prompt.size(), max_len - 1);
  }
  const auto room = static_cast<int32_t>(max_len - args.prompt.size());
  if (!args.params.max_tokens) args.params.max_tokens = room;
  if (*args.params.max_tokens > room) {
    return InvalidArgument(
        "This model's maximum context length is {} tokens, but the prompt has {} and max_tokens is {}: at most {} fit",
        max_len, args.prompt.size(), *args.params.max_tokens, room);
  }
  if (!args.params.seed) args.params.seed = RandomSeed();
  if (args.params.min_tokens > *args.params.max_tokens) {
    return InvalidArgument("min_tokens is {}, but only {} tokens can follow this prompt", args.params.min_tokens,
                           *args.params.max_tokens);
  }
  QUIRE_RETURN_IF_ERROR(ProveFits(options.scheduler, args.prompt.size(), *args.params.max_tokens));
  Request request;
  request.id = static_cast<RequestId>(next_id.fetch_add(1));
  request.prompt = std::move(args.prompt);
  request.params = std::move(args.params);
  request.eos_token_ids = options.eos_token_ids;
  request.arrival = clock.NowUs();
  request.priority = args.priority;
  request.stream = args.stream;
  request.cache_salt = std::move(args.cache_salt);
  request.client_key = std::move(args.client_key);
  request.external_id = std::move(args.external_id);
  return request;
}

Result<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, std::unique_ptr<StepRunner> runner,
                                               std::shared_ptr<const Tokenizer> tokenizer, const Clock& clock) {
  QUIRE_RETURN_IF_ERROR(ValidateSchedulerConfig(options.scheduler));
  auto impl = std::make_unique<Impl>(std::move(options), std::move(runner), std::move(tokenizer), clock);
  if (!impl->options.trace_path.empty()) {
    QUIRE_ASSIGN_OR_RETURN(impl->trace, TraceWriter::Create(impl->options.trace_path));
  }
  impl->UpdateGauges();
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() { Fail(Unavailable("the engine has been stopped")); }

const EngineOptions& Engine::options() const { return impl_->options; }

Result<RequestHandle> Engine::Submit(SubmitArgs args) {
  QUIRE_RETURN_IF_ERROR(impl_->CheckOpen());
  QUIRE_ASSIGN_OR_RETURN(Request request, impl_->MakeRequest(std::move(args)));
  const size_t most_open = impl_->options.max_queued_requests + impl_->options.scheduler.max_num_seqs;
  if (impl_->num_open.fetch_add(1) >= most_open) {
    impl_->num_open.fetch_sub(1);
    return ResourceExhausted("{} requests run or wait already: try again later", most_open);
  }
  const RequestId id = request.id;
  auto queue = std::make_shared<OutputQueue>();
  impl_->inbox->Add({std::move(request), queue});
  return RequestHandle(id, std::move(queue), [inbox = impl_->inbox](RequestId aborted) { inbox->Abort(aborted); });
}

void Engine::Abort(RequestId id) { impl_->inbox->Abort(id); }

StatsSnapshot Engine::Stats() const {
  std::lock_guard lock(impl_->stats_mutex);
  return impl_->stats;
}

Status Engine::Health() const { return impl_->CheckOpen(); }

void Engine::Impl::Admit(Submission submission) {
  const RequestId id = submission.request.id;
  auto created = std::make_unique<ActiveRequest>(submission.request, tokenizer.get(), std::move(submission.queue));
  stats.max_tokens_param.Observe(*submission.request.params.max_tokens);
  if (Status status = scheduler.Add(std::move(submission.request)); !status.ok()) {
    created->Fail(FinishReason::kError, std::move(status).error(), stats);
    num_open.fetch_sub(1);
    return;
  }
  active.emplace(id, std::move(created));
}

void Engine::Impl::DrainInbox() {
  inbox->Take(submissions, aborts);
  if (submissions.empty() && aborts.empty()) return;
  std::lock_guard lock(stats_mutex);
  for (Submission& submission : submissions) Admit(std::move(submission));
  for (const RequestId id : aborts) {
    const auto found = active.find(id);
    if (found == active.end()) continue;
    scheduler.Abort(id);
    found->second->Fail(FinishReason::kAbort, Cancelled("the request was cancelled"), stats);
    Retire(id, *found->second, FinishReason::kAbort);
  }
}

// REQUIRES: the request has had its last push and the scheduler has forgotten it.
void Engine::Impl::Retire(RequestId id, ActiveRequest& ended, FinishReason reason) {
  LogDebug("request_finished id={} reason={} tokens={}", LogValue(ended.external_id()), FinishReasonName(reason),
           ended.num_output_tokens());
  active.erase(id);
  num_open.fetch_sub(1);
}

void Engine::Impl::PublishTokens(TimeUs now, const SchedulerEvent& event, ActiveRequest& request) {
  if (!request.OnTokens(event.tokens, event.candidates, now, stats)) return;
  scheduler.Finish(event.request, FinishReason::kStop);
  request.Finish(FinishReason::kStop, -1, now, stats);
  Retire(event.request, request, FinishReason::kStop);
}

void Engine::Impl::Handle(const SchedulerEvent& event, TimeUs planned_at, TimeUs now) {
  const auto found = active.find(event.request);
  if (found == active.end()) return;  // ended by a stop string earlier in this step
  ActiveRequest& request = *found->second;
  switch (event.kind) {
    case SchedulerEvent::Kind::kAdmitted:
      request.OnAdmitted(event.num_cached_tokens, planned_at, stats);
      break;
    case SchedulerEvent::Kind::kPreempted:
      LogInfo("request_preempted id={} mode=recompute reason=\"no free KV block\"", LogValue(request.external_id()));
      break;
    case SchedulerEvent::Kind::kPromptLogprobs:
      request.OnPromptLogprobs(event.tokens, event.candidates);
      break;
    case SchedulerEvent::Kind::kTokens:
      PublishTokens(now, event, request);
      break;
    case SchedulerEvent::Kind::kFinished:
      request.Finish(event.reason, event.stop_token, now, stats);
      Retire(event.request, request, event.reason);
      break;
    case SchedulerEvent::Kind::kFailed:
      LogError("request_failed id={} reason={}", LogValue(request.external_id()), LogValue(event.error));
      request.Fail(FinishReason::kError, Internal("{}", event.error), stats);
      Retire(event.request, request, FinishReason::kError);
      break;
  }
}

Status Engine::Impl::RunStep(const StepPlan& plan, TimeUs planned_at) {
  QUIRE_RETURN_IF_ERROR(runner->Submit(plan));
  QUIRE_RETURN_IF_ERROR(runner->Collect(result));
  if (trace) {
    QUIRE_RETURN_IF_ERROR(trace->Write(plan));
    QUIRE_RETURN_IF_ERROR(trace->Write(result));
  }
  const std::span<const SchedulerEvent> events = scheduler.Apply(result);
  const TimeUs now = clock.NowUs();
  std::lock_guard lock(stats_mutex);
  for (const SchedulerEvent& event : events) Handle(event, planned_at, now);
  for (const SchedulerEvent& event : events) {
    if (event.kind != SchedulerEvent::Kind::kTokens) continue;
    if (const auto found = active.find(event.request); found != active.end()) found->second->Publish();
  }
  ++stats.steps;
  stats.tokens_per_step.Observe(static_cast<double>(plan.num_rows()));
  UpdateGauges();
  return {};
}

void Engine::Impl::UpdateGauges() {
  const SchedulerStats now = scheduler.Stats();
  stats.num_running = now.num_running;
  stats.num_waiting = now.num_waiting;
  stats.blocks_total = now.num_blocks_total;
  stats.blocks_used = now.num_blocks_used;
  stats.blocks_cached = now.num_blocks_cached;
  stats.blocks_free = now.num_blocks_free;
  stats.kv_cache_usage =
      now.num_blocks_total == 0 ? 0 : static_cast<double>(now.num_blocks_used) / now.num_blocks_total;
  stats.prefix_queries = now.prefix_query_tokens;
  stats.prefix_hits = now.prefix_hit_tokens;
  stats.preemptions = now.num_preemptions;
}

bool Engine::Step() {
  Impl& impl = *impl_;
  if (const std::optional<Error> reason = impl.Failure()) {
    impl.FailAll(*reason);  // what came in after the failure
    return false;
  }
  impl.DrainInbox();
  const TimeUs planned_at = impl.clock.NowUs();
  const StepPlan& plan = impl.scheduler.Plan(planned_at);
  if (plan.empty()) {
    std::lock_guard lock(impl.stats_mutex);
    impl.UpdateGauges();
    return false;
  }
  if (const Status status = impl.RunStep(plan, planned_at); !status.ok()) Fail(status.error());
  return true;
}

bool Engine::HasWork() const { return impl_->num_open.load() > 0; }

void Engine::WaitForWork() { impl_->inbox->Wait(); }
void Engine::Wake() { impl_->inbox->Wake(); }

void Engine::Impl::FailAll(const Error& reason) {
  inbox->Take(submissions, aborts);
  std::lock_guard lock(stats_mutex);
  for (Submission& submission : submissions) {
    ActiveRequest(submission.request, nullptr, std::move(submission.queue)).Fail(FinishReason::kError, reason, stats);
    num_open.fetch_sub(1);
  }
  for (auto& [id, request] : active) {
    scheduler.Abort(id);
    request->Fail(FinishReason::kError, reason, stats);
    num_open.fetch_sub(1);
  }
  active.clear();
}

void Engine::Fail(const Error& reason) {
  {
    std::lock_guard lock(impl_->failure_mutex);
    if (!impl_->failure) {
      impl_->failure = Error{ErrorCode::kUnavailable, reason.message};
      if (impl_->num_open.load() > 0) LogError("engine_stopped reason={}", LogValue(reason.message));
    }
  }
  impl_->FailAll({ErrorCode::kUnavailable, reason.message});
}

void Engine::StartDraining() {
  impl_->draining = true;
  Wake();
}

bool Engine::Drained() const { return impl_->num_open.load() == 0; }

}  // namespace quire
