// The reference itself against plain double-precision computation.
#include "backend/ref/ref_ops.h"

#include <cmath>

#include "backend/backend_testing.h"
#include "tensor/dtype.h"

namespace quire {
namespace {

TEST(RefExp, IsWithin3e7OfTheExponential) {
  for (float x = -87.0F; x < 88.0F; x += 0.00137F) {
    const double exact = std::exp(static_cast<double>(x));
    ASSERT_NEAR(ref::Exp(x) / exact, 1.0, 3e-7) << x;
  }
  EXPECT_EQ(ref::Exp(0.0F), 1.0F);
  EXPECT_EQ(ref::Exp(-1000.0F), 0.0F);
  EXPECT_EQ(ref::Exp(-INFINITY), 0.0F);
  EXPECT_TRUE(std::isfinite(ref::Exp(INFINITY)));
  EXPECT_TRUE(std::isnan(ref::Exp(std::nanf(""))));
}

TEST(RefDot, ApproximatesTheExactSum) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  const std::vector<float> x = random.Normals(1001);
  std::vector<float> w = random.Normals(1001);
  for (float& value : w) value = ToFloat(ToBf16(value));
  double exact = 0, exact_rounded = 0, magnitude = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    exact += static_cast<double>(x[i]) * static_cast<double>(w[i]);
    exact_rounded += static_cast<double>(ToFloat(ToBf16(x[i]))) * static_cast<double>(w[i]);
    magnitude += std::abs(static_cast<double>(x[i]) * static_cast<double>(w[i]));
  }
  EXPECT_NEAR(ref::DotF32(x.data(), w.data(), 1001), exact, magnitude * 1e-5);
  EXPECT_NEAR(ref::DotBf16Pairs(x.data(), w.data(), 1001), exact_rounded, magnitude * 1e-5);
  EXPECT_NEAR(ref::DotBf16Tiles(x.data(), w.data(), 1001), exact_rounded, magnitude * 1e-5);
}

TEST(RefActivations, ApproximateTheirDefinitions) {
  for (float x = -30.0F; x < 30.0F; x += 0.0173F) {
    const double d = x;
    const double u = std::sqrt(2.0 / std::acos(-1.0)) * (d + 0.044715 * d * d * d);
    ASSERT_NEAR(ref::Silu(x), d / (1.0 + std::exp(-d)), 1e-5) << x;
    ASSERT_NEAR(ref::GeluTanh(x), 0.5 * d * (1.0 + std::tanh(u)), 1e-5) << x;
  }
}

TEST(RefRmsNorm, ApproximatesItsDefinition) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  const std::vector<float> x = random.Normals(333), weight = random.Normals(333);
  std::vector<float> y(333);
  ref::RmsNormRow(x.data(), weight.data(), 1e-6F, 333, y.data());
  double squares = 0;
  for (const float value : x) squares += static_cast<double>(value) * static_cast<double>(value);
  const double root = std::sqrt(squares / 333 + 1e-6);
  for (size_t i = 0; i < 333; ++i) {
    EXPECT_NEAR(y[i], static_cast<double>(x[i]) * static_cast<double>(weight[i]) / root, 1e-5);
  }
}

TEST(RefRotate, TurnsEachPairByItsAngle) {
  float head[6] = {1, 2, 3, 4, 5, 6};
  const float cos[2] = {0.0F, 0.6F}, sin[2] = {1.0F, 0.8F};
  ref::RotateHead(head, cos, sin, 4);
  const float expected[6] = {-3.0F, 2 * 0.6F - 4 * 0.8F, 1.0F, 4 * 0.6F + 2 * 0.8F, 5, 6};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(head[i], expected[i], 1e-6) << i;
}

TEST(RefAttention, ApproximatesSoftmaxAttentionOverSeveralPartitions) {
  Random random;
  SCOPED_TRACE(::testing::Message() << "seed " << random.seed());
  constexpr int32_t kDim = 8, kBegin = 100, kEnd = 1700;
  const std::vector<float> q = random.Normals(kDim), keys = random.Normals(kEnd * kDim),
                           values = random.Normals(kEnd * kDim);
  float y[kDim];
  ref::AttendRow(
      q.data(), kDim, 0.7F, kBegin, kEnd, [&](int32_t p) { return keys.data() + p * kDim; },
      [&](int32_t p) { return values.data() + p * kDim; }, y);
  double sum = 0, weighted[kDim] = {};
  for (int32_t p = kBegin; p < kEnd; ++p) {
    double score = 0;
    for (int32_t d = 0; d < kDim; ++d) {
      score += static_cast<double>(q[static_cast<size_t>(d)]) * static_cast<double>(keys.data()[p * kDim + d]);
    }
    const double weight = std::exp(0.7 * score);
    sum += weight;
    for (int32_t d = 0; d < kDim; ++d) weighted[d] += weight * static_cast<double>(values.data()[p * kDim + d]);
  }
  for (int32_t d = 0; d < kDim; ++d) EXPECT_NEAR(y[d], weighted[d] / sum, 1e-5);
}

}  // namespace
}  // namespace quire
