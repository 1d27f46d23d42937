#include "server/generation.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/output_queue.h"
#include "server/answer_format.h"
#include "server/exchanges.h"
#include "server/json_writer.h"
#include "server/model_context.h"

namespace quire::server {
namespace {

constexpr std::string_view kEndOfStream = "data: [DONE]\n\n";

HttpReply StreamHead() {
  return {.content_type = "text/event-stream; charset=utf-8",
          .fields = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
          .streams = true};
}

// What is logged when the request ends, also when its client left before.
class LifeLog {
 public:
  explicit LifeLog(std::string id) : id_(std::move(id)), begin_(Clock::Real().NowUs()) {}
  ~LifeLog() {
    if (!ended_) LogInfo("request_cancelled id={} reason=\"client gone\" {}", id_, Numbers());
  }
  LifeLog(const LifeLog&) = delete;
  LifeLog& operator=(const LifeLog&) = delete;

  void Count(const Usage& usage) { usage_ = usage; }
  void End(std::string_view reason) {
    ended_ = true;
    LogInfo("request_finished id={} reason={} {}", id_, LogValue(reason), Numbers());
  }

 private:
  std::string Numbers() const {
    return fmt::format("prompt_tokens={} cached_tokens={} output_tokens={} ms={}", usage_.prompt_tokens,
                       usage_.cached_tokens, usage_.completion_tokens, (Clock::Real().NowUs() - begin_) / 1000);
  }

  const std::string id_;
  const TimeUs begin_;
  Usage usage_;
  bool ended_ = false;
};

// Takes what the engine has said about each choice. One thread.
class Choices {
 public:
  explicit Choices(std::vector<RequestHandle> handles) : handles_(std::move(handles)), counts_(handles_.size()) {}

  size_t size() const { return handles_.size(); }
  size_t num_unfinished() const { return handles_.size() - num_finished_; }
  // The newest counts of each choice; text and ids are not here.
  std::span<const OutputDelta> counts() const { return counts_; }

  std::optional<OutputDelta> Take(size_t choice) {
    OutputDelta& counts = counts_[choice];
    if (counts.finished()) return std::nullopt;
    std::optional<OutputDelta> delta = handles_[choice].TryNext();
    if (!delta) return std::nullopt;
    counts.finish_reason = delta->finish_reason;
    counts.num_prompt_tokens = delta->num_prompt_tokens;
    counts.num_cached_tokens = delta->num_cached_tokens;
    counts.num_output_tokens = delta->num_output_tokens;
    if (counts.finished()) ++num_finished_;
    return delta;
  }
  void AbortAll() { handles_.clear(); }

 private:
  std::vector<RequestHandle> handles_;
  std::vector<OutputDelta> counts_;
  size_t num_finished_ = 0;
};

class WholeAnswer final : public HttpExchange {
 public:
  WholeAnswer(const ModelContext& context, GenerationRequest request, std::vector<RequestHandle> handles,
              WorkerPool& pool, std::function<void()> notify)
      : context_(context),
        pool_(pool),
        notify_(std::move(notify)),
        request_(std::make_shared<const GenerationRequest>(std::move(request))),
        choices_(std::move(handles)),
        whole_(choices_.size()),
        log_(request_->id) {}

  const HttpReply* Head() override {
    if (answer_ == nullptr) Gather();
    return answer_ == nullptr ? nullptr : answer_->Head();
  }
  bool Read(std::string&) override { return true; }

 private:
  void Gather() {
    for (size_t choice = 0; choice < choices_.size(); ++choice) {
      std::optional<OutputDelta> delta = choices_.Take(choice);
      if (!delta) continue;
      if (delta->error) return Fail(*delta->error);
      MergeDelta(whole_[choice], *std::move(delta));
    }
    log_.Count(UsageOf(*request_, choices_.counts()));
    if (choices_.num_unfinished() == 0) Finish();
  }

  void Fail(const Error& error) {
    choices_.AbortAll();
    log_.End(error.message);
    answer_ = std::make_unique<KnownAnswer>(ToReply(ToApiError(error)));
  }

  void Finish() {
    log_.End(FinishReasonName(whole_.front().finish_reason));
    auto whole = std::make_shared<const std::vector<OutputDelta>>(std::move(whole_));
    answer_ = std::make_unique<DeferredExchange>(
        pool_,
        [&context = context_, request = request_, whole = std::move(whole)]() -> std::unique_ptr<HttpExchange> {
          AnswerFormat format(*request, context.token_strings);
          return std::make_unique<KnownAnswer>(HttpReply{.body = format.Whole(*whole)});
        },
        notify_);
  }

  const ModelContext& context_;
  WorkerPool& pool_;
  const std::function<void()> notify_;
  const std::shared_ptr<const GenerationRequest> request_;
  Choices choices_;
  std::vector<OutputDelta> whole_;  // [choices]
  LifeLog log_;
  std::unique_ptr<HttpExchange> answer_;
};

class StreamedAnswer final : public HttpExchange {
 public:
  StreamedAnswer(const ModelContext& context, GenerationRequest request, std::vector<RequestHandle> handles)
      : request_(std::move(request)),
        choices_(std::move(handles)),
        format_(request_, context.token_strings),
        log_(request_.id) {}

