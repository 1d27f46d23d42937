// Models against Transformers and against themselves: logits and greedy tokens of every family, and the promise that
// how a sequence is cut, paged or batched changes no bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "backend/backend_factory.h"
#include "model/model.h"
#include "model/model_testing.h"

namespace quire {
namespace {

using testing::GoldenModelDirectory;
using testing::GreedyResult;
using testing::RunGreedy;
using testing::SequenceRunner;

constexpr const char* kGoldenModels[] = {"llama2",
                                         "llama2-bf16",
                                         "llama3",
                                         "llama3-nested-rope",
                                         "llama-linear-rope",
                                         "llama-yarn",
                                         "mistral-window",
                                         "mistral-full",
                                         "qwen2",
                                         "qwen2-bf16",
                                         "qwen3",
                                         "qwen3-untied",
                                         "qwen3-windows"};

std::unique_ptr<Backend> MakeBackend(const std::string& isa, int num_threads = 1) {
  auto backend = MakeCpuBackend({.num_threads = num_threads, .isa = isa});
  QUIRE_CHECK(backend.ok(), "{}", backend.error().message);
  return *std::move(backend);
}

std::unique_ptr<Model> LoadModel(const std::string& directory, Backend& backend, ComputeDType dtype) {
  auto model = Model::Load(directory, backend, {.dtype = dtype});
  QUIRE_CHECK(model.ok(), "{}", model.error().message);
  return *std::move(model);
}

struct GoldenCase {
  std::vector<int32_t> prompt;
  std::vector<float> last_logits;
  std::vector<double> prompt_logprobs;
  std::vector<int32_t> greedy_ids;
};

GoldenCase ParseCase(const nlohmann::json& json, const char* logits_field) {
  return {json["prompt_ids"], json[logits_field], json["prompt_logprobs"], json["greedy_ids"]};
}

std::vector<GoldenCase> ReadGoldens(const std::string& name) {
  const auto json = nlohmann::json::parse(testing::ReadWholeFile(GoldenModelDirectory(name) + "/golden.json"));
  std::vector<GoldenCase> cases;
  for (const auto& prompt : json["prompts"]) cases.push_back(ParseCase(prompt, "logits_last"));
  return cases;
}

std::span<const float> Row(const std::vector<float>& logits, size_t row, size_t vocab) {
  return std::span(logits).subspan(row * vocab, vocab);
}

// The largest difference, as a share of the expected logits' spread.
double RelativeError(std::span<const float> found, std::span<const float> expected) {
  double error = 0;
  for (size_t i = 0; i < expected.size(); ++i) error = std::max(error, std::abs(double{found[i]} - expected[i]));
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  return error / (double{*high} - *low);
}

double LogProb(std::span<const float> logits, int32_t token) {
  const double best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - best);
  return logits[static_cast<size_t>(token)] - best - std::log(sum);
}

struct Agreement {
  double worst_logits = 0;
  double worst_logprob = 0;
  int64_t same_ids = 0, total_ids = 0;
};

Agreement Compare(Backend& backend, const Model& model, DType kv_dtype, const std::vector<GoldenCase>& cases) {
  Agreement agreement;
  const auto vocab = static_cast<size_t>(model.config().vocab_size);
  for (const GoldenCase& golden : cases) {
    const auto count = static_cast<int32_t>(golden.greedy_ids.size());
    const GreedyResult run = RunGreedy(backend, model, {.dtype = kv_dtype}, golden.prompt, count);
    const auto last = Row(run.prompt_logits, golden.prompt.size() - 1, vocab);
    agreement.worst_logits = std::max(agreement.worst_logits, RelativeError(last, golden.last_logits));
    for (size_t i = 0; i < golden.prompt_logprobs.size(); ++i) {
      const double found = LogProb(Row(run.prompt_logits, i, vocab), golden.prompt[i + 1]);
      agreement.worst_logprob = std::max(agreement.worst_logprob, std::abs(found - golden.prompt_logprobs[i]));
    }
    for (size_t i = 0; i < golden.greedy_ids.size(); ++i) {
      agreement.same_ids += run.ids[i] == golden.greedy_ids[i];
      ++agreement.total_ids;
    }
  }
  return agreement;
}

class GoldenModelTest : public ::testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Families, GoldenModelTest, ::testing::ValuesIn(kGoldenModels), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(GoldenModelTest, AgreesWithTransformersInFloat32) {
  const auto backend = MakeBackend("auto");
  const auto model = LoadModel(GoldenModelDirectory(GetParam()), *backend, ComputeDType::kF32);
  const Agreement agreement = Compare(*backend, *model, DType::kF32, ReadGoldens(GetParam()));
  EXPECT_LE(agreement.worst_logits, 1e-5);
  EXPECT_LE(agreement.worst_logprob, 1e-4);
  EXPECT_EQ(agreement.same_ids, agreement.total_ids);
  RecordProperty("worst_logits_e9", static_cast<int>(agreement.worst_logits * 1e9));
}

TEST_P(GoldenModelTest, StaysNearTransformersInBf16) {
  const auto backend = MakeBackend("auto");
  const auto model = LoadModel(GoldenModelDirectory(GetParam()), *backend, ComputeDType::kBf16);
  EXPECT_EQ(model->compute_dtype(), DType::kBf16);
  const Agreement agreement = Compare(*backend, *model, DType::kBf16, ReadGoldens(GetParam()));
  EXPECT_LE(agreement.worst_logits, 0.03);
  RecordProperty("worst_logits_e9", static_cast<int>(agreement.worst_logits * 1e9));
  RecordProperty("greedy_same", static_cast<int>(agreement.same_ids));
}

// Cut into random chunks, in blocks of four that lie anywhere, beside another sequence: the same bits.
TEST_P(GoldenModelTest, ChunksBlocksAndNeighboursChangeNoBit) {
  const auto backend = MakeBackend("auto", 2);
  for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBf16}) {
    const auto model = LoadModel(GoldenModelDirectory(GetParam()), *backend, dtype);
    const DType kv_dtype = model->compute_dtype();
    const std::vector<GoldenCase> goldens = ReadGoldens(GetParam());
    const std::vector<int32_t>& ids = goldens.back().prompt;
    const std::vector<int32_t>& other = goldens.front().prompt;
    const auto vocab = static_cast<size_t>(model->config().vocab_size);
    const auto length = static_cast<int32_t>(ids.size());

    SequenceRunner whole(*backend, *model, {.dtype = kv_dtype}, 1, length, length);
    const std::vector<float> expected = whole.Feed(ids);

    const uint64_t seed = 20 + static_cast<uint64_t>(dtype);
    SCOPED_TRACE(seed);
    std::mt19937_64 rng(seed);
    SequenceRunner pieces(*backend, *model, {.block_size = 4, .dtype = kv_dtype, .shuffle_seed = seed}, 2, length,
                          length + 1);
    std::vector<float> found;
    size_t done = 0;
    bool first = true;
    while (done < ids.size()) {
      const size_t count = std::min<size_t>(1 + rng() % 23, ids.size() - done);
      std::vector<std::pair<int32_t, std::span<const int32_t>>> parts;
      if (first) parts.push_back({1, std::span(other).first(1)});
      parts.push_back({0, std::span(ids).subspan(done, count)});
      const std::vector<float> logits = pieces.Step(parts);
      found.insert(found.end(), logits.begin() + static_cast<std::ptrdiff_t>(first ? vocab : 0), logits.end());
      done += count;
      first = false;
    }
    EXPECT_TRUE(found == expected) << "dtype " << static_cast<int>(dtype);
  }
}

