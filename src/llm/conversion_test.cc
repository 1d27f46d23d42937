// Checkpoints to GGUF and back: the same numbers, the same tokenizer.
#include "llm/conversion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "backend/backend_factory.h"
#include "base/env.h"
#include "llm/checkpoint_to_gguf.h"
#include "llm/gguf_to_checkpoint.h"
#include "llm/gguf_tokenizer_pairs.h"
#include "llm/model_text.h"
#include "model/model_testing.h"
#include "text/gguf_tokenizer_json.h"
#include "text/gguf_vocabulary_testing.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using testing::RawTensor;
using testing::ScratchDirectory;

const std::string kTinyModel = QUIRE_SOURCE_DIR "/models/tiny";
constexpr auto kUnseen = [](std::string_view /*tensor*/) {};

std::vector<float> LogitsOf(const std::string& path, ComputeDType dtype) {
  const auto backend = MakeCpuBackend({.isa = "ref"});
  const auto model = Model::Load(path, **backend, {.dtype = dtype});
  EXPECT_TRUE(model.ok()) << model.error().message;
  if (!model.ok()) return {};
  std::vector<int32_t> ids;
  ids.reserve(40);
  for (int32_t i = 0; i < 40; ++i) ids.push_back((i * 37 + 5) % 256);
  testing::SequenceRunner runner(**backend, **model, {}, 1, 40, 40);
  return runner.Feed(ids);
}

// By name, in all files of the directory.
std::map<std::string, RawTensor> TensorsOf(const std::string& directory) {
  std::map<std::string, RawTensor> tensors;
  for (const auto& file : fs::directory_iterator(directory)) {
    if (file.path().extension() != ".safetensors") continue;
    for (RawTensor& tensor : testing::ReadRawTensors(file.path())) tensors[tensor.name] = tensor;
  }
  return tensors;
}

class ConversionTest : public ::testing::TestWithParam<const char*> {
 protected:
  // A golden model with a tokenizer, which is not its own.
  std::string Checkpoint(const std::string& golden) const {
    const std::string to = directory_.File("checkpoint");
    fs::copy(GoldenModelDirectory(golden), to);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) fs::copy(kTinyModel + "/" + name, to);
    return to;
  }

  ScratchDirectory directory_;
  std::string gguf_ = directory_.File("model.gguf"), back_ = directory_.File("back");
};