  // Known with the first token, so that a request that fails before is answered with a status.
  const HttpReply* Head() override {
    if (!head_) Begin();
    return head_ ? &*head_ : nullptr;
  }

  bool Read(std::string& out) override {
    if (first_) Append(first_choice_, *std::exchange(first_, std::nullopt), out);
    for (size_t choice = 0; choice < choices_.size() && !failed_; ++choice) {
      if (const std::optional<OutputDelta> delta = choices_.Take(choice)) Append(choice, *delta, out);
    }
    const Usage usage = UsageOf(request_, choices_.counts());
    log_.Count(usage);
    if (!failed_ && choices_.num_unfinished() > 0) return false;
    if (!failed_) {
      if (request_.include_usage) format_.AppendUsageChunk(usage, out);
      log_.End(FinishReasonName(choices_.counts().front().finish_reason));
    }
    out += kEndOfStream;
    return true;
  }

 private:
  void Begin() {
    for (size_t choice = 0; choice < choices_.size() && !first_; ++choice) {
      first_ = choices_.Take(choice);
      first_choice_ = choice;
    }
    if (!first_) return;
    if (!first_->error) {
      head_ = StreamHead();
      return;
    }
    log_.End(first_->error->message);
    head_ = ToReply(ToApiError(*first_->error));
    choices_.AbortAll();
  }

  void Append(size_t choice, const OutputDelta& delta, std::string& out) {
    if (!delta.error) return format_.AppendChunk(choice, delta, out);
    failed_ = true;
    choices_.AbortAll();
    log_.End(delta.error->message);
    out += "data: ";
    JsonWriter json(out);
    WriteError(ToApiError(*delta.error), json);
    out += "\n\n";
  }

  const GenerationRequest request_;
  Choices choices_;
  AnswerFormat format_;
  LifeLog log_;
  std::optional<HttpReply> head_;
  std::optional<OutputDelta> first_;  // of first_choice_, taken to know the head
  size_t first_choice_ = 0;
  bool failed_ = false;
};

SubmitArgs ArgsOf(const GenerationRequest& request, size_t choice, int32_t max_model_len) {
  const auto n = static_cast<size_t>(request.n);
  SubmitArgs args;
  args.prompt = request.prompts[choice / n].ids;
  args.params = request.params;
  const auto room = static_cast<int64_t>(max_model_len) - static_cast<int64_t>(args.prompt.size());
  if (!request.max_tokens_given && args.params.max_tokens && room > 0) {
    args.params.max_tokens = static_cast<int32_t>(std::min<int64_t>(*args.params.max_tokens, room));
  }
  args.priority = request.priority;
  args.stream = static_cast<uint32_t>(choice % n);
  args.cache_salt = request.cache_salt;
  args.client_key = request.client_key;
  args.external_id = request.id;
  return args;
}

ApiError SubmitError(const GenerationRequest& request, size_t choice, const Error& error, int32_t max_model_len) {
  ApiError api_error = ToRequestError(error);
  if (api_error.status != 400 || !api_error.param.empty()) return api_error;
  const size_t num_prompt_tokens = request.prompts[choice / static_cast<size_t>(request.n)].ids.size();
  const auto wanted = static_cast<size_t>(request.max_tokens_given ? *request.params.max_tokens : 1);
  const auto context = static_cast<size_t>(max_model_len);
  const bool too_many_wanted = num_prompt_tokens < context && num_prompt_tokens + wanted > context;
  api_error.param = too_many_wanted ? "max_tokens" : request.chat ? "messages" : "prompt";
  if (num_prompt_tokens + wanted > context) api_error.code = "context_length_exceeded";
  return api_error;
}

size_t CountPromptTokens(const GenerationRequest& request) {
  size_t count = 0;
  for (const Prompt& prompt : request.prompts) count += prompt.ids.size();
  return count;
}

}  // namespace

std::unique_ptr<HttpExchange> StartGeneration(const ModelContext& context, GenerationRequest request, WorkerPool& pool,
                                              std::function<void()> notify) {
  const int32_t max_model_len = context.model.max_model_len;
  std::vector<RequestHandle> handles;
  for (size_t choice = 0; choice < request.num_choices(); ++choice) {
    Result<RequestHandle> handle = context.model.engine->Submit(ArgsOf(request, choice, max_model_len));
    if (!handle.ok()) {
      const ApiError error = SubmitError(request, choice, handle.error(), max_model_len);
      LogInfo("request_refused id={} status={} reason={}", request.id, error.status, LogValue(error.message));
      return std::make_unique<KnownAnswer>(ToReply(error));
    }
    handle->SetNotify(notify);
    handles.push_back(*std::move(handle));
  }
  LogInfo("request_accepted id={} choices={} prompt_tokens={} max_tokens={} stream={}", request.id, handles.size(),
          CountPromptTokens(request), request.params.max_tokens.value_or(0), request.stream);
  if (request.stream) return std::make_unique<StreamedAnswer>(context, std::move(request), std::move(handles));
  return std::make_unique<WholeAnswer>(context, std::move(request), std::move(handles), pool, std::move(notify));
}

}  // namespace quire::server
