// Damaged and incomplete model directories: always an error that names what is wrong, from headers alone and from
// loading.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>

#include "backend/backend_factory.h"
#include "model/model.h"
#include "model/model_testing.h"
#include "model/weight_source.h"

namespace quire {
namespace {

using ::testing::AllOf;
using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using testing::RawTensor;
using testing::ReadRawTensors;
using testing::ReadWholeFile;
using testing::SafetensorsBytes;
using testing::ScratchDirectory;

std::unique_ptr<Backend> MakeRef() {
  auto backend = MakeCpuBackend({.isa = "ref"});
  QUIRE_CHECK(backend.ok());
  return *std::move(backend);
}

// Loading and measuring fail alike.
Error LoadError(const std::string& directory) {
  const auto backend = MakeRef();
  const auto model = Model::Load(directory, *backend, {});
  const auto footprint = MeasureModel(directory, *backend, {});
  EXPECT_FALSE(model.ok());
  EXPECT_FALSE(footprint.ok());
  if (model.ok() || footprint.ok()) return {};
  EXPECT_EQ(model.error().message, footprint.error().message);
  return model.error();
}

// A copy of a golden model that a test then damages.
class CheckpointFaultTest : public ::testing::Test {
 protected:
  void CopyGolden(const std::string& name) {
    const auto options = std::filesystem::copy_options::overwrite_existing;
    for (const auto& file : std::filesystem::directory_iterator(GoldenModelDirectory(name))) {
      std::filesystem::copy_file(file.path(), directory_.File(file.path().filename().string()), options);
    }
  }
  std::vector<RawTensor> Tensors() { return ReadRawTensors(GoldenModelDirectory("llama2") + "/model.safetensors"); }
  RawTensor& Find(std::vector<RawTensor>& tensors, const std::string& name) {
    return *std::find_if(tensors.begin(), tensors.end(), [&](const RawTensor& t) { return t.name == name; });
  }
  std::string LoadMessage(const std::vector<RawTensor>& tensors) {
    CopyGolden("llama2");
    directory_.Write("model.safetensors", SafetensorsBytes(tensors));
    return LoadError(directory_.path()).message;
  }

  ScratchDirectory directory_;
};

TEST_F(CheckpointFaultTest, MissingTensorIsNamedWithItsShape) {
  for (const char* name : {"model.embed_tokens.weight", "model.layers.1.self_attn.k_proj.weight",
                           "model.layers.0.post_attention_layernorm.weight", "model.norm.weight"}) {
    std::vector<RawTensor> tensors = Tensors();
    std::erase_if(tensors, [&](const RawTensor& t) { return t.name == name; });
    EXPECT_THAT(LoadMessage(tensors), AllOf(HasSubstr(name), HasSubstr("is missing"), HasSubstr("[")));
  }
}

TEST_F(CheckpointFaultTest, WrongShapeSaysWhatIsThereAndWhatIsWanted) {
  std::vector<RawTensor> tensors = Tensors();
  Find(tensors, "model.layers.0.mlp.down_proj.weight").shape = {128, 64};
  EXPECT_THAT(LoadMessage(tensors), AllOf(HasSubstr("model.safetensors"), HasSubstr("mlp.down_proj.weight"),
                                          HasSubstr("has shape [128, 64]"), HasSubstr("asks for [64, 128]")));
  tensors = Tensors();
  Find(tensors, "model.norm.weight").shape = {64, 1};
  EXPECT_THAT(LoadMessage(tensors), AllOf(HasSubstr("[64, 1]"), HasSubstr("[64]")));
}

TEST_F(CheckpointFaultTest, IntegerWeightsAreRefused) {
  std::vector<RawTensor> tensors = Tensors();
  Find(tensors, "model.layers.1.mlp.up_proj.weight").dtype = "I32";
  EXPECT_THAT(LoadMessage(tensors), AllOf(HasSubstr("layers.1.mlp.up_proj.weight"), HasSubstr("I32")));
}

TEST_F(CheckpointFaultTest, ConfigOfAnotherModelIsAnErrorOfShapes) {
  CopyGolden("llama2");
  std::string config = ReadWholeFile(directory_.File("config.json"));
  const std::string from = "\"num_hidden_layers\": 2";
  ASSERT_NE(config.find(from), std::string::npos);
  directory_.Write("config.json", config.replace(config.find(from), from.size(), "\"num_hidden_layers\": 3"));
  EXPECT_THAT(LoadError(directory_.path()).message, HasSubstr("model.layers.2.input_layernorm.weight"));
}

TEST_F(CheckpointFaultTest, MissingShardIsNamed) {
  CopyGolden("llama3");
  std::filesystem::remove(directory_.File("model-00002-of-00003.safetensors"));
  EXPECT_THAT(LoadError(directory_.path()).message,
              AllOf(HasSubstr("in model-00002-of-00003.safetensors: which is missing"), HasSubstr("incomplete"),
                    HasSubstr("tensor \"model.")));
}

TEST_F(CheckpointFaultTest, ShardsWithoutIndexAreCounted) {
  CopyGolden("llama3");
  std::filesystem::remove(directory_.File("model.safetensors.index.json"));
  std::filesystem::remove(directory_.File("model-00002-of-00003.safetensors"));
  EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr("2 of the shards"), HasSubstr("incomplete")));
}

