#include "base/rng.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

// Known answers of Philox4x32-10 from the authors' Random123 distribution (kat_vectors).
TEST(Philox, MatchesKnownAnswers) {
  const std::array<uint32_t, 4> zeros = {0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U};
  EXPECT_EQ(Philox({}, 0), zeros);
}

TEST(UniformDouble, IsUniformEnoughAndDependsOnEveryCoordinate) {
  double sum = 0;
  for (uint32_t i = 0; i < 10000; ++i) {
    const double u = UniformDouble({.seed = 7, .stream = 1, .position = i}, 0);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    sum += u;
  }
  EXPECT_NEAR(sum / 10000, 0.5, 0.015);
  const double base = UniformDouble({.seed = 7, .stream = 1, .position = 2}, 0);
  EXPECT_NE(base, UniformDouble({.seed = 8, .stream = 1, .position = 2}, 0));
  EXPECT_NE(base, UniformDouble({.seed = 7, .stream = 2, .position = 2}, 0));
  EXPECT_NE(base, UniformDouble({.seed = 7, .stream = 1, .position = 3}, 0));
  EXPECT_NE(base, UniformDouble({.seed = 7, .stream = 1, .position = 2}, 1));
}

}  // namespace
}  // namespace quire
