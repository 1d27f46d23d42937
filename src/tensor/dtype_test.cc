#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace quire {
namespace {

TEST(Bf16, RoundsToNearestEvenAndKeepsSpecials) {
  EXPECT_EQ(ToFloat(ToBf16(1.0F)), 1.0F);
  EXPECT_EQ(ToFloat(ToBf16(1.0F + 0x1p-8F)), 1.0F);                // half way: to even
  EXPECT_EQ(ToFloat(ToBf16(1.0F + 3 * 0x1p-8F)), 1.0F + 0x1p-6F);  // half way: to even, upwards
  EXPECT_EQ(ToFloat(ToBf16(std::numeric_limits<float>::max())), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isnan(ToFloat(ToBf16(std::numeric_limits<float>::quiet_NaN()))));
  EXPECT_EQ(ToFloat(ToBf16(-0.0F)), 0.0F);
  EXPECT_TRUE(std::signbit(ToFloat(ToBf16(-0.0F))));
}

TEST(Half, ConvertsNormalsSubnormalsAndSpecials) {
  EXPECT_EQ(HalfToFloat(0x3C00), 1.0F);
  EXPECT_EQ(HalfToFloat(0xC000), -2.0F);
  EXPECT_EQ(HalfToFloat(0x7BFF), 65504.0F);
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24F);
  EXPECT_EQ(HalfToFloat(0x8001), -0x1p-24F);
  EXPECT_TRUE(std::isinf(HalfToFloat(0x7C00)));
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7E00)));
}

TEST(Half, EveryHalfComesBackAndWhatIsBetweenGoesToTheNearestEven) {
  for (uint32_t half = 0; half < 0x7C00; ++half) {
    const auto bits = static_cast<uint16_t>(half);
    const float value = HalfToFloat(bits);
    ASSERT_EQ(FloatToHalf(value), bits);
    ASSERT_EQ(FloatToHalf(-value), bits | 0x8000U);
    if (half == 0x7BFF) break;
    const float next = HalfToFloat(static_cast<uint16_t>(half + 1)), middle = (value + next) / 2;  // exact
    ASSERT_EQ(FloatToHalf(middle), half + half % 2);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0F)), half);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, next)), half + 1);
  }
  EXPECT_EQ(FloatToHalf(65519.996F), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520.0F), 0x7C00);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(FloatToHalf(std::numeric_limits<float>::denorm_min()), 0);
  EXPECT_TRUE(std::isnan(HalfToFloat(FloatToHalf(std::numeric_limits<float>::quiet_NaN()))));
}

}  // namespace
}  // namespace quire
