// Every row of the table of options, from the command line to the member and back.
#include "cli/load_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <map>
#include <set>
#include <sstream>

#include "cli/foreign_options.h"
#include "cli/options.h"
#include "cli/parse.h"
#include "llm/option_table.h"

namespace quire {
namespace {

using Texts = std::map<std::string, std::optional<std::string>>;

// What every row's member holds.
Texts Held(const LoadOptions& options) {
  Texts held;
  for (const LoadOption& option : LoadOptionTable()) held[option.name] = ValueText(option.value, options);
  return held;
}

// All rows together, as `quire serve` has them.
LoadOptions Parsed(const std::string& argument) {
  CLI::App app;
  LoadOptions load;
  AddLoad(app, load, false);
  AddLoadForServe(app, load);
  app.parse(std::vector<std::string>{argument});
  return load;
}

std::vector<std::string> AliasesOf(const LoadOption& option) {
  std::vector<std::string> aliases;
  std::istringstream list(option.aliases);
  for (std::string alias; std::getline(list, alias, ',');) aliases.push_back(alias);
  return aliases;
}

// One that is not the default.
struct GoodText {
  std::string operator()(const takes::Switch& takes) const { return LoadOptions().*takes.member ? "false" : "true"; }
  template <typename T>
  std::string operator()(const takes::WholeNumber<T>& takes) const {
    return std::to_string(takes.least + 1);
  }
  std::string operator()(const takes::WholeNumberOrAuto&) const { return "25.6k"; }
  std::string operator()(const takes::Number& takes) const { return fmt::format("{}", takes.least); }
  std::string operator()(const takes::Seed&) const { return "18446744073709551615"; }
  template <typename T>
  std::string operator()(const takes::OneOf<T>& takes) const {
    const bool is_first = takes.names.front().value == LoadOptions().*takes.member;
    return std::string(is_first ? takes.names.back().name : takes.names.front().name);
  }
  template <typename T>
  std::string operator()(const takes::Spelling<T>& takes) const {
    return std::string(takes.names.back().name);
  }
  std::string operator()(const takes::ByteSize&) const { return "3MiB"; }
  std::string operator()(const takes::CheckedText& takes) const {
    for (const char* text : {R"({"method": "ngram", "num_speculative_tokens": 5})", R"({"temperature": 0.5})"}) {
      if (takes.check(text).ok()) return text;
    }
    return "ref";  // an instruction set
  }
  std::string operator()(const takes::Text&) const { return "/a path"; }
  std::string operator()(const takes::Texts&) const { return "/a path"; }
};

// Puts a value into the member that no reader would, and returns it as text; empty: any value is allowed.
struct Spoil {
  LoadOptions& options;

