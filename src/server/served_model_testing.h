// A served model for tests: printable ASCII as tokens, a chat template of one line a message, and an engine on the fake
// runner that can be slowed down or made to fail.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "engine/engine.h"
#include "sched/fake_runner_testing.h"
#include "server/server.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace quire::server {

// Ids 0 to 94 are the characters ' ' to '~'; 95 is BOS.
class AsciiTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 95;
  static constexpr int32_t kVocab = 96;

  Result<std::vector<int32_t>> Encode(std::string_view text, bool add_special_tokens) const override {
    std::vector<int32_t> ids;
    if (add_special_tokens) ids.push_back(kBos);
    for (const char c : text) ids.push_back(c >= ' ' && c <= '~' ? c - ' ' : '?' - ' ');
    return ids;
  }
  std::string Decode(std::span<const int32_t> ids, bool skip_special_tokens) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id >= 0 && id < kBos) text += static_cast<char>(' ' + id);
      if (id == kBos && !skip_special_tokens) text += "<s>";
    }
    return text;
  }
  int32_t vocab_size() const override { return kVocab; }
  bool IsSpecial(int32_t id) const override { return id == kBos; }
  std::string_view TokenText(int32_t id) const override {
    static const std::string kCharacters = [this] {
      std::string all;
      for (char c = ' '; c <= '~'; ++c) all += c;
      return all;
    }();
    if (id == kBos) return "<s>";
    return id >= 0 && id < kBos ? std::string_view(kCharacters).substr(static_cast<size_t>(id), 1) : std::string_view();
  }
  std::optional<int32_t> TokenId(std::string_view) const override { return std::nullopt; }
};

class LineTemplate final : public ChatTemplate {
 public:
  Result<std::string> Render(const nlohmann::ordered_json& context) const override {
    std::string text;
    for (const auto& message : context["messages"]) {
      if (message["role"] == "forbidden") return InvalidArgument("no such role here");
      text += message["role"].get<std::string>() + ":" + message["content"].get<std::string>() + ";";
    }
    if (context["add_generation_prompt"].get<bool>()) text += "assistant:";
    return text;
  }
};

class PacedRunner final : public StepRunner {
 public:
  explicit PacedRunner(const FakeRunnerOptions& options, std::chrono::microseconds pace)
      : fake_(options), pace_(pace) {}

  Status Submit(const StepPlan& plan) override { return fake_.Submit(plan); }
  Status Sample(const StepMasks& masks) override { return fake_.Sample(masks); }
  Status Collect(StepResult& result) override {
    if (pace_.count() > 0) std::this_thread::sleep_for(pace_);
    if (fails_) return Internal("the device is on fire");
    return fake_.Collect(result);
  }
  void FailNow() { fails_ = true; }

 private:
  FakeRunner fake_;
  const std::chrono::microseconds pace_;
  std::atomic<bool> fails_{false};
};

struct TestModelOptions {
  std::chrono::microseconds pace{0};  // of a step
  uint32_t max_num_seqs = 64;
  size_t max_queued_requests = 1024;
  uint64_t max_queued_tokens = 0;
  uint32_t max_model_len = 8192;
};

class TestModel {
 public:
  explicit TestModel(const TestModelOptions& options = {}) {
    SetLogLevel(LogLevel::kOff);
    EngineOptions engine_options;
    engine_options.scheduler.max_num_seqs = options.max_num_seqs;
    engine_options.scheduler.max_num_batched_tokens = 2048;
    engine_options.scheduler.max_model_len = options.max_model_len;
    engine_options.scheduler.num_blocks = 4096;
    engine_options.vocab_size = AsciiTokenizer::kVocab;
    engine_options.max_queued_requests = options.max_queued_requests;
    engine_options.max_queued_tokens = options.max_queued_tokens;
    auto runner = std::make_unique<PacedRunner>(
        FakeRunnerOptions{.num_seats = options.max_num_seqs, .num_blocks = 4096, .vocab_size = AsciiTokenizer::kVocab},
        options.pace);
    runner_ = runner.get();
    engine_ = *Engine::Create(std::move(engine_options), std::move(runner), tokenizer_);
    thread_ = std::make_unique<EngineThread>(*engine_);
    served_.engine = engine_.get();
    served_.tokenizer = tokenizer_.get();
    served_.chat_template = &template_;
    served_.max_model_len = static_cast<int32_t>(options.max_model_len);
    served_.root = "/models/ascii";
  }

  const ServedModel& served() const { return served_; }
  Engine& engine() { return *engine_; }
  PacedRunner& runner() { return *runner_; }

 private:
  const std::shared_ptr<const AsciiTokenizer> tokenizer_ = std::make_shared<AsciiTokenizer>();
  const LineTemplate template_;
  std::unique_ptr<Engine> engine_;
  PacedRunner* runner_ = nullptr;
  std::unique_ptr<EngineThread> thread_;
  ServedModel served_;
};

// Polls until `condition` holds; false after ten seconds.
inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace quire::server
