#include "engine/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/env_testing.h"
#include "base/log.h"
#include "engine/engine_testing.h"
#include "engine/output_queue.h"
#include "sched/fake_runner_testing.h"
#include "sched/step_trace.h"

namespace quire {
namespace {

TEST(Engine, DeliversWhatTheRequestSaysAlone) {
  const auto engine = MakeEngine();
  std::vector<RequestHandle> handles;
  handles.reserve(6);
  for (int32_t i = 0; i < 6; ++i) handles.push_back(*engine->Submit(Ask({i, 2, 3, 4, 5}, 10 + i)));
  RunDry(*engine);
  for (int32_t i = 0; i < 6; ++i) {
    const std::optional<OutputDelta> delta = handles[static_cast<size_t>(i)].TryNext();
    ASSERT_TRUE(delta);
    EXPECT_EQ(delta->token_ids, FakeRunner::Continue({i, 2, 3, 4, 5}, 1, static_cast<uint32_t>(10 + i), kVocab));
    EXPECT_EQ(delta->finish_reason, FinishReason::kLength);
    EXPECT_EQ(delta->num_prompt_tokens, 5U);
  }
  const StatsSnapshot stats = engine->Stats();
  EXPECT_EQ(stats.finished[FinishReason::kLength], 6U);
  EXPECT_EQ(stats.generation_tokens, 75U);
  EXPECT_EQ(stats.scheduler.num_blocks_used, 0U);
}

TEST(Engine, StopStringEndsAcrossTokensAndFreesTheSequence) {
  SetLogLevel(LogLevel::kOff);
  const auto engine = *Engine::Create(SmallOptions(), SmallRunner(), std::make_shared<NumberTokenizer>());
  const std::vector<int32_t> says = FakeRunner::Continue({1, 2, 3}, 1, 20, kVocab);
  NumberTokenizer tokenizer;
  const std::string stop = std::to_string(says[4]) + "," + std::to_string(says[5]);
  Request args = Ask({1, 2, 3}, 20);
  args.params.stop = {stop};
  RequestHandle handle = *engine->Submit(std::move(args));
  RunDry(*engine);
  const std::optional<OutputDelta> delta = handle.TryNext();
  ASSERT_TRUE(delta);
  const std::string whole = tokenizer.Decode(says, false);
  EXPECT_EQ(delta->text, whole.substr(0, whole.find(stop)));
  EXPECT_EQ(delta->stop_string, stop);
  EXPECT_EQ(delta->finish_reason, FinishReason::kStop);
  EXPECT_LT(delta->token_ids.size(), 20U);
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_used, 0U);
}

// All that is there, by choice.
std::map<uint32_t, OutputDelta> ReadAll(RequestHandle& handle) {
  std::map<uint32_t, OutputDelta> read;
  while (std::optional<OutputDelta> delta = handle.TryNext()) {
    OutputDelta& choice = read[delta->choice];
    MergeDelta(choice, *std::move(delta));
  }
  return read;
}

// The tokenizer spells every token, special ones too, as with skip_special_tokens false.
TEST(Engine, TheTokenThatEndsAnAnswerIsNoPartOfItsText) {
  SetLogLevel(LogLevel::kOff);
  // A prompt whose answer has a token at place 3 that is not there before.
  constexpr std::ptrdiff_t kPlace = 3;
  std::vector<int32_t> prompt = {1, 2, 3}, answer;
  const auto ends_early = [&] { return std::ranges::find(answer, answer.back()) - answer.begin() < kPlace; };
  do {
    ++prompt[0];
    answer = FakeRunner::Continue(prompt, 1, uint32_t{kPlace} + 1, kVocab);
  } while (ends_early());
  const int32_t end = answer.back();
  const NumberTokenizer tokenizer;
  const std::string whole = tokenizer.Decode(answer, false);
  const std::string shown = tokenizer.Decode(std::span(answer).first(answer.size() - 1), false);
  for (const bool is_eos : {false, true}) {
    for (const bool include : {false, true}) {
      EngineOptions options = SmallOptions();
      if (is_eos) options.eos_token_ids = {end};
      const auto engine = *Engine::Create(options, SmallRunner(), std::make_shared<NumberTokenizer>());
      Request args = Ask(prompt, 20);
      if (!is_eos) args.params.stop_token_ids = {end};
      args.params.ignore_eos = false;
      args.params.include_stop_str_in_output = include;
      RequestHandle handle = *engine->Submit(std::move(args));
      RunDry(*engine);
      const OutputDelta delta = ReadAll(handle).at(0);
      EXPECT_EQ(delta.text, include ? whole : shown) << is_eos;
      EXPECT_EQ(delta.token_ids, answer);
      EXPECT_EQ(delta.finish_reason, FinishReason::kStop);
      EXPECT_EQ(delta.stop_token_id, is_eos ? std::nullopt : std::optional(end));
    }
  }
}

TEST(Engine, AnAnswerThatLengthEndsIsShownWhole) {
  SetLogLevel(LogLevel::kOff);
  const auto engine = *Engine::Create(SmallOptions(), SmallRunner(), std::make_shared<NumberTokenizer>());
  RequestHandle handle = *engine->Submit(Ask({1, 2, 3}, 7));
  RunDry(*engine);
  EXPECT_EQ(ReadAll(handle).at(0).text, NumberTokenizer().Decode(FakeRunner::Continue({1, 2, 3}, 1, 7, kVocab), false));
}

TEST(Engine, StreamsOfARequestShareItsPromptAndSayWhatTheySayAlone) {
  const auto engine = MakeEngine();
  Request args = Ask({1, 2, 3, 4, 5}, 10, 7);
  args.params.n = 3;
  RequestHandle handle = *engine->Submit(std::move(args));
  RunDry(*engine);
  const std::map<uint32_t, OutputDelta> read = ReadAll(handle);
  ASSERT_EQ(read.size(), 3U);
  for (const auto& [choice, delta] : read) {
    EXPECT_EQ(delta.token_ids, FakeRunner::Continue({1, 2, 3, 4, 5}, 7 + choice, 10, kVocab));
    EXPECT_EQ(delta.finish_reason, FinishReason::kLength);
  }
  const StatsSnapshot stats = engine->Stats();
  EXPECT_EQ(stats.prompt_tokens, 5U);
  EXPECT_EQ(stats.generation_tokens, 30U);
  EXPECT_EQ(stats.finished[FinishReason::kLength], 1U);
  EXPECT_EQ(stats.time_to_first_token_s.count, 1U);
  EXPECT_GT(stats.scheduler.num_blocks_copied, 0U) << "the last block of the prompt is written by each";
  EXPECT_EQ(stats.scheduler.num_blocks_used, 0U);
}

TEST(Engine, AStopStringEndsOneStreamAndTheOthersGoOn) {
  SetLogLevel(LogLevel::kOff);
  const auto engine = *Engine::Create(SmallOptions(), SmallRunner(), std::make_shared<NumberTokenizer>());
  const std::vector<int32_t> says = FakeRunner::Continue({1, 2, 3}, 8, 20, kVocab);  // stream 1
  Request args = Ask({1, 2, 3}, 20, 7);
  args.params.n = 2;
  args.params.stop = {std::to_string(says[4]) + "," + std::to_string(says[5]) + ","};
  RequestHandle handle = *engine->Submit(std::move(args));
  RunDry(*engine);
  const std::map<uint32_t, OutputDelta> read = ReadAll(handle);
  ASSERT_EQ(read.size(), 2U);
  EXPECT_EQ(read.at(0).token_ids, FakeRunner::Continue({1, 2, 3}, 7, 20, kVocab));
  EXPECT_EQ(read.at(0).finish_reason, FinishReason::kLength);
  EXPECT_EQ(read.at(1).token_ids, std::vector<int32_t>(says.begin(), says.begin() + 6));
  EXPECT_EQ(read.at(1).finish_reason, FinishReason::kStop);
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_used, 0U);
}

