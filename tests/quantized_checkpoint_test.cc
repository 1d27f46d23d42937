// Quantised safetensors checkpoints: each format against its own package, bit for bit
// (tools/golden/make_quantized_goldens.py); whole models against the same weights stored as floats; and damaged ones.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "backend/backend_factory.h"
#include "model/model.h"
#include "model/model_testing.h"
#include "weights/tensor_source.h"

namespace quire {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::RawTensor;
using testing::ScratchDirectory;

const std::string kGoldens = QUIRE_SOURCE_DIR "/tests/goldens/quantized";

std::vector<std::string> GoldenNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kGoldens)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

json ReadJson(const std::string& path) { return json::parse(testing::ReadWholeFile(path)); }

uint32_t BitsOf(float value) { return std::isnan(value) ? 0x7FC00000U : std::bit_cast<uint32_t>(value); }

std::string DigestOf(const std::vector<float>& values) {
  uint64_t digest = 0xCBF29CE484222325U;
  for (const float value : values) digest = (digest ^ BitsOf(value)) * 0x100000001B3U;
  return fmt::format("{:016x}", digest);
}

// In pieces of random lengths, as threads that share rows would.
Result<std::vector<float>> ReadInPieces(const StoredTensor& tensor, std::mt19937& random) {
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  for (int64_t first = 0; first < tensor.size();) {
    const int64_t left = tensor.size() - first;
    const int64_t count = std::min<int64_t>(left, 1 + static_cast<int64_t>(random() % 300));
    QUIRE_RETURN_IF_ERROR(
        ReadFloats(tensor, first, std::span(values).subspan(static_cast<size_t>(first), static_cast<size_t>(count))));
    first += count;
  }
  return values;
}

class QuantizedGoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string Directory() const { return kGoldens + "/" + GetParam(); }
};

TEST_P(QuantizedGoldenTest, HasTheBitsOfItsOwnPackage) {
  const auto source = OpenSafetensors(Directory());
  ASSERT_TRUE(source.ok()) << source.error().message;
  std::mt19937 random(7);
  std::set<std::string> names;
  for (const json& golden : ReadJson(Directory() + "/expected.json")) {
    const std::string name = golden["name"];
    names.insert(name);
    const auto tensor = (*source)->Find(name, golden["shape"].get<std::vector<int64_t>>());
    ASSERT_TRUE(tensor.ok()) << tensor.error().message;
    EXPECT_EQ(tensor->format().name, golden["format"].get<std::string>()) << name;
    EXPECT_GT(tensor->format().block_bytes, 0) << name;
    const auto values = ReadInPieces(*tensor, random);
    ASSERT_TRUE(values.ok()) << values.error().message;
    EXPECT_EQ(DigestOf(*values), golden["digest"].get<std::string>())
        << name << " begins with " << (*values)[0] << " " << (*values)[1] << " " << (*values)[2];
  }
  for (const std::string& name : (*source)->names()) {
    const bool is_plain = name.find("embed_tokens") != std::string::npos || name.find("norm") != std::string::npos;
    EXPECT_TRUE(is_plain || names.count(name) == 1) << name << " is part of a weight, and must not be seen";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, QuantizedGoldenTest, ::testing::ValuesIn(GoldenNames()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '-' || c == '_'; }, 'X');
  return name;
});

// The checkpoint with its quantised weights as F32.
void WriteAsFloats(const std::string& directory, const ScratchDirectory& to) {
  const auto source = OpenSafetensors(directory);
  ASSERT_TRUE(source.ok()) << source.error().message;
  std::vector<RawTensor> tensors;
  for (RawTensor& tensor : testing::ReadRawTensors(directory + "/model.safetensors")) {
    if (tensor.dtype == "F16" && (*source)->Has(tensor.name)) tensors.push_back(std::move(tensor));
  }
  for (const json& weight : ReadJson(directory + "/expected.json")) {
    const std::string name = weight["name"];
    const std::vector<int64_t> shape = (*source)->ShapeOf(name);
    const auto tensor = (*source)->Find(name, shape);
    ASSERT_TRUE(tensor.ok()) << tensor.error().message;
    std::string data(static_cast<size_t>(tensor->size()) * sizeof(float), '\0');
    ASSERT_TRUE(ReadAs(*tensor, 0, tensor->size(), DType::kF32, data.data()).ok());
    tensors.push_back({name, "F32", shape, data});
  }
  json config = ReadJson(directory + "/config.json");
  config.erase("quantization_config");
  to.Write("config.json", config.dump());
  to.Write("model.safetensors", testing::SafetensorsBytes(tensors));
}

