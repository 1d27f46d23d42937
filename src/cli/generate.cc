#include "cli/generate.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <limits>
#include <memory>

#include "base/env.h"
#include "base/error.h"
#include "base/log.h"
#include "cli/output.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

volatile std::sig_atomic_t interrupt_seen = 0;

SamplingParams Over(SamplingParams params, const SamplingOptions& options) {
  if (options.temperature) params.temperature = *options.temperature;
  if (options.top_p) params.top_p = *options.top_p;
  if (options.min_p) params.min_p = *options.min_p;
  if (options.top_k) params.top_k = *options.top_k;
  if (options.repetition_penalty) params.repetition_penalty = *options.repetition_penalty;
  if (options.presence_penalty) params.presence_penalty = *options.presence_penalty;
  if (options.frequency_penalty) params.frequency_penalty = *options.frequency_penalty;
  if (options.max_tokens) params.max_tokens = options.max_tokens;
  if (options.seed) params.seed = options.seed;
  params.stop = options.stop;
  params.ignore_eos = options.ignore_eos;
  return params;
}

}  // namespace

InterruptGuard::InterruptGuard() {
  interrupt_seen = 0;
  previous_ = std::signal(SIGINT, [](int) { interrupt_seen = 1; });
}

InterruptGuard::~InterruptGuard() { std::signal(SIGINT, previous_); }

bool InterruptGuard::WasInterrupted() const { return interrupt_seen != 0; }

Result<RunningModel> RunningModel::Start(const LoadOptions& options) {
  RunningModel running;
  QUIRE_ASSIGN_OR_RETURN(LoadedModel loaded, LoadModel(options));
  running.loaded_ = std::make_unique<LoadedModel>(std::move(loaded));
  running.thread_ = std::make_unique<EngineThread>(*running.loaded_->engine);
  for (const std::string& path : options.shared_prefixes) QUIRE_RETURN_IF_ERROR(running.PinPrefix(path));
  return running;
}

// The file's text as it is, tokenized as a prompt of /v1/completions would be.
Status RunningModel::PinPrefix(const std::string& path) {
  QUIRE_ASSIGN_OR_RETURN(const std::string text, Env::Posix().ReadFile(path));
  Result<std::vector<int32_t>> tokens = loaded_->tokenizer->Encode(text, true);
  if (!tokens.ok()) return InvalidArgument("--shared-prefix {}: {}", path, tokens.error().message);
  const size_t num_tokens = tokens->size();
  const Result<uint32_t> num_pinned = engine().PinPrefix(*std::move(tokens));
  if (!num_pinned.ok()) return InvalidArgument("--shared-prefix {}: {}", path, num_pinned.error().message);
  LogInfo("prefix_pinned file={} tokens={} pinned_blocks={}", LogValue(path), num_tokens, *num_pinned);
  return {};
}

void RunningModel::StorePrefixCache(FunctionRef<bool()> gives_up) {
  const StatsSnapshot before = engine().Stats();
  if (engine().options().scheduler.num_disk_blocks == 0) return;
  enum class End : uint8_t { kNone, kStored, kFailed };
  const auto end = std::make_shared<std::atomic<End>>(End::kNone);
  engine().StorePrefixCache([end](const Status& status) { *end = status.ok() ? End::kStored : End::kFailed; });
  while (*end == End::kNone && !gives_up()) {
  }
  const StatsSnapshot after = engine().Stats();
  LogInfo("prefix_cache_stored blocks={} failed={} blocks_on_disk={} complete={}",
          after.scheduler.transfers[Transfer::Kind::kStore].completed -
              before.scheduler.transfers[Transfer::Kind::kStore].completed,
          after.scheduler.transfers[Transfer::Kind::kStore].failed -
              before.scheduler.transfers[Transfer::Kind::kStore].failed,
          after.scheduler.num_disk_blocks, *end == End::kStored);
}

LoadOptions WithQueueFor(int64_t num_requests, LoadOptions options) {
  options.max_queued_requests = static_cast<int32_t>(std::max<int64_t>(options.max_queued_requests, num_requests));
  options.max_queued_tokens = 0;
  return options;
}

Status CheckSampling(const SamplingOptions& options) {
  constexpr int32_t kAnyVocabulary = std::numeric_limits<int32_t>::max();
  const Status status = ValidateSamplingParams(Over({}, options), kAnyVocabulary);
  if (status.ok()) return {};
  Error error = status.error();
  std::string name = "--" + error.field;
  std::ranges::replace(name, '_', '-');
  error.message.replace(0, error.field.size(), name);
  return error;
}

SamplingParams MakeSamplingParams(const ModelConfig& config, const SamplingOptions& options) {
  return Over(DefaultSamplingParams(config), options);
}

Result<std::string> StreamToTerminal(Engine& engine, Request args) {
  QUIRE_ASSIGN_OR_RETURN(RequestHandle handle, engine.Submit(std::move(args)));
  const InterruptGuard guard;
  std::string text;
  while (true) {
    const std::optional<OutputDelta> delta = handle.Wait(std::chrono::milliseconds(100));
    if (guard.WasInterrupted()) handle.Abort();
    if (!delta) {
      if (guard.WasInterrupted()) break;
      continue;
    }
    text += delta->text;
    if (!PrintAll(delta->text)) {
      handle.Abort();
      return LostOutput();
    }
    if (delta->error) return *delta->error;
    if (delta->finished() || guard.WasInterrupted()) break;
  }
  std::fputc('\n', stdout);
  return text;
}

int Complain(const Error& error) {
  std::fprintf(stderr, "quire: %s\n", error.message.c_str());
  return error.code == ErrorCode::kInvalidArgument || error.code == ErrorCode::kContextLength ? 2 : 1;
}

}  // namespace quire