TEST(Engine, BestOfReturnsTheBestOfWhatAllStreamsSay) {
  const auto engine = MakeEngine();
  Request all = Ask({1, 2, 3, 4, 5}, 6, 7);
  all.params.n = 4;
  all.params.logprobs = 0;
  Request best = Ask({1, 2, 3, 4, 5}, 6, 7);
  best.params.n = 2;
  best.params.best_of = 4;
  RequestHandle all_handle = *engine->Submit(std::move(all));
  RequestHandle best_handle = *engine->Submit(std::move(best));
  RunDry(*engine);
  std::vector<std::pair<double, std::vector<int32_t>>> ranked;
  for (const auto& [choice, delta] : ReadAll(all_handle)) {
    double sum = 0;
    for (const TokenLogprob& token : delta.logprobs) sum += token.logprob;
    ranked.emplace_back(-sum, delta.token_ids);
  }
  ASSERT_EQ(ranked.size(), 4U);
  std::ranges::stable_sort(ranked, {}, [](const auto& entry) { return entry.first; });
  const std::map<uint32_t, OutputDelta> read = ReadAll(best_handle);
  ASSERT_EQ(read.size(), 2U);
  for (const uint32_t choice : {0U, 1U}) {
    EXPECT_EQ(read.at(choice).token_ids, ranked[choice].second);
    EXPECT_TRUE(read.at(choice).logprobs.empty());
  }
}

