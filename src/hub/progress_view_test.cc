// Bars, rates and the numbers beside them; and what headers say.
#include "hub/progress_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/hub_api.h"
#include "hub/sizes.h"

namespace quire {
namespace {

using ::testing::HasSubstr;

TEST(ProgressViewTest, DrawsALineForEachFileUnderWayAndOneForAll) {
  using State = FileProgress::State;
  const DownloadProgress progress = {
      .files =
          {{.name = "config.json", .size = 100, .done = 100, .state = State::kDone},
           {.name = "model-00001-of-00002.safetensors", .size = 1'000'000, .done = 500'000, .state = State::kRunning},
           {.name = "model-00002-of-00002.safetensors", .size = 1'000'000, .done = 0, .state = State::kElsewhere},
           {.name = "last", .size = 0, .done = 0, .state = State::kWaiting}},
      .received = 500'100};
  const std::vector<std::string> lines = RenderProgress(progress, 250'000, 100);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], HasSubstr("model-00001-of-00002.safetensors"));
  EXPECT_THAT(lines[0], HasSubstr(" 50% [####"));
  EXPECT_THAT(lines[0], HasSubstr("500 kB/1.00 MB"));
  EXPECT_THAT(lines[1], HasSubstr("by another process"));
  EXPECT_THAT(lines[2], HasSubstr("1 of 4 files"));
  EXPECT_THAT(lines[2], HasSubstr("500 kB/2.00 MB, 250 kB/s, 0:06 left"));
  for (size_t width = 20; width < 200; ++width) {
    for (const std::string& line : RenderProgress(progress, 0, width)) EXPECT_LE(line.size(), width);
  }
}

TEST(ProgressViewTest, TheRateIsThatOfTheLastSeconds) {
  RateMeter meter;
  EXPECT_EQ(meter.BytesPerSecond(), 0);
  for (int second = 0; second <= 60; ++second)
    meter.Observe(second * 1'000'000, second < 30 ? 0 : (second - 30) * 1000);
  EXPECT_NEAR(meter.BytesPerSecond(), 1000, 1);
}

TEST(SizesTest, AreThoseOfTheHubsPages) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(999), "999 B");
  EXPECT_EQ(FormatSize(1000), "1.00 kB");
  EXPECT_EQ(FormatSize(999'999), "1.00 MB");
  EXPECT_EQ(FormatSize(12'345'678), "12.3 MB");
  EXPECT_EQ(FormatSize(UINT64_MAX), "18.4 EB");
  EXPECT_EQ(FormatDuration(7), "0:07");
  EXPECT_EQ(FormatDuration(3 * 3600 + 4 * 60 + 5), "3:04:05");
}

TEST(HttpAnswerTest, SaysHowLongToWaitAndWhereTheNextPageIs) {
  EXPECT_EQ((HttpAnswer{.retry_after = "7"}).WaitSeconds(), 7);
  EXPECT_EQ((HttpAnswer{.retry_after = "Thu, 01 Jan 1970 00:00:10 GMT"}).WaitSeconds(), 0);
  EXPECT_EQ((HttpAnswer{.status = 429, .rate_limit = "\"api\";r=0;t=55"}).WaitSeconds(), 55);
  EXPECT_EQ((HttpAnswer{.status = 503, .rate_limit = "\"api\";r=9;t=55"}).WaitSeconds(), -1);
  EXPECT_EQ(BackoffMs(1, {.retry_after = "999999999"}), 300'000);
  EXPECT_EQ(BackoffMs(1, {}), 500);
  EXPECT_EQ(BackoffMs(3, {}), 2000);
  EXPECT_EQ(BackoffMs(99, {}), 30'000);
  EXPECT_EQ((HttpAnswer{.link = R"(<http://h/a?x=1>; rel="prev", <http://h/b>; rel="next")"}).NextPage(), "http://h/b");
  EXPECT_EQ((HttpAnswer{.link = "<http://h/a"}).NextPage(), "");
  EXPECT_EQ(NormalEtag("W/\"abc\""), "abc");
  EXPECT_EQ(EncodeUrl("a b/ü#?", true), "a%20b/%C3%BC%23%3F");
  EXPECT_EQ(OriginOf("https://h:1/x?y"), "https://h:1");
}

}  // namespace
}  // namespace quire
