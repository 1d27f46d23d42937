#include "runner/model_runner.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "base/env.h"
#include "runner/plan_driver_testing.h"
#include "runner/tiny_model_testing.h"

namespace quire {
namespace {

using nlohmann::json;

constexpr int32_t kMaxLen = 512;

ModelRunnerOptions Options(int32_t block_size = 16) {
  return {.max_num_seqs = 16,
          .max_num_batched_tokens = 1024,
          .max_model_len = kMaxLen,
          .num_blocks = 4096 / block_size,
          .block_size = block_size,
          .kv_dtype = DType::kF32};
}

PlanDriver Drive(ModelRunner& runner) {
  return {runner, static_cast<uint32_t>(runner.kv_shape().num_blocks),
          static_cast<uint32_t>(runner.kv_shape().block_size)};
}

json ReadJson(const std::string& path) {
  const Result<std::string> text = Env::Posix().ReadFile(path);
  EXPECT_TRUE(text.ok());
  return json::parse(text.value());
}

SamplingParams Greedy(int32_t max_tokens) {
  SamplingParams params;
  params.temperature = 0;
  params.max_tokens = max_tokens;
  return params;
}

std::vector<int32_t> RandomPrompt(std::mt19937& random, size_t length, int32_t vocab) {
  std::vector<int32_t> prompt(length);
  for (int32_t& token : prompt) token = static_cast<int32_t>(random() % static_cast<unsigned>(vocab));
  return prompt;
}

void ExpectNear(const std::vector<Spoken>& scores, const json& expected) {
  ASSERT_EQ(scores.size(), expected.size());
  for (size_t i = 0; i < scores.size(); ++i) EXPECT_NEAR(scores[i].logprob, expected[i].get<float>(), 2e-3F) << i;
}

class OnEveryIsa : public testing::TestWithParam<std::string> {};

TEST_P(OnEveryIsa, GreedyTokensAndPromptLogprobsAreTheGoldens) {
  for (const std::string name : {"llama3", "mistral-window", "qwen2", "qwen3-untied"}) {
    SCOPED_TRACE(name);
    const json golden = ReadJson(GoldenDirectory(name) + "/golden.json");
    const TestModel model = LoadTestModel(GoldenDirectory(name), 1, GetParam());
    const auto runner = model.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    for (const json& prompt : golden["prompts"]) {
      SamplingParams params = Greedy(static_cast<int32_t>(prompt["greedy_ids"].size()));
      params.prompt_logprobs = 0;
      driver.Add(prompt["prompt_ids"], params);
    }
    driver.Run();
    for (size_t i = 0; i < golden["prompts"].size(); ++i) {
      EXPECT_EQ(driver[i].output_ids(), golden["prompts"][i]["greedy_ids"].get<std::vector<int32_t>>());
      ExpectNear(driver[i].scores, golden["prompts"][i]["prompt_logprobs"]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ModelRunner, OnEveryIsa, testing::ValuesIn(SupportedCpuIsas()), [](const auto& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
});

TEST(ModelRunner, TellsTheStoriesOfTheSharedReference) {
  const char* data = std::getenv("QUIRE_TEST_DATA");
  const std::string root = data != nullptr ? data : std::string(QUIRE_SOURCE_DIR) + "/../shared/data";
  const std::string directory = root + "/models/stories260K";
  if (!Env::Posix().Exists(directory)) GTEST_SKIP() << "test data absent: " << directory;
  const json reference = ReadJson(directory + "/reference.json");
  const TestModel model = LoadTestModel(directory);
  const auto runner = model.MakeRunner(Options());
  PlanDriver driver = Drive(*runner);
  for (const json& story : reference["cases"]) {
    SamplingParams params = Greedy(static_cast<int32_t>(story["greedy_ids"].size()));
    params.logprobs = 5;
    driver.Add(story["prompt_ids"], params);
  }
  driver.Run();
  for (size_t i = 0; i < reference["cases"].size(); ++i) {
    const json& story = reference["cases"][i];
    EXPECT_EQ(driver[i].output_ids(), story["greedy_ids"].get<std::vector<int32_t>>());
    ExpectNear(driver[i].output, story["greedy_logprobs"]);
  }
}

SamplingParams RandomParams(std::mt19937& random) {
  SamplingParams params;
  params.temperature = random() % 3 == 0 ? 0.0F : 0.9F;
  params.seed = random();
  params.top_p = random() % 2 == 0 ? 1.0F : 0.9F;
  params.repetition_penalty = random() % 3 == 0 ? 1.2F : 1.0F;
  params.max_tokens = 1 + static_cast<int32_t>(random() % 20);
  if (random() % 2 == 0) params.logprobs = static_cast<int32_t>(random() % 6);
  if (random() % 2 == 0) params.prompt_logprobs = static_cast<int32_t>(random() % 4);
  return params;
}

// Requests of every kind, and what each says alone.
struct ServedAlone {
  std::vector<std::pair<std::vector<int32_t>, SamplingParams>> requests;
  std::vector<DrivenSequence> alone;
};

ServedAlone ServeAlone(std::mt19937& random) {
  ServedAlone served;
  for (int i = 0; i < 12; ++i) {
    served.requests.emplace_back(RandomPrompt(random, 1 + random() % 90, 288), RandomParams(random));
  }
  const TestModel reference = LoadTestModel(GoldenDirectory("qwen3-untied"));
  for (const auto& [prompt, params] : served.requests) {
    const auto runner = reference.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    driver.Add(prompt, params);
    driver.Run();
    served.alone.push_back(driver[0]);
  }
  return served;
}

TEST(ModelRunner, ChunksBlockSizesBatchesAndThreadsDoNotShowInTheOutput) {
  const unsigned seed = 31;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const auto [requests, alone] = ServeAlone(random);
  for (const int num_threads : {1, 2}) {
    const TestModel model = LoadTestModel(GoldenDirectory("qwen3-untied"), num_threads);
    for (const int32_t block_size : {1, 4, 32}) {
      const auto runner = model.MakeRunner(Options(block_size));
      PlanDriver driver = Drive(*runner);
      for (const auto& [prompt, params] : requests) driver.Add(prompt, params);
      while (driver.Step(1 + static_cast<uint32_t>(random() % 40))) {
      }
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(driver[i].output, alone[i].output) << "threads " << num_threads << " block " << block_size;
        EXPECT_EQ(driver[i].scores, alone[i].scores);
      }
    }
  }
}

// Drafts that are right for a while and then are not, or go past the end.
TEST(ModelRunner, DraftsThatAreVerifiedDoNotShowInTheOutput) {
  const unsigned seed = 32;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const ServedAlone served = ServeAlone(random);
  const auto& requests = served.requests;
  const auto& alone = served.alone;
  int num_verified = 0, num_accepted = 0;
  const auto draft = [&](const DrivenSequence& sequence) {
    const auto is_it = [&](const DrivenSequence& other) {
      return other.tokens.size() >= sequence.tokens.size() && other.num_prompt == sequence.num_prompt &&
             std::equal(sequence.tokens.begin(), sequence.tokens.end(), other.tokens.begin());
    };
    const DrivenSequence& whole = *std::find_if(alone.begin(), alone.end(), is_it);
    std::vector<int32_t> drafts;
    const size_t num_right = random() % 8, num_wrong = random() % 3;
    for (size_t i = sequence.tokens.size(); i < whole.tokens.size() && drafts.size() < num_right; ++i) {
      drafts.push_back(whole.tokens[i]);
    }
    num_accepted += static_cast<int>(drafts.size());
    for (size_t i = 0; i < num_wrong; ++i) drafts.push_back(static_cast<int32_t>(random() % 288));
    num_verified += static_cast<int>(drafts.size());
    return drafts;
  };
  const TestModel model = LoadTestModel(GoldenDirectory("qwen3-untied"), 2);
  for (const int32_t block_size : {1, 4, 32}) {
    const auto runner = model.MakeRunner(Options(block_size));
    PlanDriver driver = Drive(*runner);
    driver.set_draft(draft);
    for (const auto& [prompt, params] : requests) driver.Add(prompt, params);
    while (driver.Step(1 + static_cast<uint32_t>(random() % 40))) {
    }
    for (size_t i = 0; i < requests.size(); ++i) {
      EXPECT_EQ(driver[i].output, alone[i].output) << "request " << i << " block " << block_size;
      EXPECT_EQ(driver[i].scores, alone[i].scores);
    }
  }
  EXPECT_GT(num_accepted, 100);
  EXPECT_GT(num_verified - num_accepted, 50);
}

TEST(ModelRunner, PromptLogprobsOfALongPromptAreTheSameInOneChunkAndInMany) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  std::mt19937 random(4);
  SamplingParams params = Greedy(1);
  params.prompt_logprobs = 3;
  const std::vector<int32_t> prompt = RandomPrompt(random, 300, 288);
  std::vector<Spoken> first;
  for (const uint32_t chunk : {1000U, 300U, 64U, 7U, 1U}) {
    const auto runner = model.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    driver.Add(prompt, params);
    driver.Run(chunk);
    ASSERT_EQ(driver[0].scores.size(), 299U);
    if (first.empty()) first = driver[0].scores;
    EXPECT_EQ(driver[0].scores, first) << "chunk " << chunk;
  }
  for (size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].token, prompt[i + 1]);
    EXPECT_EQ(first[i].candidates.size(), 3U);
  }
}

TEST(ModelRunner, PenaltiesSeeAHistoryThatLeftAndCameBack) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  SamplingParams params = Greedy(24);
  params.frequency_penalty = 1;
  params.repetition_penalty = 1.3F;
  std::mt19937 random(9);
  const std::vector<int32_t> prompt = RandomPrompt(random, 20, 288);
  const auto runner = model.MakeRunner(Options());
  PlanDriver whole = Drive(*runner);
  whole.Add(prompt, params);
  whole.Run();

