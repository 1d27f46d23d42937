#include "llm/value_text.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(ParseWholeNumberTest, ReadsTheSuffixesOfVllm) {
  EXPECT_EQ(*ParseWholeNumber("1k"), 1000);
  EXPECT_EQ(*ParseWholeNumber("1K"), 1024);
  EXPECT_EQ(*ParseWholeNumber("25.6k"), 25600);
  EXPECT_EQ(*ParseWholeNumber("4m"), 4'000'000);
  EXPECT_EQ(*ParseWholeNumber("2M"), 2 << 20);
  EXPECT_EQ(*ParseWholeNumber("1g"), 1'000'000'000);
  EXPECT_EQ(*ParseWholeNumber("1T"), int64_t{1} << 40);
  EXPECT_EQ(*ParseWholeNumber("-1"), -1);
  for (const char* bad : {"", "k", "1.5", "1.5K", "1kk", "-1k", "1e3k", "0x10", "9999999999t", "1 k", "inf", "nan"}) {
    EXPECT_FALSE(ParseWholeNumber(bad).ok()) << bad;
  }
}

TEST(ReadWholeNumberTest, NamesTheRangeThatItIsOutOf) {
  EXPECT_EQ(*ReadWholeNumber("1K", 1, 65536), 1024);
  EXPECT_EQ(ReadWholeNumber("0", 1, 65536).error().message, "0 is out of range: it must be from 1 to 65536");
  EXPECT_EQ(ReadWholeNumber("1g", 1, 65536).error().message, "1g is out of range: it must be at most 65536");
  EXPECT_EQ(ReadWholeNumber("0", 1, kMaxInt32).error().message, "0 is out of range: it must be from 1");
}

TEST(ReadNumberTest, TakesNothingThatIsInNoRange) {
  EXPECT_EQ(*ReadNumber("0.25", 0, 1), 0.25);
  for (const char* bad : {"", "x", "1.5", "-1", "inf", "nan", "0.5x"}) EXPECT_FALSE(ReadNumber(bad, 0, 1).ok()) << bad;
}

TEST(ReadSeedTest, TakesAll64Bits) {
  EXPECT_EQ(*ReadSeed("18446744073709551615"), ~uint64_t{0});
  for (const char* bad : {"", "-1", "18446744073709551616", "1k"}) EXPECT_FALSE(ReadSeed(bad).ok()) << bad;
}

}  // namespace
}  // namespace quire
