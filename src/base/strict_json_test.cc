#include "base/strict_json.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(StrictJson, LeavesStandardJsonAsItIs) {
  for (const char* text : {R"({"a": [1, -2.5e-3, true, null], "b\"\\": "NaN, Infinity, 1e400 \ud83d\ude00 \u00e9"})",
                           "18446744073709551615", "-9223372036854775808", "1e308", "", "\"", "{\"a\": \"\\", "[1, 2"})
    EXPECT_EQ(StrictJson(text), text);
}

TEST(StrictJson, IntegersOfAnySizeGetAFraction) {
  EXPECT_EQ(StrictJson(R"({"model_max_length": 1000000000000000019884624838656})"),
            R"({"model_max_length": 1000000000000000019884624838656.0})");
  EXPECT_EQ(StrictJson("[18446744073709551616,-9223372036854775809]"),
            "[18446744073709551616.0,-9223372036854775809.0]");
}

TEST(StrictJson, WhatNoDoubleHoldsBecomesAStringOfTheSameCharacters) {
  EXPECT_EQ(StrictJson("[NaN, Infinity, -Infinity, 1e400, -1e400]"),
            R"(["NaN", "Infinity", "-Infinity", "1e400", "-1e400"])");
  const std::string long_integer(400, '9');
  EXPECT_EQ(StrictJson("{\"a\":" + long_integer + "}"), "{\"a\":\"" + long_integer + "\"}");
}

TEST(StrictJson, HalvesOfSurrogatePairsAreReplaced) {
  EXPECT_EQ(StrictJson(R"(["\ud83d", "\ude00x", "\ud83d\ud83d\ude00", "\uD83D\u0041"])"),
            R"(["\ufffd", "\ufffdx", "\ufffd\ud83d\ude00", "\ufffd\u0041"])");
  EXPECT_EQ(StrictJson(R"("\\ud83d")"), R"("\\ud83d")") << "an escaped backslash begins no escape";
  EXPECT_EQ(StrictJson(R"("\ud8)"), R"("\ud8)");
}

TEST(StrictJson, WhatIsWrongStaysWrong) {
  for (const char* text : {"{a: 1}", "[1,]", "1.2.3", "--1", "nan", "[1 2]"}) EXPECT_EQ(StrictJson(text), text);
}

}  // namespace
}  // namespace quire