  // Readmitted after 10 tokens, with its history, and computed again.
  const auto other = model.MakeRunner(Options());
  PlanDriver resumed = Drive(*other);
  DrivenSequence& sequence = resumed.Add(whole[0].tokens, params);
  sequence.num_prompt = 20;
  sequence.tokens.resize(30);
  sequence.output.assign(whole[0].output.begin(), whole[0].output.begin() + 10);
  resumed.Run();
  EXPECT_EQ(resumed[0].output, whole[0].output);
}

TEST(ModelRunner, StopTokensAreMaskedBeforeMinTokens) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  const std::vector<int32_t> prompt = {5, 6, 7};
  const auto first_token = [&](int32_t min_tokens, std::vector<int32_t> stops) {
    const auto runner = model.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    SamplingParams params = Greedy(1);
    params.min_tokens = min_tokens;
    driver.Add(prompt, params).stop_token_ids = std::move(stops);
    driver.Run();
    return driver[0].output_ids()[0];
  };
  const int32_t favourite = first_token(0, {});
  EXPECT_EQ(first_token(0, {favourite}), favourite);
  EXPECT_NE(first_token(1, {favourite}), favourite);
}

TEST(ModelRunner, ASharedBlockIsCopiedBeforeItIsWritten) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  const std::vector<int32_t> prompt = {11, 12, 13, 14, 15, 16};
  const auto runner = model.MakeRunner(Options(4));
  const auto admit = [&](uint32_t seat) {
    return Admission{.seat = SeatId{seat}, .params = Greedy(9), .history = prompt, .num_prompt_tokens = 6};
  };
  StepPlan plan;
  StepResult first, second;
  plan.admissions = {admit(0)};
  plan.appended_blocks = {{SeatId{0}, 0, 0, BlockId{9}}, {SeatId{0}, 0, 1, BlockId{3}}};
  plan.spans = {{SeatId{0}, 0, 6, 0}};
  plan.tokens = prompt;
  plan.tasks = {{.row = 5, .seat = SeatId{0}, .position = 6}};
  ASSERT_TRUE(runner->Run(plan, first).ok());

  // Seat 1 shares both blocks; each seat then writes its own position 6, seat 1 into a copy.
  plan.Clear();
  plan.admissions = {admit(1)};
  plan.appended_blocks = {{SeatId{1}, 0, 0, BlockId{9}}, {SeatId{1}, 0, 1, BlockId{3}}};
  plan.copies = {{SeatId{1}, 0, 1, BlockId{3}, BlockId{7}}};
  plan.spans = {
      {SeatId{0}, 0, 1, 6},
      {SeatId{1}, 1, 1, 6},
  };
  plan.tokens = {100, 200};
  plan.tasks = {{.row = 0, .seat = SeatId{0}, .position = 7}, {.row = 1, .seat = SeatId{1}, .position = 7}};
  ASSERT_TRUE(runner->Run(plan, second).ok());
  for (size_t i = 0; i < 2; ++i) {
    const auto fresh = model.MakeRunner(Options());
    PlanDriver driver = Drive(*fresh);
    std::vector<int32_t> tokens = prompt;
    tokens.push_back(i == 0 ? 100 : 200);
    driver.Add(tokens, Greedy(1));
    driver.Run();
    EXPECT_EQ(second.tokens[i].token, driver[0].output[0].token);
  }
}

