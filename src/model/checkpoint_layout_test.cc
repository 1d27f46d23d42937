// The many ways in which people's directories lay out the same weights: each loads, and computes the same.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "backend/backend_factory.h"
#include "model/model.h"
#include "model/model_testing.h"

namespace quire {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::RawTensor;
using testing::ReadRawTensors;
using testing::ReadWholeFile;
using testing::SafetensorsBytes;
using testing::ScratchDirectory;

using Tensors = std::vector<RawTensor>;

constexpr const char* kFirst = "model-00001-of-00002.safetensors";
constexpr const char* kSecond = "model-00002-of-00002.safetensors";
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kHead = "lm_head.weight";
constexpr const char* kEmbedding = "model.embed_tokens.weight";

struct Loaded {
  std::vector<float> logits;
  std::vector<std::string> warnings;
  bool tied = false;
};

class CheckpointLayoutTest : public ::testing::Test {
 protected:
  CheckpointLayoutTest() {
    config_ = json::parse(ReadWholeFile(GoldenModelDirectory("llama2") + "/config.json"));
    tensors_ = ReadRawTensors(GoldenModelDirectory("llama2") + "/model.safetensors");
    const auto middle = tensors_.begin() + static_cast<std::ptrdiff_t>(tensors_.size() / 2);
    first_ = Tensors(tensors_.begin(), middle);
    second_ = Tensors(middle, tensors_.end());
  }

  RawTensor& Find(Tensors& tensors, const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const RawTensor& t) { return t.name == name; });
  }
  json Index() const {
    json map;
    for (const RawTensor& tensor : first_) map[tensor.name] = kFirst;
    for (const RawTensor& tensor : second_) map[tensor.name] = kSecond;
    return map;
  }
  void Write(const char* name, const Tensors& tensors) { directory_.Write(name, SafetensorsBytes(tensors)); }
  void WriteShards() {
    Write(kFirst, first_);
    Write(kSecond, second_);
  }
  void WriteIndex(const json& map) { directory_.Write(kIndexName, json{{"weight_map", map}}.dump()); }

  // Loads what is in the directory; what MeasureModel says must agree.
  Loaded Load() {
    directory_.Write("config.json", config_.dump());
    const auto backend = MakeCpuBackend({.isa = "ref"});
    const auto model = Model::Load(directory_.path(), **backend, {});
    const auto footprint = MeasureModel(directory_.path(), **backend, {});
    EXPECT_TRUE(model.ok()) << model.error().message;
    EXPECT_TRUE(footprint.ok());
    if (!model.ok() || !footprint.ok()) return {};
    EXPECT_EQ((*model)->num_parameters(), footprint->num_parameters);
    const std::vector<int32_t> ids = {5, 9, 2, 77};
    testing::SequenceRunner runner(**backend, **model, {}, 1, 4, 4);
    return {runner.Feed(ids), (*model)->config().warnings, (*model)->config().tie_word_embeddings};
  }
  // The logits of the untouched model.
  const std::vector<float>& Expected() {
    if (expected_.empty()) {
      Write(kSingle, tensors_);
      expected_ = Load().logits;
      std::filesystem::remove(directory_.File(kSingle));
    }
    return expected_;
  }

  ScratchDirectory directory_;
  json config_;
  Tensors tensors_, first_, second_;
  std::vector<float> expected_;
};

TEST_F(CheckpointLayoutTest, AnIndexNamesFilesAndShardsHoldTensors) {
  Expected();
  WriteShards();
  const json good = Index();
  json stale = good;
  stale["model.layers.0.self_attn.rotary_emb.inv_freq"] = kFirst;
  stale["never.seen.weight"] = "model-00009-of-00009.safetensors";
  json swapped = good;
  std::swap(swapped[first_.front().name], swapped[second_.front().name]);
  json short_of_one = good;
  short_of_one.erase(first_.front().name);
  for (const json& map : {good, stale, swapped, short_of_one}) {
    WriteIndex(map);
    EXPECT_TRUE(Load().logits == Expected()) << map;
  }
}