TEST(Engine, BeamSearchTellsItsHypothesesAtTheEndBestFirst) {
  const auto engine = MakeEngine();
  Request args = Ask({1, 2, 3, 4, 5}, 6);
  args.params.n = 2;
  args.params.use_beam_search = true;
  args.params.beam_width = 3;
  RequestHandle handle = *engine->Submit(std::move(args));
  engine->Step();
  engine->Step();
  EXPECT_FALSE(handle.TryNext());
  RunDry(*engine);
  const std::map<uint32_t, OutputDelta> read = ReadAll(handle);
  ASSERT_EQ(read.size(), 2U);
  ASSERT_TRUE(read.at(0).score && read.at(1).score);
  EXPECT_GE(*read.at(0).score, *read.at(1).score);
  EXPECT_NE(read.at(0).token_ids, read.at(1).token_ids);
  EXPECT_EQ(read.at(0).token_ids.size(), 6U);
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_used, 0U);
}

TEST(Engine, DestroyingAHandleFreesAllStreams) {
  const auto engine = MakeEngine();
  {
    Request args = Ask({4, 5, 6}, 30);
    args.params.n = 3;
    const RequestHandle dropped = *engine->Submit(std::move(args));
    for (int i = 0; i < 5; ++i) engine->Step();
    EXPECT_EQ(engine->Stats().scheduler.num_running, 3U);
  }
  engine->Step();
  EXPECT_FALSE(engine->HasWork());
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_used, 0U);
  EXPECT_EQ(engine->Stats().finished[FinishReason::kAbort], 1U);
}

TEST(Engine, ReportsEverySlotAndWhoHoldsIt) {
  const auto engine = MakeEngine();
  Request args = Ask({1, 2, 3, 4, 5}, 10);
  args.params.n = 2;
  args.external_id = "cmpl-7";
  const RequestHandle handle = *engine->Submit(std::move(args));
  for (int i = 0; i < 3; ++i) engine->Step();
  std::optional<EngineKvReport> report;
  engine->ReportKv([&](EngineKvReport done) { report = std::move(done); });
  EXPECT_FALSE(report) << "between two steps";
  engine->Step();
  ASSERT_TRUE(report);
  EXPECT_EQ(report->kv.slots.total(), 32U * 4U);
  ASSERT_EQ(report->external_ids, std::vector<std::string>{"cmpl-7"});
  ASSERT_EQ(report->kv.groups.size(), 1U);
  EXPECT_STREQ(report->kv.groups[0].state, "running");
  ASSERT_EQ(report->kv.groups[0].sequences.size(), 2U);
  EXPECT_EQ(report->kv.groups[0].sequences[0].num_shared_blocks, 1U) << "the prompt's full block";
  EXPECT_EQ(report->kv.groups[0].sequences[1].blocks.front(), report->kv.groups[0].sequences[0].blocks.front());
}

TEST(Engine, ResetsThePrefixCacheWhenNothingRuns) {
  const auto engine = MakeEngine();
  RequestHandle handle = *engine->Submit(Ask({1, 2, 3, 4, 5, 6, 7, 8, 9}, 10));
  engine->Step();
  std::optional<Status> status;
  const auto note = [&](Status done) { status = std::move(done); };
  engine->ResetPrefixCache(note);
  engine->Step();
  ASSERT_TRUE(status);
  EXPECT_NE(status->error().message.find("in use"), std::string::npos);
  RunDry(*engine);
  EXPECT_GT(engine->Stats().scheduler.num_blocks_cached, 0U);
  engine->ResetPrefixCache(note);
  engine->Step();
  EXPECT_TRUE(status->ok());
  EXPECT_EQ(engine->Stats().scheduler.num_blocks_cached, 0U);
}

class ManualClock final : public Clock {
 public:
  TimeUs NowUs() const override { return now; }
  TimeUs now = 0;
};