TEST(ModelRunner, ForksGoOnAsSeparateSequencesWould) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  std::mt19937 random(77);
  SamplingParams params;
  params.temperature = 1.2F;
  params.seed = 5;
  params.max_tokens = 30;
  params.logprobs = 2;
  params.repetition_penalty = 1.3F;
  params.frequency_penalty = 0.7F;
  params.presence_penalty = 0.3F;
  const std::vector<int32_t> prompt = RandomPrompt(random, 21, 288);
  for (const int32_t block_size : {1, 4, 16}) {
    const auto runner = model.MakeRunner(Options(block_size));
    PlanDriver driver = Drive(*runner);
    driver.Add(prompt, params).num_draws = 4;
    driver.Add(RandomPrompt(random, 30, 288), Greedy(40));  // somebody else
    driver.Run(8);
    for (const uint32_t stream : {0U, 1U, 2U, 3U}) {
      const auto alone = model.MakeRunner(Options());
      PlanDriver single = Drive(*alone);
      single.Add(prompt, params).stream = stream;
      single.Run();
      const DrivenSequence& forked = driver[stream == 0 ? 0 : stream + 1];
      EXPECT_EQ(forked.stream, stream);
      EXPECT_EQ(forked.output, single[0].output) << "stream " << stream << " block " << block_size;
    }
  }
}