TEST_F(CheckpointLayoutTest, ShardsLoadWithoutAnIndex) {
  Expected();
  WriteShards();
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, AStaleSingleFileBesideShardsIsNotRead) {
  Expected();
  WriteShards();
  WriteIndex(Index());
  directory_.Write(kSingle, "torn");
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, AnIndexWhoseShardsAreGoneIsNotHeeded) {
  Expected();
  Write(kSingle, tensors_);
  WriteIndex(Index());
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, OtherLayoutsBesideTheWeightsAreNotRead) {
  Expected();
  WriteShards();
  directory_.Write("consolidated.safetensors", "another layout");
  directory_.Write("adapter_model.safetensors", "an adapter");
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, ATensorThatIsThereTwiceIsTakenFromWhereTheIndexSays) {
  Expected();
  RawTensor zeros = first_.front();
  zeros.data.assign(zeros.data.size(), '\0');
  second_.push_back(zeros);
  WriteShards();
  json map = Index();
  map[zeros.name] = kFirst;
  WriteIndex(map);
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, NamesWithoutThePrefixLoad) {
  Expected();
  for (RawTensor& tensor : tensors_) {
    if (tensor.name.starts_with("model.")) tensor.name = tensor.name.substr(6);
  }
  Write(kSingle, tensors_);
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, DoublePrecisionIsNarrowed) {
  Expected();
  for (RawTensor& tensor : tensors_) {
    ASSERT_EQ(tensor.dtype, "F32");
    std::string doubles(tensor.data.size() * 2, '\0');
    for (size_t i = 0; i < tensor.data.size() / sizeof(float); ++i) {
      float value = 0;
      std::memcpy(&value, tensor.data.data() + i * sizeof(float), sizeof(float));
      const double wide = value;
      std::memcpy(doubles.data() + i * sizeof(double), &wide, sizeof(double));
    }
    tensor.dtype = "F64";
    tensor.data = std::move(doubles);
  }
  Write(kSingle, tensors_);
  config_["torch_dtype"] = "float64";
  EXPECT_TRUE(Load().logits == Expected());
  config_["torch_dtype"] = "auto";
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, TensorsThatNobodyAsksForMayBeOfAnyType) {
  Expected();
  tensors_.push_back({"model.layers.0.self_attn.k_scale", "F8_E4M3FNUZ", {4}, "abcd"});
  tensors_.push_back({"model.layers.0.self_attn.masked_bias", "I4", {3}, "ab"});
  Write(kSingle, tensors_);
  EXPECT_TRUE(Load().logits == Expected());
}

TEST_F(CheckpointLayoutTest, AStoredHeadThatDiffersIsUsedWhateverTheConfigSays) {
  Expected();
  Write(kSingle, tensors_);
  config_["tie_word_embeddings"] = true;
  const Loaded loaded = Load();
  EXPECT_TRUE(loaded.logits == Expected());
  EXPECT_FALSE(loaded.tied);
  EXPECT_THAT(loaded.warnings, ElementsAre(HasSubstr("lm_head.weight differs from the embedding")));
}

TEST_F(CheckpointLayoutTest, AHeadThatIsEqualOrAbsentIsTied) {
  Find(tensors_, kHead).data = Find(tensors_, kEmbedding).data;
  Write(kSingle, tensors_);
  const Loaded untied = Load();
  EXPECT_FALSE(untied.tied);
  config_["tie_word_embeddings"] = true;
  const Loaded equal = Load();
  EXPECT_TRUE(equal.tied);
  EXPECT_TRUE(equal.logits == untied.logits);
  EXPECT_THAT(equal.warnings, IsEmpty());

  std::erase_if(tensors_, [](const RawTensor& tensor) { return tensor.name == kHead; });
  Write(kSingle, tensors_);
  EXPECT_TRUE(Load().logits == untied.logits);
  config_["tie_word_embeddings"] = false;
  const Loaded absent = Load();
  EXPECT_TRUE(absent.tied);
  EXPECT_TRUE(absent.logits == untied.logits);
  EXPECT_THAT(absent.warnings, ElementsAre(HasSubstr("there is no lm_head.weight")));
}

TEST_F(CheckpointLayoutTest, ATiedEmbeddingMayBeStoredAsTheHead) {
  Find(tensors_, kHead).data = Find(tensors_, kEmbedding).data;
  config_["tie_word_embeddings"] = true;
  Write(kSingle, tensors_);
  const Loaded both = Load();
  std::erase_if(tensors_, [](const RawTensor& tensor) { return tensor.name == kEmbedding; });
  Write(kSingle, tensors_);
  EXPECT_TRUE(Load().logits == both.logits);
}

TEST_F(CheckpointLayoutTest, ATiedHeadOfAnotherShapeIsIgnored) {
  RawTensor& head = Find(tensors_, kHead);
  head.shape = {1, head.shape[0] * head.shape[1]};
  Write(kSingle, tensors_);
  config_["tie_word_embeddings"] = true;
  const Loaded loaded = Load();
  EXPECT_TRUE(loaded.tied);
  EXPECT_THAT(loaded.warnings, ElementsAre(HasSubstr("lm_head.weight")));
}

// The index says that there is a head: it is lost, not tied.
TEST_F(CheckpointLayoutTest, AHeadInALostShardIsMissed) {
  const auto is_head = [](const RawTensor& tensor) { return tensor.name == kHead; };
  std::erase_if(first_, is_head);
  std::erase_if(second_, is_head);
  WriteShards();
  json map = Index();
  map[kHead] = "model-00003-of-00003.safetensors";
  WriteIndex(map);
  directory_.Write("config.json", config_.dump());
  const auto backend = MakeCpuBackend({.isa = "ref"});
  const auto footprint = MeasureModel(directory_.path(), **backend, {});
  ASSERT_FALSE(footprint.ok());
  EXPECT_THAT(footprint.error().message, HasSubstr("model-00003-of-00003.safetensors: which is missing"));
}

}  // namespace
}  // namespace quire
