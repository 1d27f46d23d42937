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

// In a chat, the prompt is what its messages have become.
ApiError RequestError(const GenerationRequest& request, const Error& error) {
  ApiError api_error = ToApiError(error);
  if (request.chat && api_error.param == "prompt") api_error.param = "messages";
  return api_error;
}

constexpr std::string_view kEndOfStream = "data: [DONE]\n\n";

HttpReply StreamHead() {
  return {.content_type = "text/event-stream; charset=utf-8",
          .fields = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}},
          .streams = true};
}

// What is logged when the request ends, also when its client left before.
class LifeLog {
 public:
  explicit LifeLog(const std::string& id) : id_(LogValue(id)), begin_(Clock::Real().NowUs()) {}
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

// Takes what the engine has said about each choice of the answer, prompt by prompt. One thread.
class Choices {
 public:
  Choices(const GenerationRequest& request, std::vector<RequestHandle> handles)
      : num_per_prompt_(request.num_choices_per_prompt()),
        handles_(std::move(handles)),
        counts_(request.num_choices()) {}

  size_t num_unfinished() const { return counts_.size() - num_finished_; }
  // The newest counts of each choice; text and ids are not here.
  std::span<const OutputDelta> counts() const { return counts_; }

  // The next news, if there are any; its `choice` is the answer's.
  std::optional<OutputDelta> Take() {
    for (; next_ < handles_.size(); ++next_) {
      std::optional<OutputDelta> delta = handles_[next_].TryNext();
      if (!delta) continue;
      delta->choice += static_cast<uint32_t>(next_ * num_per_prompt_);
      Count(*delta);
      return delta;
    }
    next_ = 0;
    return std::nullopt;
  }
  void AbortAll() { handles_.clear(); }

 private:
  void Count(const OutputDelta& delta) {
    OutputDelta& counts = counts_[delta.choice];
    counts.finish_reason = delta.finish_reason;
    counts.num_prompt_tokens = delta.num_prompt_tokens;
    counts.num_cached_tokens = delta.num_cached_tokens;
    counts.num_output_tokens = delta.num_output_tokens;
    if (counts.finished()) ++num_finished_;
  }

  const size_t num_per_prompt_;
  std::vector<RequestHandle> handles_;  // [prompts]
  size_t next_ = 0;
  std::vector<OutputDelta> counts_;  // [choices]
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
        choices_(*request_, std::move(handles)),
        whole_(request_->num_choices()),
        log_(request_->id) {}

  const HttpReply* Head() override {
    if (answer_ == nullptr) Gather();
    return answer_ == nullptr ? nullptr : answer_->Head();
  }
  bool Read(std::string&) override { return true; }

 private:
  void Gather() {
    while (std::optional<OutputDelta> delta = choices_.Take()) {
      if (delta->error) return Fail(*delta->error);
      OutputDelta& whole = whole_[delta->choice];
      MergeDelta(whole, *std::move(delta));
    }
    log_.Count(UsageOf(*request_, choices_.counts()));
    if (choices_.num_unfinished() == 0) Finish();
  }

  void Fail(const Error& error) {
    choices_.AbortAll();
    log_.End(error.message);
    answer_ = std::make_unique<KnownAnswer>(ToReply(RequestError(*request_, error)));
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
        choices_(request_, std::move(handles)),
        format_(request_, context.token_strings),
        log_(request_.id) {}

  // Known with the first token, so that a request that fails before is answered with a status.
  const HttpReply* Head() override {
    if (!head_) Begin();
    return head_ ? &*head_ : nullptr;
  }

  bool Read(std::string& out) override {
    if (first_) Append(*std::exchange(first_, std::nullopt), out);
    while (!failed_) {
      const std::optional<OutputDelta> delta = choices_.Take();
      if (!delta) break;
      Append(*delta, out);
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
    first_ = choices_.Take();
    if (!first_) return;
    if (!first_->error) {
      head_ = StreamHead();
      return;
    }
    log_.End(first_->error->message);
    head_ = ToReply(RequestError(request_, *first_->error));
    choices_.AbortAll();
  }

  void Append(const OutputDelta& delta, std::string& out) {
    if (!delta.error) return format_.AppendChunk(delta.choice, delta, out);
    failed_ = true;
    choices_.AbortAll();
    log_.End(delta.error->message);
    out += "data: ";
    JsonWriter json(out);
    WriteError(RequestError(request_, *delta.error), json);
    out += "\n\n";
  }

  const GenerationRequest request_;
  Choices choices_;
  AnswerFormat format_;
  LifeLog log_;
  std::optional<HttpReply> head_;
  std::optional<OutputDelta> first_;  // taken to know the head
  bool failed_ = false;
};

Request ArgsOf(const GenerationRequest& request, const Prompt& prompt, int32_t max_model_len) {
  Request args;
  args.prompt = prompt.ids;
  args.params = request.params;
  const auto room = static_cast<int64_t>(max_model_len) - static_cast<int64_t>(args.prompt.size());
  if (!request.max_tokens_given && args.params.max_tokens && room > 0) {
    args.params.max_tokens = static_cast<int32_t>(std::min<int64_t>(*args.params.max_tokens, room));
  }
  args.priority = request.priority;
  args.cache_salt = request.cache_salt;
  args.reads_prefix_cache = request.reads_prefix_cache;
  args.writes_prefix_cache = request.writes_prefix_cache;
  args.client_key = request.client_key;
  args.external_id = request.id;
  return args;
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
  for (const Prompt& prompt : request.prompts) {
    Result<RequestHandle> handle = context.model.engine->Submit(ArgsOf(request, prompt, max_model_len));
    if (!handle.ok()) {
      const ApiError error = RequestError(request, handle.error());
      LogInfo("request_refused id={} status={} reason={}", LogValue(request.id), error.status, LogValue(error.message));
      return std::make_unique<KnownAnswer>(ToReply(error));
    }
    handle->SetNotify(notify);
    handles.push_back(*std::move(handle));
  }
  LogInfo("request_accepted id={} choices={} prompt_tokens={} max_tokens={} stream={}", LogValue(request.id),
          request.num_choices(), CountPromptTokens(request), request.params.max_tokens.value_or(0), request.stream);
  if (request.stream) return std::make_unique<StreamedAnswer>(context, std::move(request), std::move(handles));
  return std::make_unique<WholeAnswer>(context, std::move(request), std::move(handles), pool, std::move(notify));
}

}  // namespace quire::server