TEST(ModelRunner, AForkInTheMiddleAndOneIntoATakenSeatTakeTheParentsPlace) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  std::mt19937 random(6);
  SamplingParams params = Greedy(24);
  params.frequency_penalty = 2;
  const std::vector<int32_t> prompt = RandomPrompt(random, 10, 288);
  const auto runner = model.MakeRunner(Options(4));
  PlanDriver driver = Drive(*runner);
  driver.Add(prompt, params);
  for (int step = 0; step < 9; ++step) driver.Step(100);
  const size_t child = driver.Fork(0, 1);
  driver.Step(100);
  driver.Run();
  EXPECT_EQ(driver[child].output, driver[0].output);

  // Seat 1 holds another sequence, with other parameters; the fork replaces it.
  const auto other = model.MakeRunner(Options(4));
  PlanDriver plans(*other, 800, 4);
  plans.Add(prompt, params);
  plans.Add(RandomPrompt(random, 17, 288), Greedy(40));
  for (int step = 0; step < 9; ++step) plans.Step(100);
  StepPlan plan = plans.MakePlan(100);
  ASSERT_EQ(plan.spans.size(), 2U);
  plan.forks = {{SeatId{0}, SeatId{1}, 1}};
  plan.appended_blocks.clear();
  // Both write position 18 next, in block 4 of the table: each into its own copy.
  const uint32_t position = plan.spans[0].first_position;
  ASSERT_EQ(position, 18U);
  plan.copies = {{SeatId{1}, 0, 4, plans[0].blocks[4], BlockId{900}}};
  plan.spans[1].first_position = position;
  plan.tokens[1] = plan.tokens[0];
  plan.tasks[1].position = plan.tasks[0].position;
  ASSERT_TRUE(other->Run(plan, plans.result()).ok());
  EXPECT_EQ(plans.result().tokens[0].token, driver[0].output[9].token);
  EXPECT_EQ(plans.result().tokens[1].token, driver[0].output[9].token);
}