TEST(Engine, IntegratesSlotsOverTime) {
  SetLogLevel(LogLevel::kOff);
  ManualClock clock;
  const auto engine = *Engine::Create(SmallOptions(), SmallRunner(), nullptr, clock);
  const RequestHandle handle = *engine->Submit(Ask({1, 2, 3, 4, 5}, 10));
  engine->Step();
  const StatsSnapshot before = engine->Stats();
  clock.now += 2'000'000;
  const StatsSnapshot after = engine->Stats();
  const SlotSeconds passed = after.slot_seconds.Since(before.slot_seconds);
  EXPECT_DOUBLE_EQ(passed.total(), 2 * 32 * 4);
  EXPECT_DOUBLE_EQ(passed[SlotState::kToken], 2.0 * static_cast<double>(before.scheduler.slots[SlotState::kToken]));
  EXPECT_DOUBLE_EQ(passed.waste_pct(), before.scheduler.slots.waste_pct());
  EXPECT_DOUBLE_EQ(after.running_seconds - before.running_seconds, 2);
  EXPECT_GE(after.most_slots[SlotState::kToken], before.scheduler.slots[SlotState::kToken]);
}

TEST(Engine, WhoeverIsToldFindsItInTheNumbersAlready) {
  const auto engine = MakeEngine();
  RequestHandle handle = *engine->Submit(Ask({1, 2, 3}, 5));
  std::vector<uint64_t> seen;
  std::optional<OutputDelta> delta;
  uint32_t num_output_tokens = 0;
  handle.SetNotify([&] { seen.push_back(engine->Stats().generation_tokens); });
  while (!delta || !delta->finished()) {
    engine->Step();
    if (!(delta = handle.TryNext())) continue;
    num_output_tokens = delta->num_output_tokens;
    EXPECT_EQ(seen.back(), num_output_tokens);
  }
  EXPECT_EQ(num_output_tokens, 5U);
  EXPECT_EQ(engine->Stats().finished[FinishReason::kLength], 1U);
}

TEST(Engine, DestroyingAHandleFreesItsSequenceWithinOneStep) {
  const auto engine = MakeEngine();
  RequestHandle kept = *engine->Submit(Ask({1, 2, 3}, 40));
  {
    const RequestHandle dropped = *engine->Submit(Ask({4, 5, 6}, 40));
    for (int i = 0; i < 5; ++i) engine->Step();
    EXPECT_EQ(engine->Stats().scheduler.num_running, 2U);
  }
  engine->Step();
  EXPECT_EQ(engine->Stats().scheduler.num_running, 1U);
  EXPECT_EQ(engine->Stats().finished[FinishReason::kAbort], 1U);
  RunDry(*engine);
  EXPECT_EQ(kept.TryNext()->token_ids, FakeRunner::Continue({1, 2, 3}, 1, 40, kVocab));
}

TEST(Engine, ANanEndsItsRequestAndNoOther) {
  auto runner = SmallRunner();
  FakeRunner& fake = *runner;
  const auto engine = MakeEngine(SmallOptions(), std::move(runner));
  RequestHandle bad = *engine->Submit(Ask({1, 2, 3}, 10));
  RequestHandle good = *engine->Submit(Ask({4, 5, 6}, 10));
  fake.InjectNan(bad.id(), 5);
  RunDry(*engine);
  const std::optional<OutputDelta> failed = bad.TryNext();
  EXPECT_EQ(failed->finish_reason, FinishReason::kError);
  ASSERT_TRUE(failed->error);
  EXPECT_NE(failed->error->message.find("NaN"), std::string::npos);
  EXPECT_EQ(good.TryNext()->token_ids, FakeRunner::Continue({4, 5, 6}, 1, 10, kVocab));
}

TEST(Engine, TraceHoldsEveryPlanAndResult) {
  EngineOptions options = SmallOptions();
  const TemporaryDirectory directory;
  options.trace_path = directory.path() + "/trace";
  {
    const auto engine = MakeEngine(options);
    const RequestHandle handle = *engine->Submit(Ask({1, 2, 3}, 5));
    RunDry(*engine);
  }
  Result<TraceReader> reader = TraceReader::Open(options.trace_path);
  ASSERT_TRUE(reader.ok());
  StepPlan plan;
  StepResult recorded, replayed;
  const auto fresh = SmallRunner();
  int steps = 0;
  while (true) {
    const Result<TraceReader::Kind> kind = reader->Next(plan, recorded);
    ASSERT_TRUE(kind.ok());
    if (*kind == TraceReader::Kind::kEnd) break;
    if (*kind == TraceReader::Kind::kPlan) continue;
    ASSERT_TRUE(fresh->Run(plan, replayed).ok());
    EXPECT_EQ(replayed.tokens, recorded.tokens);
    ++steps;
  }
  EXPECT_EQ(steps, 5);
}

}  // namespace
}  // namespace quire
