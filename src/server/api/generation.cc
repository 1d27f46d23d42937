#include "server/api/generation.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"
#include "engine/output_queue.h"
#include "server/api/answer_events.h"
#include "server/api/api_error.h"
#include "server/api/authorization.h"
#include "server/api/choices.h"
#include "server/api/exchanges.h"
#include "server/api/generation_request.h"
#include "server/api/model_context.h"

namespace quire::server {
namespace {

ApiError RequestError(const Generation& generation, const Error& error) {
  ApiError api_error = ToApiError(error);
  if (api_error.param == "prompt") api_error.param = generation.prompt_field;
  return api_error;
}

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

class WholeAnswer final : public HttpExchange {
 public:
  WholeAnswer(Generation generation, Choices choices, WorkerPool& pool, std::function<void()> notify)
      : pool_(pool),
        notify_(std::move(notify)),
        generation_(std::make_shared<const Generation>(std::move(generation))),
        choices_(std::move(choices)),
        whole_(choices_.num_choices()),
        log_(generation_->id) {}

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
    log_.Count(choices_.usage());
    if (choices_.finished()) Finish();
  }

  void Fail(const Error& error) {
    choices_.AbortAll();
    log_.End(error.message);
    answer_ = std::make_unique<KnownAnswer>(ToReply(RequestError(*generation_, error)));
  }

  void Finish() {
    log_.End(FinishReasonName(choices_.finish_reason()));
    auto whole = std::make_shared<std::vector<OutputDelta>>(std::move(whole_));
    answer_ = std::make_unique<DeferredExchange>(
        pool_,
        [generation = generation_, whole = std::move(whole), usage = choices_.usage()] {
          AnswerEvents events(whole->size(), generation->drop_output);
          std::vector<ChoiceNews> choices;
          choices.reserve(whole->size());
          for (OutputDelta& delta : *whole) choices.push_back(events.Take(std::move(delta)));
          return std::make_unique<KnownAnswer>(HttpReply{.body = generation->writer->Whole(choices, usage)});
        },
        notify_);
  }

  WorkerPool& pool_;
  const std::function<void()> notify_;
  const std::shared_ptr<const Generation> generation_;
  Choices choices_;
  std::vector<OutputDelta> whole_;  // [choices]
  LifeLog log_;
  std::unique_ptr<HttpExchange> answer_;
};

class StreamedAnswer final : public HttpExchange {
 public:
  StreamedAnswer(Generation generation, Choices choices)
      : generation_(std::move(generation)),
        choices_(std::move(choices)),
        events_(choices_.num_choices(), generation_.drop_output),
        log_(generation_.id) {}

  // Known with the first token, so that a request that fails before is answered with a status.
  const HttpReply* Head() override {
    if (!head_) Begin();
    return head_ ? &*head_ : nullptr;
  }

  bool Read(std::string& out) override {
    if (first_) Append(*std::exchange(first_, std::nullopt), out);
    while (!failed_) {
      std::optional<OutputDelta> delta = choices_.Take();
      if (!delta) break;
      Append(*std::move(delta), out);
    }
    log_.Count(choices_.usage());
    if (failed_) return true;
    if (!choices_.finished()) return false;
    generation_.writer->AppendEnd(choices_.usage(), out);
    log_.End(FinishReasonName(choices_.finish_reason()));
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
    head_ = ToReply(RequestError(generation_, *first_->error));
    choices_.AbortAll();
  }

  void Append(OutputDelta&& delta, std::string& out) {
    if (!delta.error) return generation_.writer->AppendNews(events_.Take(std::move(delta)), out);
    failed_ = true;
    choices_.AbortAll();
    log_.End(delta.error->message);
    generation_.writer->AppendError(RequestError(generation_, *delta.error), out);
  }

  const Generation generation_;
  Choices choices_;
  AnswerEvents events_;
  LifeLog log_;
  std::optional<HttpReply> head_;
  std::optional<OutputDelta> first_;  // taken to know the head
  bool failed_ = false;
};

size_t CountPromptTokens(const Generation& generation) {
  size_t count = 0;
  for (const Request& request : generation.requests) count += request.prompt.size();
  return count;
}

}  // namespace

void ReadHeaders(const HttpRequest& head, std::string_view id_prefix, GenerationRequest& request) {
  if (const std::string* name = head.Find(kRequestIdField)) SetRequestId(id_prefix, *name, request);
  if (const auto key = KeyOf(head); key && !key->empty()) request.client_key = *key;
}

Generation MakeGeneration(const GenerationRequest& request, std::string_view prompt_field, int32_t max_model_len) {
  Generation generation{.id = request.id,
                        .requests = {},
                        .prompt_field = prompt_field,
                        .stream = request.stream,
                        .drop_output = request.drop_output,
                        .writer = nullptr};
  for (const Prompt& prompt : request.prompts) {
    Request& one = generation.requests.emplace_back();
    one.prompt = prompt.ids;
    one.params = request.params;
    const auto room = static_cast<int64_t>(max_model_len) - static_cast<int64_t>(one.prompt.size());
    if (!request.max_tokens_given && one.params.max_tokens && room > 0) {
      one.params.max_tokens = static_cast<int32_t>(std::min<int64_t>(*one.params.max_tokens, room));
    }
    one.priority = request.priority;
    one.cache_salt = request.cache_salt;
    one.reads_prefix_cache = request.reads_prefix_cache;
    one.writes_prefix_cache = request.writes_prefix_cache;
    one.client_key = request.client_key;
    one.external_id = request.id;
  }
  return generation;
}

std::unique_ptr<HttpExchange> StartGeneration(const Call& call, Generation generation) {
  const size_t num_prompt_tokens = CountPromptTokens(generation);
  const SamplingParams params = generation.requests.front().params;
  const auto num_per_prompt = static_cast<size_t>(params.n);
  std::vector<RequestHandle> handles;
  handles.reserve(generation.requests.size());
  for (Request& request : std::exchange(generation.requests, {})) {
    Result<RequestHandle> handle = call.context.model.engine->Submit(std::move(request));
    if (!handle.ok()) {
      const ApiError error = RequestError(generation, handle.error());
      LogInfo("request_refused id={} status={} reason={}", LogValue(generation.id), error.status,
              LogValue(error.message));
      return std::make_unique<KnownAnswer>(ToReply(error));
    }
    handle->SetNotify(call.notify);
    handles.push_back(*std::move(handle));
  }
  LogInfo("request_accepted id={} choices={} prompt_tokens={} max_tokens={} stream={}", LogValue(generation.id),
          handles.size() * num_per_prompt, num_prompt_tokens, params.max_tokens.value_or(0), generation.stream);
  Choices choices(std::move(handles), num_prompt_tokens, num_per_prompt, generation.drop_output);
  if (generation.stream) return std::make_unique<StreamedAnswer>(std::move(generation), std::move(choices));
  return std::make_unique<WholeAnswer>(std::move(generation), std::move(choices), call.workers, call.notify);
}

}  // namespace quire::server