TEST(ModelRunner, ABestTaskGivesTheMostLikelyTokensThatAreNotMasked) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  const std::vector<int32_t> prompt = {5, 6, 7};
  // Temperature and penalties do not change the raw distribution.
  SamplingParams params = Greedy(1);
  params.logprobs = 20;
  params.repetition_penalty = 5;
  const auto run = [&](RowTask::Kind kind, uint32_t draws, std::vector<int32_t> stops, int32_t min_tokens) {
    const auto runner = model.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    params.min_tokens = min_tokens;
    driver.Add(prompt, params).stop_token_ids = std::move(stops);
    StepPlan plan = driver.MakePlan(8);
    plan.tasks[0].kind = kind;
    plan.tasks[0].draws = draws;
    StepResult result;
    EXPECT_TRUE(runner->Run(plan, result).ok());
    return result;
  };
  const StepResult sampled = run(RowTask::Kind::kSample, 1, {}, 0);
  ASSERT_EQ(sampled.candidates.size(), 20U);
  const StepResult best = run(RowTask::Kind::kBest, 12, {}, 0);
  EXPECT_TRUE(best.candidates.empty());
  ASSERT_EQ(best.tasks[0].num_tokens, 12U);
  for (uint32_t i = 0; i < 12; ++i) {
    EXPECT_EQ(best.tokens[i].token, sampled.candidates[i].token);
    EXPECT_EQ(best.tokens[i].logprob, sampled.candidates[i].logprob);
    EXPECT_EQ(best.tokens[i].rank, i + 1);
  }
  const int32_t second = best.tokens[1].token;
  EXPECT_EQ(run(RowTask::Kind::kBest, 12, {second}, 0).tokens[1].token, second);
  const StepResult masked = run(RowTask::Kind::kBest, 12, {second}, 1);
  ASSERT_EQ(masked.tasks[0].num_tokens, 12U);
  EXPECT_EQ(masked.tokens[0].token, best.tokens[0].token);
  for (uint32_t i = 1; i < 11; ++i) EXPECT_EQ(masked.tokens[i], best.tokens[i + 1]);
  EXPECT_EQ(run(RowTask::Kind::kBest, 1000, {second}, 1).tasks[0].num_tokens, 287U);
}

TEST(ModelRunner, BestTasksStandBesideOthersInOneStep) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"), 2);
  const auto runner = model.MakeRunner(Options());
  PlanDriver driver = Drive(*runner);
  SamplingParams params = Greedy(1);
  params.logprobs = 3;
  for (int32_t i = 0; i < 6; ++i) driver.Add({5, 6, 7 + i}, params);
  StepPlan plan = driver.MakePlan(8);
  for (size_t i = 0; i < 6; i += 2) {
    plan.tasks[i].kind = RowTask::Kind::kBest;
    plan.tasks[i].draws = static_cast<uint32_t>(3 + i);
  }
  StepResult result;
  ASSERT_TRUE(runner->Run(plan, result).ok());
  for (size_t i = 0; i < 6; ++i) {
    const TaskResult& task = result.tasks[i];
    const TokenOutput& first = result.tokens[task.first_token];
    EXPECT_EQ(task.num_tokens, i % 2 == 0 ? 3 + i : 1U);
    EXPECT_EQ(first.rank, 1U);
    EXPECT_EQ(first.num_candidates, i % 2 == 0 ? 0U : 3U);
  }
}

TEST(ModelRunner, MasksThatFollowDecideWhatMayBeDrawn) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  const auto runner = model.MakeRunner(Options());
  PlanDriver driver = Drive(*runner);
  driver.Add({1, 2, 3}, Greedy(1));
  StepPlan plan = driver.MakePlan(8);
  plan.masks_follow = true;
  std::vector<uint32_t> bits(288 / 32, 0);
  bits[2] = 1U << 5;
  const StepMasks masks = {.words_per_mask = static_cast<uint32_t>(bits.size()), .words = bits, .offsets = {0}};
  ASSERT_TRUE(runner->Submit(plan).ok());
  ASSERT_TRUE(runner->Sample(masks).ok());
  ASSERT_TRUE(runner->Collect(driver.result()).ok());
  driver.Take();
  EXPECT_EQ(driver[0].output_ids(), std::vector<int32_t>{69});
}

