// Quantised blocks against those of the package gguf (tools/golden/make_gguf_blocks.py), and against what they stand
// for.
#include "weights/quantize.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "weights/dequantize.h"
#include "weights/gguf_types.h"
#include "weights/splitmix_testing.h"

namespace quire {
namespace {

// The floats that the script draws.
std::vector<float> DrawFloats(uint64_t seed, size_t count) {
  const std::vector<std::byte> bytes = SplitMixBytes(seed, 8 * count);
  std::vector<float> floats;
  for (size_t i = 0; i < count; ++i) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + 8 * i, sizeof(word));
    const auto mantissa = static_cast<double>(static_cast<int64_t>(word & 0xFFFFFF) - 0x800000);
    floats.push_back(i < 32 ? 0 : static_cast<float>(std::ldexp(mantissa, -20 - static_cast<int>(word >> 60))));
  }
  return floats;
}

TEST(QuantizeTest, GgufBlocksAreThoseOfTheGgufPackage) {
  simdjson::dom::parser parser;
  const simdjson::dom::array cases = parser.load(QUIRE_SOURCE_DIR "/tests/goldens/gguf_quantized.json").get_array();
  EXPECT_EQ(cases.size(), 2U);
  for (const simdjson::dom::element golden : cases) {
    const GgufTensorType* type = FindGgufTensorType(static_cast<uint32_t>(int64_t(golden["type"])));
    ASSERT_TRUE(type != nullptr && type->kind && CanQuantize(*type->kind));
    const WeightFormat& format = FormatOf(*type->kind);
    const simdjson::dom::array digests = golden["digests"];
    const std::vector<float> floats = DrawFloats(type->number, digests.size() * static_cast<size_t>(format.block_size));
    std::vector<std::byte> blocks(digests.size() * static_cast<size_t>(format.block_bytes));
    QuantizeBlocks(format.kind, floats.data(), static_cast<int64_t>(digests.size()), blocks.data());
    for (size_t i = 0; i < digests.size(); ++i) {
      const auto* block = blocks.data() + i * static_cast<size_t>(format.block_bytes);
      std::vector<uint32_t> words;
      words.reserve(static_cast<size_t>(format.block_bytes));
      for (int32_t byte = 0; byte < format.block_bytes; ++byte) words.push_back(std::to_integer<uint32_t>(block[byte]));
      EXPECT_EQ(FnvOf(words), std::string_view(digests.at(i))) << format.name << " block " << i;
    }
  }
}

// Root mean square of the error, of normal values with a standard deviation of 1 and shifts.
double ErrorOf(WeightKind kind, float shift) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(shift, 1);
  const WeightFormat& format = FormatOf(kind);
  constexpr int64_t kBlocks = 200;
  std::vector<float> values(static_cast<size_t>(kBlocks * format.block_size)), back(values.size());
  for (float& value : values) value = normal(random);
  std::vector<std::byte> blocks(static_cast<size_t>(kBlocks * format.block_bytes));
  QuantizeBlocks(kind, values.data(), kBlocks, blocks.data());
  Dequantize(kind, blocks.data(), kBlocks, back.data());
  double sum = 0;
  for (size_t i = 0; i < values.size(); ++i) sum += std::pow(back[i] - values[i], 2);
  return std::sqrt(sum / static_cast<double>(values.size()));
}

TEST(QuantizeTest, ErrorsAreThoseOfTheNumberOfBits) {
  EXPECT_LT(ErrorOf(WeightKind::kQ8_0, 0), 0.006);
  EXPECT_LT(ErrorOf(WeightKind::kQ4_0, 0), 0.1);
  EXPECT_LT(ErrorOf(WeightKind::kQ4_K, 0), 0.08);  // a uniform grid of 16 over the range of 32 normals: 0.083
  EXPECT_LT(ErrorOf(WeightKind::kQ4_K, -3), 0.09) << "its minimum costs next to nothing";
}

TEST(QuantizeTest, GridsOfQ4KComeBack) {
  std::mt19937 random(11);
  std::vector<float> values(256), back(256);
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t group = i / 32;
    const auto code = static_cast<float>(i % 32 == 0 ? 0 : i % 32 == 1 ? 15 : random() % 16);
    values[i] = 0.5F * static_cast<float>(group == 3 ? 63 : 8 * group + 1) * code -
                0.25F * static_cast<float>(group == 5 ? 63 : group);
  }
  std::vector<std::byte> block(static_cast<size_t>(FormatOf(WeightKind::kQ4_K).block_bytes));
  QuantizeBlocks(WeightKind::kQ4_K, values.data(), 1, block.data());
  Dequantize(WeightKind::kQ4_K, block.data(), 1, back.data());
  EXPECT_EQ(back, values);
  std::fill(values.begin(), values.end(), 0.0F);
  QuantizeBlocks(WeightKind::kQ4_K, values.data(), 1, block.data());
  Dequantize(WeightKind::kQ4_K, block.data(), 1, back.data());
  EXPECT_EQ(back, values);
}

TEST(QuantizeTest, GroupsFitTheirScale) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  for (const auto& [bits, bound] : {std::pair(4, 0.13), std::pair(8, 0.008)}) {
    double sum = 0, nearest = 0;
    for (int group = 0; group < 100; ++group) {
      std::vector<float> values(128);
      for (float& value : values) value = normal(random);
      std::vector<int8_t> codes(values.size());
      const float scale = QuantizeGroup(values, bits, codes.data());
      EXPECT_EQ(scale, ToFloat(ToBf16(scale)));
      for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_GE(codes[i], -(1 << (bits - 1)));
        EXPECT_LT(codes[i], 1 << (bits - 1));
        const float error = std::abs(scale * static_cast<float>(codes[i]) - values[i]);
        sum += error * error;
        nearest += error <= 0.501F * scale ? 1 : 0;
      }
    }
    EXPECT_LT(std::sqrt(sum / 12800), bound);
    EXPECT_GT(nearest, 12000) << "all but what is cut";
  }
  std::vector<int8_t> codes(3);
  EXPECT_EQ(QuantizeGroup(std::vector<float>{0, 0, 0}, 4, codes.data()), 0);
  EXPECT_EQ(codes, (std::vector<int8_t>{0, 0, 0}));
}

}  // namespace
}  // namespace quire
