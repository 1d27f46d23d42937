#include "cli/foreign_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "cli/parse.h"

namespace quire {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// One that no row lists.
constexpr const char* kUnheardOf = "unheard-of";

std::vector<std::string> Serve(const ForeignOption& option, const std::string& value) {
  const std::string name(option.name.empty() ? option.short_name : option.name);
  if (option.arity != Arity::kNone) return {"serve", "model", name, value};
  return value == "false" ? std::vector<std::string>{"serve", "model", "--no-" + name.substr(2)}
                          : std::vector<std::string>{"serve", "model", name};
}

std::vector<std::string> Words(std::string_view list) {
  std::vector<std::string> words;
  while (!list.empty()) {
    const size_t end = std::min(list.find(' '), list.size());
    words.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return words;
}

TEST(ForeignOptionsTest, AValueThatSaysWhatQuireDoesIsTaken) {
  for (const ForeignOption& option : ForeignOptions()) {
    for (const std::string& value : Words(option.same)) {
      const auto parsed = ParseCommandLine(Serve(option, value));
      EXPECT_TRUE(parsed.ok()) << option.name << " " << value << ": " << parsed.error().message;
    }
  }
}

TEST(ForeignOptionsTest, WhatDoesNothingIsTakenWithAnyValue) {
  for (const ForeignOption& option : ForeignOptions()) {
    if (option.verdict != Verdict::kIgnored) continue;
    const auto parsed = ParseCommandLine(Serve(option, kUnheardOf));
    EXPECT_TRUE(parsed.ok()) << option.name << ": " << parsed.error().message;
  }
}

TEST(ForeignOptionsTest, WhatCannotBeDoneIsRefusedByNameWithAReason) {
  for (const ForeignOption& option : ForeignOptions()) {
    if (option.verdict != Verdict::kRefused) continue;
    ASSERT_FALSE(option.note.empty()) << option.name;
    const auto parsed = ParseCommandLine(Serve(option, kUnheardOf));
    ASSERT_FALSE(parsed.ok()) << option.name;
    EXPECT_THAT(parsed.error().message, StartsWith(std::string(option.name))) << option.name;
    EXPECT_THAT(parsed.error().message, HasSubstr(std::string(option.note))) << option.name;
  }
}

TEST(ForeignOptionsTest, AnotherNameLeadsToAnOptionOfQuire) {
  for (const ForeignOption& option : ForeignOptions()) {
    if (option.verdict != Verdict::kRenamed) continue;
    const auto parsed =
        ParseCommandLine({"serve", std::string(option.name.empty() ? option.short_name : option.name), "7"});
    EXPECT_TRUE(parsed.ok()) << option.name << option.short_name << ": " << parsed.error().message;
  }
}

TEST(ForeignOptionsTest, EveryNameIsThereOnce) {
  std::set<std::string_view> names;
  for (const ForeignOption& option : ForeignOptions()) {
    for (const std::string_view name : {option.name, option.short_name}) {
      EXPECT_TRUE(name.empty() || names.insert(name).second) << name;
      EXPECT_TRUE(name.empty() || FindForeignOption(name) == &option) << name;
    }
  }
}

TEST(ForeignOptionsTest, EmptyNamesFindNothing) { EXPECT_EQ(FindForeignOption(""), nullptr); }

}  // namespace
}  // namespace quire
