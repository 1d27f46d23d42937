// Every kind against the values of the package gguf (tools/golden/make_gguf_blocks.py), bit for bit.
#include "weights/dequantize.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "weights/gguf_types.h"
#include "weights/splitmix_testing.h"

namespace quire {
namespace {

uint32_t BitsOf(float value) { return std::isnan(value) ? 0x7FC00000U : std::bit_cast<uint32_t>(value); }

std::string DigestOf(const float* values, int64_t count) {
  std::vector<uint32_t> words;
  for (int64_t i = 0; i < count; ++i) words.push_back(BitsOf(values[i]));
  return FnvOf(words);
}

TEST(DequantizeTest, EveryKindHasTheBitsOfTheGgufPackage) {
  simdjson::dom::parser parser;
  const simdjson::dom::array cases = parser.load(QUIRE_SOURCE_DIR "/tests/goldens/gguf_blocks.json").get_array();
  std::set<WeightKind> seen = {WeightKind::kF64};  // the package has none of it
  for (const simdjson::dom::element golden : cases) {
    const std::string name{golden["name"].get_string().value()};
    const GgufTensorType* type = FindGgufTensorType(static_cast<uint32_t>(int64_t(golden["type"])));
    ASSERT_NE(type, nullptr) << name;
    ASSERT_TRUE(type->kind) << name;
    const WeightFormat& format = FormatOf(*type->kind);
    seen.insert(format.kind);
    EXPECT_EQ(format.name, name);
    EXPECT_EQ(format.block_size, int64_t(golden["block_size"])) << name;
    ASSERT_EQ(format.block_bytes, int64_t(golden["block_bytes"])) << name;
    EXPECT_EQ(format.block_size % format.group, 0) << name;

    const simdjson::dom::array digests = golden["digests"];
    const auto num_blocks = static_cast<int64_t>(digests.size());
    const auto bytes = SplitMixBytes(type->number, static_cast<size_t>(num_blocks * format.block_bytes));
    std::vector<float> values(static_cast<size_t>(num_blocks * format.block_size));
    Dequantize(format.kind, bytes.data(), num_blocks, values.data());
    const std::string_view first = golden["first"];
    for (size_t i = 0; i < static_cast<size_t>(format.block_size); ++i) {
      const auto expected = static_cast<uint32_t>(std::stoul(std::string(first.substr(8 * i, 8)), nullptr, 16));
      ASSERT_EQ(BitsOf(values[i]), expected)
          << name << " element " << i << ": " << values[i] << ", expected " << std::bit_cast<float>(expected);
    }
    for (int64_t block = 0; block < num_blocks; ++block) {
      EXPECT_EQ(DigestOf(values.data() + block * format.block_size, format.block_size),
                std::string_view(digests.at(static_cast<size_t>(block))))
          << name << " block " << block;
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kNumWeightKinds));
}

TEST(DequantizeTest, DoublesAreRounded) {
  const double doubles[] = {0.1, -1e300, 1.5};
  float floats[3];
  Dequantize(WeightKind::kF64, reinterpret_cast<const std::byte*>(doubles), 3, floats);
  EXPECT_EQ(floats[0], 0.1F);
  EXPECT_EQ(floats[1], -INFINITY);
  EXPECT_EQ(floats[2], 1.5F);
}

}  // namespace
}  // namespace quire