TEST(ModelTest, EveryInstructionSetGivesTheBitsOfItsReference) {
  for (const char* name : {"llama3", "qwen2-bf16", "qwen3", "mistral-window"}) {
    for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBf16}) {
      const GoldenCase golden = ReadGoldens(name)[2];
      std::map<std::string, std::vector<float>> logits;
      for (const std::string& isa : SupportedCpuIsas()) {
        const auto backend = MakeBackend(isa);
        const auto model = LoadModel(GoldenModelDirectory(name), *backend, dtype);
        logits[isa] = RunGreedy(*backend, *model, {.dtype = model->compute_dtype()}, golden.prompt, 4).step_logits;
      }
      for (const auto& [isa, found] : logits) EXPECT_TRUE(found == logits.at(ReferenceOf(isa))) << name << " " << isa;
      EXPECT_EQ(logits["ref"] == logits["ref-amx"], dtype == ComputeDType::kF32)
          << "only bf16 products have two orders";
    }
  }
}

TEST(ModelTest, DecodingOneByOneEqualsTheWholeSequence) {
  const auto backend = MakeBackend("auto");
  const auto model = LoadModel(GoldenModelDirectory("llama3"), *backend, ComputeDType::kAuto);
  const GoldenCase golden = ReadGoldens("llama3")[1];
  const GreedyResult run = RunGreedy(*backend, *model, {}, golden.prompt, 20);
  std::vector<int32_t> ids = golden.prompt;
  ids.insert(ids.end(), run.ids.begin(), run.ids.end() - 1);
  std::vector<float> expected = run.prompt_logits;
  expected.insert(expected.end(), run.step_logits.begin(), run.step_logits.end());
  const auto length = static_cast<int32_t>(ids.size());
  SequenceRunner whole(*backend, *model, {}, 1, length, length);
  EXPECT_TRUE(whole.Feed(ids) == expected);
}