TEST_F(CheckpointFaultTest, WhatStandsInThePlaceOfWeightsIsNamed) {
  CopyGolden("llama2");
  directory_.Write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 134\n");
  EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr("model.safetensors"), HasSubstr("git lfs pull")));
  directory_.Write("model.safetensors", "<!doctype html><html><body>Sign in</body></html>");
  EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr("model.safetensors"), HasSubstr("web page")));
  std::filesystem::remove(directory_.File("model.safetensors"));
  std::filesystem::create_symlink("../../blobs/4d7a", directory_.File("model.safetensors"));
  EXPECT_THAT(LoadError(directory_.path()).message,
              AllOf(HasSubstr("model.safetensors"), HasSubstr("symbolic link to ../../blobs/4d7a")));
  directory_.Write("config.json", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 134\n");
  EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr("config.json"), HasSubstr("git lfs pull")));
}

TEST_F(CheckpointFaultTest, UnknownStorageTypesAreNamedWhenAskedFor) {
  std::vector<RawTensor> tensors = Tensors();
  Find(tensors, "model.layers.1.mlp.up_proj.weight").dtype = "F8_E4M3FNUZ";
  EXPECT_THAT(LoadMessage(tensors), AllOf(HasSubstr("layers.1.mlp.up_proj.weight"), HasSubstr("F8_E4M3FNUZ")));
}

TEST_F(CheckpointFaultTest, ShardWithoutItsTensorIsNamed) {
  CopyGolden("llama3");
  std::filesystem::copy_file(directory_.File("model-00001-of-00003.safetensors"),
                             directory_.File("model-00002-of-00003.safetensors"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(LoadError(directory_.path()).message,
              AllOf(HasSubstr("model-00002-of-00003.safetensors"), HasSubstr("is not there")));
}

TEST_F(CheckpointFaultTest, IndexCannotLeaveTheDirectory) {
  CopyGolden("llama3");
  for (const char* shard : {"../x.safetensors", "/etc/passwd", "", ".hidden.safetensors", "a/b.safetensors"}) {
    directory_.Write("model.safetensors.index.json", std::string("{\"weight_map\":{\"w\":\"") + shard + "\"}}");
    EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr("index.json"), HasSubstr("\"w\"")));
  }
  for (const char* index : {"", "[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{\"w\":3}}"}) {
    directory_.Write("model.safetensors.index.json", index);
    EXPECT_THAT(LoadError(directory_.path()).message, HasSubstr("model.safetensors.index.json"));
  }
}

TEST_F(CheckpointFaultTest, DirectoriesWithoutSafetensorsSayWhatTheyHold) {
  CopyGolden("llama2");
  std::filesystem::remove(directory_.File("model.safetensors"));
  EXPECT_THAT(LoadError(directory_.path()).message, HasSubstr("there are no weights"));
  for (const char* pickle : {"consolidated.00.pth", "model.pt", "pytorch_model.bin"}) {
    directory_.Write(pickle, "x");
    EXPECT_THAT(LoadError(directory_.path()).message, AllOf(HasSubstr(pickle), HasSubstr("a pickle"),
                                                            HasSubstr("safetensors"), HasSubstr("save_pretrained")));
  }
}

TEST_F(CheckpointFaultTest, TruncationAtAnyLengthIsAnErrorThatNamesTheFile) {
  CopyGolden("llama2");
  const std::string whole = ReadWholeFile(directory_.File("model.safetensors"));
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 rng(kSeed);
  for (int round = 0; round < 60; ++round) {
    const size_t limit = round % 2 == 0 ? whole.size() : 5000;
    directory_.Write("model.safetensors", whole.substr(0, rng() % limit));
    EXPECT_THAT(LoadError(directory_.path()).message, HasSubstr("model.safetensors"));
  }
}

TEST_F(CheckpointFaultTest, MutatedHeadersLoadOrFailButNeverCrash) {
  CopyGolden("llama2");
  const std::string whole = ReadWholeFile(directory_.File("model.safetensors"));
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 rng(kSeed);
  const auto backend = MakeRef();
  for (int round = 0; round < 150; ++round) {
    std::string bytes = whole;
    for (uint64_t i = 0; i <= rng() % 4; ++i) bytes[rng() % 2000] = static_cast<char>('0' + rng() % 10);
    directory_.Write("model.safetensors", bytes);
    const auto model = Model::Load(directory_.path(), *backend, {});
    if (model.ok()) continue;
    EXPECT_THAT(model.error().message, HasSubstr(directory_.path()));
  }
}