TEST(QuantizedModelTest, ComputesWhatItsWeightsAsFloatsCompute) {
  const auto backend = MakeCpuBackend({.num_threads = 2, .isa = "ref"});
  ASSERT_TRUE(backend.ok());
  int num_models = 0;
  for (const std::string& name : GoldenNames()) {
    if (!name.starts_with("model-")) continue;
    ++num_models;
    const ScratchDirectory floats;
    WriteAsFloats(kGoldens + "/" + name, floats);
    for (const ComputeDType dtype : {ComputeDType::kF32, ComputeDType::kBf16}) {
      const auto quantised = Model::Load(kGoldens + "/" + name, **backend, {.dtype = dtype});
      const auto plain = Model::Load(floats.path(), **backend, {.dtype = dtype});
      ASSERT_TRUE(quantised.ok()) << quantised.error().message;
      ASSERT_TRUE(plain.ok()) << plain.error().message;
      EXPECT_EQ((*quantised)->num_parameters(), (*plain)->num_parameters());
      const auto found = testing::RunGreedy(**backend, **quantised, {}, {1, 17, 42, 5}, 8);
      const auto expected = testing::RunGreedy(**backend, **plain, {}, {1, 17, 42, 5}, 8);
      EXPECT_EQ(found.ids, expected.ids) << name;
      EXPECT_EQ(found.prompt_logits, expected.prompt_logits) << name;
      EXPECT_EQ(found.step_logits, expected.step_logits) << name;
      EXPECT_TRUE(std::isfinite(found.prompt_logits[0]));
    }
    const auto footprint = MeasureModel(kGoldens + "/" + name, **backend, {});
    ASSERT_TRUE(footprint.ok());
    EXPECT_EQ(footprint->compute_dtype, DType::kF32);  // that of a checkpoint in float16
    EXPECT_EQ(footprint->stored_formats.size(), 2) << name;
  }
  EXPECT_EQ(num_models, 5);
}

// What a directory with this quantization_config and no weight is refused with; empty if it is not.
std::string RefusalOf(const std::string& quantization) {
  const ScratchDirectory directory;
  directory.Write("config.json", R"({"quantization_config": )" + quantization + "}");
  directory.Write("model.safetensors", testing::SafetensorsBytes({}));
  const auto source = OpenSafetensors(directory.path());
  return source.ok() ? "" : source.error().message;
}

TEST(QuantizedConfigTest, WhatIsNotReadIsRefusedByName) {
  EXPECT_EQ(RefusalOf("null"), "");
  EXPECT_EQ(RefusalOf("{}"), "");
  EXPECT_EQ(RefusalOf(R"({"quant_method": "gptq"})"), "");
  EXPECT_THAT(RefusalOf("4"), HasSubstr("quantization_config is not an object"));
  EXPECT_THAT(RefusalOf(R"({"bits": 4})"), HasSubstr(R"(quant_method "unnamed" is not supported)"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "aqlm"})"), HasSubstr(R"(quant_method "aqlm" is not supported)"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "bits": 5})"), HasSubstr(R"(bits "5" is not supported)"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "group_size": 0})"), HasSubstr("group_size is 0"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "group_size": -7})"), HasSubstr("group_size is -7"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "group_size": "x"})"), HasSubstr("group_size is not an integer"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "checkpoint_format": "marlin"})"), HasSubstr(R"("marlin")"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "gptq", "is_marlin_format": true})"), HasSubstr(R"("marlin")"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "awq", "version": "GEMV"})"), HasSubstr(R"(version "gemv")"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "awq", "w_bit": 3})"), HasSubstr(R"(bits "3")"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "fp8", "weight_block_size": [128]})"), HasSubstr("weight_block_size"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "fp8", "weight_block_size": [128, 0]})"),
              HasSubstr("weight_block_size is 0"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "modelopt", "quant_algo": "NVFP4"})"), HasSubstr(R"("NVFP4")"));
  EXPECT_THAT(RefusalOf(R"({"quant_method": "compressed-tensors", "config_groups": {"W4A16": ["Linear"]}})"),
              HasSubstr(R"("W4A16")"));
}

// AutoGPTQ's and AutoAWQ's older exports have their own files.
TEST(QuantizedConfigTest, IsFoundInFilesBesideTheConfig) {
  for (const auto& [golden, file, stated] :
       {std::tuple("gptq-channel", "quantize_config.json", R"({"bits": 4, "group_size": -1, "desc_act": false})"),
        std::tuple("awq", "quant_config.json", R"({"w_bit": 4, "q_group_size": 32, "version": "GEMM"})")}) {
    const ScratchDirectory directory;
    directory.Write("config.json", "{}");
    directory.Write("model.safetensors", testing::ReadWholeFile(kGoldens + "/" + golden + "/model.safetensors"));
    const json expected = ReadJson(kGoldens + "/" + golden + "/expected.json")[0];
    const std::string name = expected["name"];
    const auto shape = expected["shape"].get<std::vector<int64_t>>();
    const auto undescribed = OpenSafetensors(directory.path());
    ASSERT_TRUE(undescribed.ok());
    EXPECT_THAT((*undescribed)->Find(name, shape).error().message, HasSubstr("says nothing of how it is quantised"));
    directory.Write(file, stated);
    const auto source = OpenSafetensors(directory.path());
    ASSERT_TRUE(source.ok()) << source.error().message;
    const auto tensor = (*source)->Find(name, shape);
    ASSERT_TRUE(tensor.ok()) << tensor.error().message;
    EXPECT_EQ(tensor->format().name, expected["format"].get<std::string>());
  }
}