TEST(ModelTest, ReproducesStories260K) {
  const std::string directory = testing::TestDataDirectory() + "/models/stories260K";
  if (!std::filesystem::exists(directory)) GTEST_SKIP() << "test data absent: " << directory;
  const auto json = nlohmann::json::parse(testing::ReadWholeFile(directory + "/reference.json"));
  std::vector<GoldenCase> cases;
  for (const auto& item : json["cases"]) cases.push_back(ParseCase(item, "last_prompt_logits"));
  const auto backend = MakeBackend("auto");
  const auto model = LoadModel(directory, *backend, ComputeDType::kAuto);
  EXPECT_EQ(model->compute_dtype(), DType::kF32);
  const Agreement agreement = Compare(*backend, *model, DType::kF32, cases);
  EXPECT_LE(agreement.worst_logits, 1e-5);
  EXPECT_LE(agreement.worst_logprob, 1e-4);
  EXPECT_EQ(agreement.same_ids, agreement.total_ids);
  RecordProperty("worst_logits_e9", static_cast<int>(agreement.worst_logits * 1e9));
}

TEST(ModelTest, FootprintEqualsTheLoadedModel) {
  for (const char* name : {"llama2", "llama3", "qwen2-bf16"}) {
    for (const char* isa : {"ref", "auto"}) {
      SCOPED_TRACE(name);
      const auto backend = MakeBackend(isa);
      const auto model = LoadModel(GoldenModelDirectory(name), *backend, ComputeDType::kF32);
      const auto measured = MeasureModel(GoldenModelDirectory(name), *backend, {.dtype = ComputeDType::kF32});
      ASSERT_TRUE(measured.ok());
      EXPECT_EQ(measured->weight_bytes, model->weight_bytes());
      EXPECT_EQ(measured->num_parameters, model->num_parameters());
      EXPECT_EQ(measured->compute_dtype, model->compute_dtype());
      EXPECT_EQ(measured->kv_shape.BytesPerToken(), model->kv_shape().BytesPerToken());
    }
  }
}

TEST(ModelTest, ADynamicRopeReachesItsFactorTimesTheOriginalLength) {
  const testing::ScratchDirectory directory;
  auto config = nlohmann::json::parse(testing::ReadWholeFile(GoldenModelDirectory("llama2") + "/config.json"));
  config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  directory.Write("config.json", config.dump());
  std::filesystem::copy_file(GoldenModelDirectory("llama2") + "/model.safetensors",
                             directory.File("model.safetensors"));
  const auto backend = MakeBackend("ref");
  EXPECT_TRUE(Model::Load(directory.path(), *backend, {.max_model_len = 1024}).ok());
  const auto beyond = Model::Load(directory.path(), *backend, {.max_model_len = 1025});
  ASSERT_FALSE(beyond.ok());
  EXPECT_NE(beyond.error().message.find("1024"), std::string::npos) << beyond.error().message;
}

TEST(ModelTest, ContextsBeyondTheModelAreRefusedFromHeadersAlone) {
  const auto backend = MakeBackend("ref");
  const auto measured = MeasureModel(GoldenModelDirectory("llama2"), *backend, {.max_model_len = 2'000'000'000});
  ASSERT_FALSE(measured.ok());
  EXPECT_EQ(measured.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(measured.error().message.find("512"), std::string::npos) << measured.error().message;
}

TEST(ModelTest, AutoKeepsWhatTheCheckpointIs) {
  const auto backend = MakeBackend("ref");
  EXPECT_EQ(LoadModel(GoldenModelDirectory("llama2"), *backend, ComputeDType::kAuto)->compute_dtype(), DType::kF32);
  EXPECT_EQ(LoadModel(GoldenModelDirectory("llama2-bf16"), *backend, ComputeDType::kAuto)->compute_dtype(),
            DType::kBf16);
}

}  // namespace
}  // namespace quire