// Data may begin at any byte of a file.
TEST_F(CheckpointFaultTest, OddHeaderLengthsLoadTheSameWeights) {
  CopyGolden("llama2");
  const std::string whole = ReadWholeFile(directory_.File("model.safetensors"));
  const std::vector<int32_t> ids = {5, 9, 2, 77};
  std::vector<float> expected;
  for (const size_t padding : {size_t{0}, size_t{1}, size_t{2}, size_t{3}}) {
    const std::vector<RawTensor> tensors = Tensors();
    const std::string plain = SafetensorsBytes(tensors);
    const size_t header_bytes = static_cast<unsigned char>(plain[0]) + 256U * static_cast<unsigned char>(plain[1]);
    directory_.Write("model.safetensors", SafetensorsBytes(plain.substr(8, header_bytes) + std::string(padding, ' '),
                                                           plain.substr(8 + header_bytes)));
    const auto backend = MakeRef();
    const auto model = Model::Load(directory_.path(), *backend, {});
    ASSERT_TRUE(model.ok()) << model.error().message;
    testing::SequenceRunner runner(*backend, **model, {}, 1, 4, 4);
    const std::vector<float> logits = runner.Feed(ids);
    if (padding == 0) expected = logits;
    EXPECT_TRUE(logits == expected) << padding;
  }
}

// A download that is replaced, or a disk that fails: once the headers have been read.
TEST_F(CheckpointFaultTest, AFileThatBecomesShorterWhileItIsReadIsAnError) {
  CopyGolden("llama2");
  const std::string path = directory_.File("model.safetensors");
  const auto tensors = OpenSafetensors(directory_.path());
  ASSERT_TRUE(tensors.ok()) << tensors.error().message;
  const auto backend = MakeRef();
  const auto source = MakePackingSource(*backend, HostMemory(), **tensors, DType::kF32);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 8);
  const std::vector<RawTensor> raw = ReadRawTensors(GoldenModelDirectory("llama2") + "/model.safetensors");
  size_t num_lost = 0;
  for (const RawTensor& tensor : raw) {
    const WeightPart part = {.name = tensor.name, .rows = tensor.shape[0]};
    const auto read = [&]() -> Status {
      if (tensor.shape.size() == 2) {
        QUIRE_RETURN_IF_ERROR(source->Matrix(std::span(&part, 1), tensor.shape[1]));
      } else {
        QUIRE_RETURN_IF_ERROR(source->Vector(std::span(&part, 1)));
      }
      return {};
    };
    const Status status = read();
    if (status.ok()) continue;
    EXPECT_THAT(status.error().message, HasSubstr(path));
    ++num_lost;
  }
  EXPECT_GT(num_lost, raw.size() / 2);
}

// f16 has a wider mantissa than bf16 and a narrower range than f32: auto widens it.
TEST_F(CheckpointFaultTest, HalfPrecisionCheckpointsRunInFloat32) {
  CopyGolden("llama2");
  std::vector<RawTensor> tensors = Tensors();
  for (RawTensor& tensor : tensors) {
    std::string halves;
    for (size_t i = 0; i < tensor.data.size() / 4; ++i) {
      const auto pattern = static_cast<uint16_t>(0x2000 + (i * 37) % 0x1400);  // 0.008 to about 0.6
      halves += static_cast<char>(pattern & 0xFF);
      halves += static_cast<char>(pattern >> 8);
    }
    tensor.dtype = "F16";
    tensor.data = halves;
  }
  directory_.Write("model.safetensors", SafetensorsBytes(tensors));
  std::string config = ReadWholeFile(directory_.File("config.json"));
  directory_.Write("config.json", config.replace(config.find("\"float32\""), 9, "\"float16\""));
  const auto backend = MakeRef();
  const std::vector<int32_t> ids = {1, 2, 3};
  for (const ComputeDType dtype : {ComputeDType::kAuto, ComputeDType::kBf16}) {
    const auto model = Model::Load(directory_.path(), *backend, {.dtype = dtype});
    ASSERT_TRUE(model.ok()) << model.error().message;
    EXPECT_EQ((*model)->compute_dtype(), dtype == ComputeDType::kAuto ? DType::kF32 : DType::kBf16);
    testing::SequenceRunner runner(*backend, **model, {}, 1, 3, 3);
    for (const float logit : runner.Feed(ids)) ASSERT_TRUE(std::isfinite(logit));
  }
}

TEST_F(CheckpointFaultTest, SilentConfigTakesTheTypeOfTheWeights) {
  CopyGolden("llama2-bf16");
  std::string config = ReadWholeFile(directory_.File("config.json"));
  const std::string from = "\"torch_dtype\"";
  directory_.Write("config.json", config.replace(config.find(from), from.size(), "\"unrelated\""));
  const auto backend = MakeRef();
  const auto model = Model::Load(directory_.path(), *backend, {});
  ASSERT_TRUE(model.ok()) << model.error().message;
  EXPECT_EQ((*model)->compute_dtype(), DType::kBf16);
  EXPECT_EQ((*model)->config().checkpoint_dtype, DType::kBf16);
  const auto footprint = MeasureModel(directory_.path(), *backend, {});
  ASSERT_TRUE(footprint.ok()) << footprint.error().message;
  EXPECT_EQ(footprint->compute_dtype, DType::kBf16);
  EXPECT_EQ(footprint->config.checkpoint_dtype, DType::kBf16);
}

}  // namespace
}  // namespace quire