TEST(ModelRunner, RefusesImpossibleOptions) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  ModelRunnerOptions options = Options();
  options.block_size = 24;
  EXPECT_EQ(ModelRunner::Create(*model.backend, *model.model, options).error().code, ErrorCode::kInvalidArgument);
  options = Options();
  options.num_blocks = 0;
  EXPECT_EQ(ModelRunner::Create(*model.backend, *model.model, options).error().code, ErrorCode::kInvalidArgument);
}

TEST(RunnerScratchBytes, GrowsWithThreads) {
  const TestModel model = LoadTestModel(GoldenDirectory("qwen2"));
  const auto bytes = [&](int num_threads) {
    const auto backend = *MakeCpuBackend({.num_threads = num_threads});
    return RunnerScratchBytes(model.model->config(), *backend, Options());
  };
  EXPECT_GT(bytes(2), bytes(1));
}

// A copy of a checkpoint whose embedding of one token is NaN.
class PoisonedCheckpoint {
 public:
  PoisonedCheckpoint(const std::string& source, int32_t token)
      : directory_(std::filesystem::temp_directory_path() / ("quire-nan-" + std::to_string(::getpid()))) {
    std::filesystem::remove_all(directory_);
    std::filesystem::copy(source, directory_);
    std::fstream file(directory_ / "model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
    uint64_t header_bytes = 0;
    file.read(reinterpret_cast<char*>(&header_bytes), 8);
    std::string header(header_bytes, ' ');
    file.read(header.data(), static_cast<std::streamsize>(header_bytes));
    const json tensor = json::parse(header)["model.embed_tokens.weight"];
    const std::vector<float> nans(tensor["shape"][1].get<size_t>(), std::nanf(""));
    EXPECT_EQ(tensor["dtype"], "F32");
    const size_t row_bytes = nans.size() * sizeof(float);
    file.seekp(static_cast<std::streamoff>(8 + header_bytes + tensor["data_offsets"][0].get<size_t>() +
                                           static_cast<size_t>(token) * row_bytes));
    file.write(reinterpret_cast<const char*>(nans.data()), static_cast<std::streamsize>(row_bytes));
  }
  ~PoisonedCheckpoint() { std::filesystem::remove_all(directory_); }
  std::string directory() const { return directory_.string(); }

 private:
  std::filesystem::path directory_;
};

TEST(ModelRunner, ANanEndsItsOwnRowAndNoOther) {
  const std::string source = GoldenDirectory("qwen3-untied");
  std::mt19937 random(12);
  std::vector<std::vector<int32_t>> prompts;
  std::set<int32_t> used;
  std::vector<std::vector<Spoken>> expected;
  {
    const TestModel healthy = LoadTestModel(source);
    const auto runner = healthy.MakeRunner(Options());
    PlanDriver driver = Drive(*runner);
    for (int i = 0; i < 4; ++i) driver.Add(prompts.emplace_back(RandomPrompt(random, 10, 288)), Greedy(10));
    driver.Run();
    for (size_t i = 0; i < 4; ++i) {
      used.insert(driver[i].tokens.begin(), driver[i].tokens.end());
      expected.push_back(driver[i].output);
    }
  }
  int32_t poison = 0;
  while (used.contains(poison)) ++poison;
  const PoisonedCheckpoint checkpoint(source, poison);
  const TestModel model = LoadTestModel(checkpoint.directory());
  const auto runner = model.MakeRunner(Options());
  PlanDriver driver = Drive(*runner);
  prompts[2][6] = poison;
  for (const auto& prompt : prompts) driver.Add(prompt, Greedy(10));
  driver.Run(4);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(driver[i].failed, i == 2);
    if (i != 2) {
      EXPECT_EQ(driver[i].output, expected[i]);
    }
  }
}

}  // namespace
}  // namespace quire