  template <typename T>
  std::string operator()(const takes::WholeNumber<T>& takes) const {
    options.*takes.member = static_cast<int32_t>(takes.least - 1);
    return std::to_string(takes.least - 1);
  }
  std::string operator()(const takes::WholeNumberOrAuto& takes) const {
    options.*takes.member = 0;
    return "0";
  }
  std::string operator()(const takes::Number& takes) const {
    options.*takes.member = takes.most + 1;
    return fmt::format("{}", takes.most + 1);
  }
  template <typename T>
  std::string operator()(const takes::OneOf<T>& takes) const {
    options.*takes.member = static_cast<T>(99);
    return "99";
  }
  template <typename T>
  std::string operator()(const takes::Spelling<T>& takes) const {
    return options.*takes.member = "99";
  }
  std::string operator()(const takes::ByteSize& takes) const { return options.*takes.member = "lots"; }
  std::string operator()(const takes::CheckedText& takes) const { return options.*takes.member = "[1]"; }
  template <typename Takes>
  std::string operator()(const Takes&) const {
    return "";
  }
};

TEST(LoadOptionTableTest, AGoodValueReachesItsMemberAndNoOther) {
  for (const LoadOption& option : LoadOptionTable()) {
    const std::string text = std::visit(GoodText(), option.value);
    LoadOptions expected;
    ASSERT_TRUE(ReadValue(option.value, text, expected).ok()) << option.name << " " << text;
    EXPECT_EQ(Held(Parsed(option.name + ("=" + text))), Held(expected)) << option.name;
    Texts held = Held(expected);
    EXPECT_NE(held[option.name], ValueText(option.value, LoadOptions())) << option.name;
    held[option.name] = ValueText(option.value, LoadOptions());
    EXPECT_EQ(held, Held(LoadOptions())) << option.name << " has a member of its own";
    EXPECT_TRUE(CheckLoadOptions(expected).ok() || option.name == std::string("--preemption-mode")) << option.name;
  }
}

TEST(LoadOptionTableTest, AnAliasIsTheOptionOrTurnsItOff) {
  for (const LoadOption& option : LoadOptionTable()) {
    for (const std::string& alias : AliasesOf(option)) {
      const bool turns_off = alias.starts_with('!');
      const std::string text = turns_off ? "false" : std::visit(GoodText(), option.value);
      LoadOptions expected;
      ASSERT_TRUE(ReadValue(option.value, text, expected).ok()) << alias;
      const std::string with_text = alias + (alias.starts_with("--") ? "=" : "") + text;
      EXPECT_EQ(Held(Parsed(turns_off ? alias.substr(1) : with_text)), Held(expected)) << alias;
    }
  }
}

TEST(LoadOptionTableTest, ABadValueHasOneMessageWhereverItComesFrom) {
  for (const LoadOption& option : LoadOptionTable()) {
    LoadOptions spoiled;
    const std::string text = std::visit(Spoil{spoiled}, option.value);
    if (text.empty()) continue;
    const Status status = CheckLoadOptions(spoiled);
    ASSERT_FALSE(status.ok()) << option.name;
    EXPECT_THAT(status.error().message, testing::StartsWith(option.name));
    EXPECT_THAT(status.error().message, testing::HasSubstr(text));
    const auto parsed = ParseCommandLine({"serve", option.name, text});
    ASSERT_FALSE(parsed.ok()) << option.name;
    EXPECT_EQ(parsed.error().message, status.error().message + "\nquire serve --help explains every option");
  }
}

TEST(LoadOptionTableTest, EveryNameIsThereOnce) {
  std::set<std::string> names;
  for (const LoadOption& option : LoadOptionTable()) {
    EXPECT_TRUE(names.insert(option.name).second) << option.name;
    EXPECT_EQ(FindLoadOption(option.name), &option);
    for (const std::string& alias : AliasesOf(option)) {
      EXPECT_TRUE(names.insert(alias.substr(alias.starts_with('!') ? 1 : 0)).second) << alias;
    }
  }
  EXPECT_EQ(FindLoadOption("--unheard-of"), nullptr);
}

TEST(LoadOptionTableTest, NoOptionOfTheServerIsListedAsForeign) {
  CLI::App app;
  Commands commands;
  std::function<int()> chosen;
  AddCommands(app, commands, chosen);
  for (const CLI::Option* option : std::as_const(*app.get_subcommand("serve")).get_options()) {
    for (const std::string& name : option->get_lnames()) EXPECT_EQ(FindForeignOption("--" + name), nullptr) << name;
    for (const std::string& name : option->get_snames()) EXPECT_EQ(FindForeignOption("-" + name), nullptr) << name;
  }
}

TEST(LoadOptionTableTest, TheEnvironmentGivesTheSizeOfTheCacheWhereNoOptionDoes) {
  ASSERT_EQ(setenv("VLLM_CPU_KVCACHE_SPACE", "2", 1), 0);
  EXPECT_EQ(Parsed("--fair").kv_cache_memory, "2GiB");
  EXPECT_EQ(Parsed("--kv-cache-memory=1MiB").kv_cache_memory, "1MiB");
  unsetenv("VLLM_CPU_KVCACHE_SPACE");
  EXPECT_EQ(Parsed("--fair").kv_cache_memory, "");
}

}  // namespace
}  // namespace quire