// One thing of a checkpoint is made another; what comes of it must be values, or an error that names the layer or what
// the config says.
class Damage {
 public:
  Damage(const std::string& golden, uint32_t seed)
      : random_(seed),
        config_(ReadJson(kGoldens + "/" + golden + "/config.json")),
        tensors_(testing::ReadRawTensors(kGoldens + "/" + golden + "/model.safetensors")) {
    const uint32_t kind = random_() % 8;
    if (kind < 2) ChangeConfig(config_);
    if (kind >= 2) ChangeTensor(kind);
  }

  void Write(const ScratchDirectory& directory) const {
    directory.Write("config.json", config_.dump());
    directory.Write("model.safetensors", testing::SafetensorsBytes(tensors_));
  }
  // Of the tensor that was changed; empty: the config was.
  const std::string& changed() const { return changed_; }

 private:
  // A value somewhere in it.
  void ChangeConfig(json& value) {
    if (value.is_structured() && !value.empty()) {
      return ChangeConfig(*std::next(value.begin(), static_cast<std::ptrdiff_t>(random_() % value.size())));
    }
    const std::vector<json> values = {0,
                                      -1,
                                      -2,
                                      1,
                                      3,
                                      5,
                                      7,
                                      64,
                                      int64_t{1} << 40,
                                      1e300,
                                      0.5,
                                      "x",
                                      "",
                                      true,
                                      json(),
                                      json::array(),
                                      json::object(),
                                      json::array({1, 2, 3})};
    value = values[random_() % values.size()];
  }

  void ChangeTensor(uint32_t kind) {
    const size_t index = random_() % tensors_.size();
    RawTensor& tensor = tensors_[index];
    changed_ = tensor.name;
    if (kind == 2) {
      tensors_.erase(tensors_.begin() + static_cast<std::ptrdiff_t>(index));
    } else if (kind == 3 && !tensor.shape.empty()) {  // fewer of one dimension, the last of all bytes
      int64_t& dim = tensor.shape[random_() % tensor.shape.size()];
      const int64_t less = dim == 0 ? 0 : static_cast<int64_t>(random_() % static_cast<uint64_t>(dim));
      const size_t bytes = dim == 0 ? 0 : tensor.data.size() / static_cast<size_t>(dim) * static_cast<size_t>(less);
      dim = less;
      tensor.data.resize(bytes);
    } else if (kind == 4 && tensor.shape.size() > 1) {
      std::swap(tensor.shape[0], tensor.shape[1]);
    } else if (kind == 5) {  // the same bytes as another type
      tensor.dtype = std::vector<std::string>{"I8", "U8", "F8_E4M3", "BOOL"}[random_() % 4];
      tensor.shape = {static_cast<int64_t>(tensor.data.size())};
    } else if (kind == 6) {
      tensor.shape.push_back(1);
    } else {
      for (int i = 0; i < 3 && !tensor.data.empty(); ++i) {
        tensor.data[random_() % tensor.data.size()] = static_cast<char>(random_());
      }
    }
  }

  std::mt19937 random_;
  json config_;
  std::vector<RawTensor> tensors_;
  std::string changed_;
};

// The layer's name is all but the last part, or two, of its tensors' names.
bool NamesLayerOf(const std::string& message, const std::string& weight) {
  return message.find(weight.substr(0, weight.rfind('.'))) != std::string::npos;
}

TEST(QuantizedDamageTest, GivesValuesOrAnErrorThatNamesTheLayer) {
  const std::vector<std::string> goldens = GoldenNames();
  const ScratchDirectory directory;
  int num_errors = 0;
  for (uint32_t seed = 0; seed < 600; ++seed) {
    const std::string& golden = goldens[seed % goldens.size()];
    SCOPED_TRACE(fmt::format("{} seed {}", golden, seed));
    const Damage damage(golden, seed);
    damage.Write(directory);
    const auto source = OpenSafetensors(directory.path());
    if (!source.ok()) {
      ++num_errors;
      EXPECT_EQ(damage.changed(), "") << source.error().message;
      EXPECT_THAT(source.error().message, HasSubstr("config.json: quantization_config"));
      continue;
    }
    std::mt19937 random(seed);
    for (const json& weight : ReadJson(kGoldens + "/" + golden + "/expected.json")) {
      const std::string name = weight["name"];
      const auto tensor = (*source)->Find(name, weight["shape"].get<std::vector<int64_t>>());
      Status status = tensor.ok() ? Status() : Status(tensor.error());
      if (tensor.ok()) {
        const auto values = ReadInPieces(*tensor, random);
        if (!values.ok()) status = values.error();
      }
      if (status.ok()) continue;
      ++num_errors;
      EXPECT_TRUE(NamesLayerOf(status.error().message, name)) << name << ": " << status.error().message;
    }
  }
  EXPECT_GT(num_errors, 200);
}

}  // namespace
}  // namespace quire
