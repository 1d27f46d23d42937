#include "model/quantize_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/env.h"
#include "model/model_testing.h"
#include "tensor/dtype.h"

namespace quire {
namespace {

using testing::GoldenModelDirectory;
using ::testing::HasSubstr;
using testing::RawTensor;

constexpr auto kQuiet = [](std::string_view /*tensor*/) {};

class QuantizeCheckpointTest : public ::testing::Test {
 protected:
  Result<QuantizationReport> Quantize(const std::string& model, IntegerFormat format) {
    return QuantizeCheckpoint(GoldenModelDirectory(model), to_, format, 2, kQuiet);
  }
  RawTensor Find(const std::string& name) const {
    for (RawTensor& tensor : testing::ReadRawTensors(to_ + "/model.safetensors")) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return {};
  }
  static RawTensor FindIn(const std::string& model, const std::string& name) {
    for (RawTensor& tensor : testing::ReadRawTensors(GoldenModelDirectory(model) + "/model.safetensors")) {
      if (tensor.name == name) return tensor;
    }
    return {};
  }

  testing::ScratchDirectory directory_;
  std::string to_ = directory_.File("quantized");
};

template <typename T>
T Load(const RawTensor& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<size_t>(index) * sizeof(T), sizeof(T));
  return value;
}

constexpr const char* kStem = "model.layers.1.mlp.down_proj";

TEST_F(QuantizeCheckpointTest, CodesTimesScalesAreTheWeights) {
  const RawTensor original = FindIn("llama2", std::string(kStem) + ".weight");
  const int64_t out = original.shape[0], in = original.shape[1];
  for (const IntegerFormat format : {IntegerFormat::kInt8, IntegerFormat::kInt4G32}) {
    std::filesystem::remove_all(to_);
    const auto checkpoint = Quantize("llama2", format);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    EXPECT_LT(checkpoint->bytes_after, checkpoint->bytes_before);
    const bool is_int8 = format == IntegerFormat::kInt8;
    const RawTensor codes = Find(std::string(kStem) + (is_int8 ? ".weight" : ".weight_packed"));
    const RawTensor scales = Find(std::string(kStem) + ".weight_scale");
    const int64_t groups = is_int8 ? 1 : in / 32;
    EXPECT_EQ(codes.dtype, is_int8 ? "I8" : "I32");
    EXPECT_EQ(scales.shape, (std::vector<int64_t>{out, groups}));
    double errors = 0, squares = 0;
    for (int64_t row = 0; row < out; ++row) {
      for (int64_t column = 0; column < in; ++column) {
        const int64_t index = row * in + column;
        const auto packed = is_int8 ? 0 : Load<uint32_t>(codes, row * codes.shape[1] + column / 8);
        const int code = is_int8 ? Load<int8_t>(codes, index) : static_cast<int>(packed >> (column % 8 * 4) & 15U) - 8;
        const float scale = ToFloat(Load<Bf16>(scales, row * groups + column * groups / in));
        const auto value = Load<float>(original, index);
        errors += std::pow(scale * static_cast<float>(code) - value, 2);
        squares += std::pow(value, 2);
      }
    }
    const double relative = std::sqrt(errors / squares);
    EXPECT_LT(relative, is_int8 ? 0.01 : 0.12);
    for (const LayerError& error : checkpoint->errors) {
      if (error.name != std::string(kStem) + ".weight") continue;
      EXPECT_NEAR(error.relative, relative, 1e-6);
    }
    EXPECT_EQ(Find("model.norm.weight").data, FindIn("llama2", "model.norm.weight").data);
    EXPECT_EQ(Find("model.embed_tokens.weight").data, FindIn("llama2", "model.embed_tokens.weight").data);
    const auto config = nlohmann::json::parse(*Env::Posix().ReadFile(to_ + "/config.json"));
    EXPECT_EQ(config["quantization_config"]["format"], is_int8 ? "int-quantized" : "pack-quantized");
    const auto before = nlohmann::json::parse(*Env::Posix().ReadFile(GoldenModelDirectory("llama2") + "/config.json"));
    for (const auto& [key, value] : before.items()) EXPECT_EQ(config[key], value) << key;
  }
  const RawTensor shape = Find(std::string(kStem) + ".weight_shape");
  EXPECT_EQ(Load<int64_t>(shape, 0), out);
  EXPECT_EQ(Load<int64_t>(shape, 1), in);
}

TEST_F(QuantizeCheckpointTest, TensorsThatAreNoWeightsAreLeftOut) {
  const std::string from = directory_.File("from");
  std::filesystem::copy(GoldenModelDirectory("llama2"), from);
  std::vector<RawTensor> tensors = testing::ReadRawTensors(from + "/model.safetensors");
  tensors.push_back({"model.layers.0.self_attn.masked_bias", "I64", {1}, std::string(8, '\1')});
  ASSERT_TRUE(Env::Posix().WriteFile(from + "/model.safetensors", testing::SafetensorsBytes(tensors)).ok());
  const auto checkpoint = QuantizeCheckpoint(from, to_, IntegerFormat::kInt8, 1, kQuiet);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  for (const RawTensor& tensor : testing::ReadRawTensors(to_ + "/model.safetensors")) EXPECT_NE(tensor.dtype, "I64");
}

TEST_F(QuantizeCheckpointTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  const auto groups = Quantize("llama2", IntegerFormat::kInt4G128);
  ASSERT_FALSE(groups.ok());
  EXPECT_THAT(groups.error().message, HasSubstr("groups of 128"));
  EXPECT_FALSE(Env::Posix().Exists(to_));
  ASSERT_TRUE(Quantize("llama2", IntegerFormat::kInt8).ok());
  const auto again = Quantize("llama2", IntegerFormat::kInt8);
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(again.error().message, HasSubstr("is there already"));
  EXPECT_TRUE(Env::Posix().Exists(to_ + "/model.safetensors"));
  const auto twice = QuantizeCheckpoint(to_, directory_.File("twice"), IntegerFormat::kInt8, 1, kQuiet);
  ASSERT_FALSE(twice.ok());
  EXPECT_THAT(twice.error().message, HasSubstr("quantised already"));
}

}  // namespace
}  // namespace quire