TEST_P(ConversionTest, ThereAndBackChangesNoBit) {
  const std::string from = Checkpoint(GetParam());
  const Status there = CheckpointToGguf(from, gguf_, {}, kUnseen);
  ASSERT_TRUE(there.ok()) << there.error().message;
  const Status back = GgufToCheckpoint(gguf_, back_, {}, kUnseen);
  ASSERT_TRUE(back.ok()) << back.error().message;
  const std::vector<float> expected = LogitsOf(from, ComputeDType::kF32), as_gguf = LogitsOf(gguf_, ComputeDType::kF32);
  ASSERT_EQ(as_gguf.size(), expected.size());
  if (GetParam() == std::string("llama3")) {  // the factors of its rotation are rounded to float32
    for (size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(as_gguf[i], expected[i], 1e-3) << i;
  } else {
    EXPECT_TRUE(as_gguf == expected);
  }
  EXPECT_TRUE(LogitsOf(back_, ComputeDType::kF32) == expected) << "the scaling has its name again";
  const std::map<std::string, RawTensor> before = TensorsOf(from);
  std::map<std::string, RawTensor> after = TensorsOf(back_);
  for (const auto& [name, tensor] : before) {
    if (name == "lm_head.weight" && after.count(name) == 0) continue;  // tied
    ASSERT_EQ(after[name].shape, tensor.shape) << name;
    if (tensor.shape.size() == 1 && tensor.dtype != "F32") continue;  // vectors are float32 in GGUF
    EXPECT_EQ(after[name].dtype, tensor.dtype) << name;
    EXPECT_TRUE(after[name].data == tensor.data) << name;
  }
  const auto original = LoadTokenizer(from), converted = LoadTokenizer(back_);
  ASSERT_TRUE(original.ok() && converted.ok());
  EXPECT_TRUE(CompareTokenizers(**original, **converted).ok());
  EXPECT_EQ((*converted)->eos_token_id(), (*original)->eos_token_id());
  EXPECT_EQ(*LoadChatTemplate(gguf_), *LoadChatTemplate(from));
  EXPECT_EQ(*LoadChatTemplate(back_), *LoadChatTemplate(from));
  // The golden's own ends, behind the tokenizer's.
  EXPECT_THAT(LoadModelConfig(back_)->eos_token_ids, ::testing::IsSupersetOf(LoadModelConfig(from)->eos_token_ids));
}

INSTANTIATE_TEST_SUITE_P(Families, ConversionTest,
                         ::testing::Values("llama2", "llama2-bf16", "llama3", "llama-linear-rope", "llama-yarn",
                                           "mistral-window", "qwen2", "qwen3", "qwen3-untied"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

// The flag is wrong more often than the weights: a head that differs is the head.
TEST_F(ConversionTest, AHeadThatContradictsTheFlagIsKept) {
  const std::string from = Checkpoint("qwen3-untied");
  nlohmann::json config = nlohmann::json::parse(*Env::Posix().ReadFile(from + "/config.json"));
  config["tie_word_embeddings"] = true;
  ASSERT_TRUE(Env::Posix().WriteFile(from + "/config.json", config.dump()).ok());
  ASSERT_TRUE(CheckpointToGguf(from, gguf_, {}, kUnseen).ok());
  ASSERT_TRUE(GgufToCheckpoint(gguf_, back_, {}, kUnseen).ok());
  const std::vector<float> expected = LogitsOf(from, ComputeDType::kF32);
  EXPECT_TRUE(LogitsOf(gguf_, ComputeDType::kF32) == expected);
  EXPECT_TRUE(LogitsOf(back_, ComputeDType::kF32) == expected);
}

// Tensors that no weight is made of change nothing, whatever they are; one that is missing or misshapen is an error.
TEST_F(ConversionTest, WhatIsComputedWithGoesAlongAndMustBeWhole) {
  const std::string from = Checkpoint("llama2"), weights = from + "/model.safetensors";
  const std::vector<RawTensor> tensors = testing::ReadRawTensors(weights);
  const auto write = [&](const std::vector<RawTensor>& changed) {
    ASSERT_TRUE(Env::Posix().WriteFile(weights, testing::SafetensorsBytes(changed)).ok());
  };
  const std::vector<float> expected = LogitsOf(from, ComputeDType::kF32);
  std::vector<RawTensor> more = tensors;
  more.push_back({"model.layers.0.self_attn.q_proj.bias", "F32", {}, std::string(4, 'x')});
  more.push_back({"model.layers.0.self_attn.masked_bias", "I64", {1}, std::string(8, '\1')});
  write(more);
  ASSERT_TRUE(CheckpointToGguf(from, gguf_, {}, kUnseen).ok());
  EXPECT_TRUE(LogitsOf(gguf_, ComputeDType::kF32) == expected) << "a bias that config.json denies";
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {0, 64}, {64}}) {
    std::vector<RawTensor> broken = tensors;
    for (RawTensor& tensor : broken) {
      if (tensor.name != "model.layers.1.self_attn.k_proj.weight") continue;
      tensor.shape = shape;
      tensor.data.resize(shape.empty() ? 4 : shape.size() == 2 ? 0 : 256);
    }
    write(broken);
    const Status status = CheckpointToGguf(from, directory_.File("broken.gguf"), {}, kUnseen);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(status.error().message, HasSubstr("model.layers.1.self_attn.k_proj.weight"));
  }
  EXPECT_FALSE(fs::exists(directory_.File("broken.gguf")));
}

TEST_F(ConversionTest, WhatCannotBeSaidIsRefusedAndLeavesNothing) {
  const std::string from = Checkpoint("qwen3-windows");
  const Status windows = CheckpointToGguf(from, gguf_, {}, kUnseen);
  ASSERT_FALSE(windows.ok());
  EXPECT_THAT(windows.error().message, HasSubstr("window"));
  fs::remove_all(from);
  static_cast<void>(Checkpoint("llama2"));
  nlohmann::json tokenizer = nlohmann::json::parse(*Env::Posix().ReadFile(from + "/tokenizer.json"));
  tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "[aeiou]";
  ASSERT_TRUE(Env::Posix().WriteFile(from + "/tokenizer.json", tokenizer.dump()).ok());
  const Status pattern = CheckpointToGguf(from, gguf_, {}, kUnseen);
  ASSERT_FALSE(pattern.ok());
  EXPECT_THAT(pattern.error().message, HasSubstr("[aeiou]"));
  EXPECT_FALSE(fs::exists(gguf_));
  EXPECT_FALSE(GgufToCheckpoint(directory_.File("none.gguf"), back_, {}, kUnseen).ok());
  EXPECT_FALSE(fs::exists(back_));
  for (const auto& entry : fs::directory_iterator(directory_.path())) EXPECT_EQ(entry.path(), from);
}

// The tokenizers of real models, as far as GGUF has a name for how they cut.
TEST(ConversionTokenizers, ThoseOfRealModelsGoThereAndBack) {
  const fs::path root = test::DataRoot() / "tokenizers";
  QUIRE_SKIP_WITHOUT(root);
  for (const char* name : {"gpt2", "llama-2", "llama-3", "qwen2.5", "qwen3", "mistral-v0.1", "phi-2"}) {
    SCOPED_TRACE(name);
    const ScratchDirectory directory;
    for (const char* file : {"tokenizer.json", "tokenizer_config.json"}) {
      for (const char* suffix : {"", ".gz"}) {
        const fs::path path = root / name / (std::string(file) + suffix);
        if (fs::exists(path)) directory.Write(file, test::ReadMaybeGzip(path));
      }
    }
    const auto original = LoadTokenizer(directory.path());
    ASSERT_TRUE(original.ok()) << original.error().message;
    GgufPairs pairs;
    pairs.AddString("general.architecture", "llama");
    const Status added = AddTokenizerPairs(directory.path(), **original, {}, pairs);
    ASSERT_TRUE(added.ok()) << added.error().message;
    const std::string path = directory.File("vocabulary.gguf");
    auto writer = GgufWriter::Create(path, pairs, {}, false);
    ASSERT_TRUE(writer.ok() && writer->Finish().ok());
    const auto found = LoadTokenizer(path);
    ASSERT_TRUE(found.ok()) << found.error().message;
    const Status same = CompareTokenizers(**original, **found);
    EXPECT_TRUE(same.ok()) << same.error().message;
  }
}

TEST(ConversionTokenizers, VocabulariesOfGgufFilesBecomeTokenizerJson) {
  const fs::path root = test::DataRoot() / "ggml-vocab";
  QUIRE_SKIP_WITHOUT(root);
  int num_vocabularies = 0;
  for (const auto& entry : fs::directory_iterator(root)) {
    if (!entry.path().string().ends_with(".gguf.gz") || entry.path().string().find("neox") != std::string::npos)
      continue;
    SCOPED_TRACE(entry.path());
    const test::OwnedVocabulary vocabulary = test::ReadGgufVocabulary(entry.path());
    const auto original = Tokenizer::FromGguf(vocabulary.value);
    ASSERT_TRUE(original.ok()) << original.error().message;
    const auto text = GgufTokenizerJson(vocabulary.value);
    ASSERT_TRUE(text.ok()) << text.error().message;
    const auto converted = Tokenizer::FromJson(*text);
    ASSERT_TRUE(converted.ok()) << converted.error().message;
    const Status same = CompareTokenizers(**original, **converted);
    EXPECT_TRUE(same.ok()) << same.error().message;
    ++num_vocabularies;
  }
  EXPECT_GE(num_vocabularies, 9);
}

}  // namespace
}  // namespace quire
