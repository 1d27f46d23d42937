#include "llm/speculation_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(SpeculationOptionsTest, ReadsWhatVllmReads) {
  const auto none = ParseSpeculationOptions("");
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(none->num_tokens, 0U);
  const auto all = ParseSpeculationOptions(
      R"({"method": "ngram", "num_speculative_tokens": 5, "prompt_lookup_max": 4, "prompt_lookup_min": 2})");
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_EQ(all->num_tokens, 5U);
  EXPECT_EQ(all->ngram.min_tokens, 2U);
  EXPECT_EQ(all->ngram.max_tokens, 4U);
  EXPECT_EQ(all->model, "");
  EXPECT_TRUE(all->adaptive);
  EXPECT_FALSE(
      ParseSpeculationOptions(R"({"method": "ngram", "num_speculative_tokens": 5, "adaptive": false})")->adaptive);
  const auto older =
      ParseSpeculationOptions(R"({"model": "[ngram]", "num_speculative_tokens": 3, "prompt_lookup_max": 3})");
  ASSERT_TRUE(older.ok()) << older.error().message;
  EXPECT_EQ(older->ngram.min_tokens, 3U);
  EXPECT_EQ(ParseSpeculationOptions(R"({"method": "ngram", "num_speculative_tokens": 3})")->ngram.max_tokens, 5U);
  for (const char* json : {R"({"model": "some/model", "num_speculative_tokens": 4})",
                           R"({"method": "draft_model", "model": "some/model", "num_speculative_tokens": 4})"}) {
    const auto drafts = ParseSpeculationOptions(json);
    ASSERT_TRUE(drafts.ok()) << drafts.error().message;
    EXPECT_EQ(drafts->model, "some/model");
  }
}

TEST(SpeculationOptionsTest, ErrorsNameWhatIsWrong) {
  const std::pair<const char*, const char*> kCases[] = {
      {"ngram", "it must be a JSON object"},
      {"{}", "lacks a method"},
      {R"({"method": "ngram"})", "lacks num_speculative_tokens"},
      {R"({"method": "eagle3", "num_speculative_tokens": 3})", "\"eagle3\""},
      {R"({"method": "ngram", "num_speculative_tokens": 0})", "num_speculative_tokens is 0"},
      {R"({"method": "ngram", "num_speculative_tokens": 33})", "from 1 to 32"},
      {R"({"method": "ngram", "num_speculative_tokens": "many"})", "\"many\""},
      {R"({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 2, "prompt_lookup_min": 3})", "above"},
      {R"({"method": "ngram", "num_speculative_tokens": 3, "speed": 1})", "speed 1 is not supported"},
      {R"({"method": "draft_model", "num_speculative_tokens": 3})", "model is null"},
      {R"({"model": 7, "num_speculative_tokens": 3})", "model is 7"},
  };
  for (const auto& [json, message] : kCases) {
    const auto options = ParseSpeculationOptions(json);
    ASSERT_FALSE(options.ok()) << json;
    EXPECT_THAT(options.error().message, ::testing::HasSubstr(message));
  }
}

}  // namespace
}  // namespace quire
