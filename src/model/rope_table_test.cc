// Rotary frequencies against their definitions, worked out here in another way.
#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "backend/backend_factory.h"

namespace quire {
namespace {

ModelConfig Config(RopeScaling::Kind kind, float factor = 4) {
  ModelConfig config;
  config.head_dim = 16;
  config.rope_theta = 10000;
  config.max_position = 64;
  config.rope_scaling.kind = kind;
  config.rope_scaling.factor = factor;
  config.rope_scaling.original_max_position = 64;
  return config;
}

double Plain(int i) { return 1 / std::pow(10000.0, 2.0 * i / 16); }

TEST(RopeTableTest, PlainAndLinear) {
  const auto plain = ComputeRopeFrequencies(Config(RopeScaling::Kind::kNone), 64);
  const auto linear = ComputeRopeFrequencies(Config(RopeScaling::Kind::kLinear), 64);
  ASSERT_EQ(plain.radians.size(), 8U);
  for (int i = 0; i < 8; ++i) {
    EXPECT_NEAR(plain.radians[static_cast<size_t>(i)], Plain(i), 1e-15);
    EXPECT_NEAR(linear.radians[static_cast<size_t>(i)], Plain(i) / 4, 1e-15);
  }
}

TEST(RopeTableTest, DynamicIsPlainUpToTheOriginalLengthAndStretchedBeyond) {
  const ModelConfig config = Config(RopeScaling::Kind::kDynamicNtk);
  EXPECT_EQ(ComputeRopeFrequencies(config, 64).radians,
            ComputeRopeFrequencies(Config(RopeScaling::Kind::kNone), 64).radians);
  const auto stretched = ComputeRopeFrequencies(config, 256);
  const double base = 10000 * std::pow(4.0 * 256 / 64 - 3, 16.0 / 14);
  for (int i = 0; i < 8; ++i) {
    EXPECT_NEAR(stretched.radians[static_cast<size_t>(i)], std::pow(base, -i / 8.0), 1e-12);
  }
}

TEST(RopeTableTest, Llama3KeepsShortWavesAndStretchesLongOnes) {
  const auto scaled = ComputeRopeFrequencies(Config(RopeScaling::Kind::kLlama3), 64);
  for (int i = 0; i < 8; ++i) {
    const double wavelength = 2 * std::numbers::pi / Plain(i);
    const double found = scaled.radians[static_cast<size_t>(i)];
    if (wavelength < 64.0 / 4) {
      EXPECT_NEAR(found, Plain(i), 1e-15);
    } else if (wavelength > 64.0) {
      EXPECT_NEAR(found, Plain(i) / 4, 1e-15);
    } else {
      EXPECT_GT(found, Plain(i) / 4);
      EXPECT_LT(found, Plain(i));
    }
  }
}

TEST(RopeTableTest, YarnScalesCosineAndSine) {
  ModelConfig config = Config(RopeScaling::Kind::kYarn);
  EXPECT_NEAR(ComputeRopeFrequencies(config, 64).scale, 0.1 * std::log(4.0) + 1, 1e-12);
  EXPECT_NEAR(ComputeRopeFrequencies(config, 64).radians.front(), Plain(0), 1e-15);
  EXPECT_NEAR(ComputeRopeFrequencies(config, 64).radians.back(), Plain(7) / 4, 1e-15);
  config.rope_scaling.attention_factor = 1.5F;
  EXPECT_EQ(ComputeRopeFrequencies(config, 64).scale, 1.5);
}

TEST(RopeTableTest, TablesHoldEveryPosition) {
  const auto backend = MakeCpuBackend({.num_threads = 2, .isa = "ref"});
  ASSERT_TRUE(backend.ok());
  const auto tables = RopeTables::Make(Config(RopeScaling::Kind::kNone), 1000, **backend);
  ASSERT_TRUE(tables.ok());
  EXPECT_EQ(tables->view().rotary_dim, 16);
  std::vector<float> cos(8000), sin(8000);
  (*backend)->Download(tables->view().cos, cos.data(), cos.size() * sizeof(float));
  (*backend)->Download(tables->view().sin, sin.data(), sin.size() * sizeof(float));
  for (int position = 0; position < 1000; position += 37) {
    for (int i = 0; i < 8; ++i) {
      const size_t at = static_cast<size_t>(position) * 8 + static_cast<size_t>(i);
      EXPECT_FLOAT_EQ(cos[at], static_cast<float>(std::cos(position * Plain(i))));
      EXPECT_FLOAT_EQ(sin[at], static_cast<float>(std::sin(position * Plain(i))));
    }
  }
}

}  // namespace
}  // namespace quire
