#include "kv/hit_rate_window.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(HitRateWindowTest, CountsTheMostRecentRequestsOnly) {
  HitRateWindow window(100);
  EXPECT_EQ(window.Rate(), 0.0);
  window.Add(20, 20, 9);
  window.Add(80, 80, 16);
  EXPECT_DOUBLE_EQ(window.Rate(), 0.25);
  window.Add(10, 10, 2);
  EXPECT_DOUBLE_EQ(window.Rate(), 18.0 / 90.0);
}

TEST(HitRateWindowTest, EmptyStatsDoNotEvict) {
  HitRateWindow window(10);
  window.Add(10, 10, 5);
  for (int i = 0; i < 20; ++i) window.Add(0, 0, 0);
  EXPECT_DOUBLE_EQ(window.Rate(), 0.5);
}

TEST(HitRateWindowTest, ResetGoesBackToZero) {
  HitRateWindow window(10);
  window.Add(1, 10, 10);
  window.Reset();
  EXPECT_EQ(window.Rate(), 0.0);
}

}  // namespace
}  // namespace quire
