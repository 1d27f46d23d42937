#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/env_testing.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::optional<OwnOption> Find(const std::string& name) {
  if (name == "--port" || name == "-p") return OwnOption{.name = "--port", .arity = Arity::kOne};
  if (name == "--api-key") return OwnOption{.name = name, .arity = Arity::kSome};
  if (name == "--max-model-len") return OwnOption{.name = name, .arity = Arity::kOne};
  if (name == "--fair") return OwnOption{.name = name, .arity = Arity::kNone};
  if (name == "--model" || name == "--config") return OwnOption{.name = name, .arity = Arity::kOne};
  return std::nullopt;
}

Result<Arguments> Read(const std::vector<std::string>& arguments, size_t max_positionals = 1) {
  return ReadArguments(arguments, {.find = Find,
                                   .names = {"--port", "--api-key", "--max-model-len", "--fair"},
                                   .max_positionals = max_positionals});
}

std::string Complaint(const std::vector<std::string>& arguments) {
  const Result<Arguments> read = Read(arguments);
  return read.ok() ? "" : read.error().message;
}

TEST(ReadArgumentsTest, TakesNamesWithUnderscoresAndValuesAfterEquals) {
  const Arguments read = *Read({"--max_model_len", "64", "--port=1", "model_with_underscore"});
  EXPECT_THAT(read.options, ElementsAre("--max-model-len", "64", "--port", "1"));
  EXPECT_THAT(read.positionals, ElementsAre("model_with_underscore"));
}

TEST(ReadArgumentsTest, TakesSeveralValuesOfAnOption) {
  EXPECT_THAT(Read({"m", "--api-key", "a", "b", "--fair"})->options,
              ElementsAre("--api-key", "a", "--api-key", "b", "--fair"));
  EXPECT_THAT(Read({"--api-key", "a", "b"})->options, ElementsAre("--api-key", "a", "--api-key", "b"));
}

TEST(ReadArgumentsTest, SeveralValuesLeaveAModelWhereNoOtherIsNamed) {
  EXPECT_THAT(Read({"--api-key", "a", "org/model"})->positionals, ElementsAre("org/model"));
  EXPECT_THAT(Read({"--api-key", "a", "/model", "--fair"})->options, ElementsAre("--api-key", "a", "--fair"));
  EXPECT_THAT(Read({"m", "--api-key", "a", "b/c"})->positionals, ElementsAre("m"));
  EXPECT_THAT(Read({"--model", "m", "--api-key", "a", "b/c"})->positionals, ElementsAre("m"));
  EXPECT_THAT(Read({"--api-key", "a/b"})->positionals, IsEmpty());
}

TEST(ReadArgumentsTest, AValueMayBeNegativeOrBeginWithADash) {
  EXPECT_THAT(Read({"--max-model-len", "-1"})->options, ElementsAre("--max-model-len", "-1"));
  EXPECT_THAT(Read({"--port", "-x"})->options, ElementsAre("--port", "-x"));
  EXPECT_THAT(Complaint({"--port", "--fair"}), HasSubstr("--port needs a value, but --fair follows"));
  EXPECT_THAT(Complaint({"--port"}), HasSubstr("--port needs a value"));
  EXPECT_THAT(Complaint({"--api-key", ""}), HasSubstr("--api-key needs a value, but it is empty"));
}

TEST(ReadArgumentsTest, TheModelMayBeAnOption) {
  EXPECT_THAT(Read({"--model", "m", "--port", "1"})->positionals, ElementsAre("m"));
  EXPECT_THAT(Read({"-m", "m", "prompt"}, 2)->positionals, ElementsAre("m", "prompt"));
  EXPECT_THAT(Complaint({"a", "--model", "b"}), HasSubstr("given twice, as b and as a"));
  EXPECT_THAT(Complaint({"a", "b"}), HasSubstr("\"b\" is one argument too many"));
}

TEST(ReadArgumentsTest, WhatFollowsTwoDashesIsNoOption) {
  EXPECT_THAT(Read({"--", "--port"})->positionals, ElementsAre("--port"));
}

TEST(ReadArgumentsTest, NamesTheOptionThatWasProbablyMeant) {
  EXPECT_THAT(Complaint({"--max-modle-len", "1"}), HasSubstr("did you mean --max-model-len?"));
  EXPECT_THAT(Complaint({"--tensor-paralel-size", "1"}), HasSubstr("did you mean --tensor-parallel-size?"));
  EXPECT_EQ(Complaint({"--xyzzy"}), "there is no option --xyzzy");
}

TEST(ReadArgumentsTest, NamesWhatDoesNothingOnce) {
  const Arguments read =
      *Read({"--enforce-eager", "--enforce_eager", "-O3", "--hf-token", "--tool-call-parser", "hermes", "-tp", "1",
             "--no-enable-lora", "--quantization-config", "None", "--disable-chunked-prefill"});
  EXPECT_THAT(read.ignored,
              ElementsAre("--enforce-eager", "--enforce_eager", "-O", "--hf-token (tokens are read from HF_TOKEN)",
                          "--tool-call-parser (requests with tools are refused)",
                          "--disable-chunked-prefill (prompts are always computed in chunks)"));
  EXPECT_THAT(read.options, IsEmpty());
}

TEST(ReadArgumentsTest, ASwitchMayHaveAWordAfterIt) {
  const Arguments read = *Read({"--enable-chunked-prefill", "False", "--enable-lora", "false", "--fair", "true", "m"});
  EXPECT_THAT(read.ignored, ElementsAre("--enable-chunked-prefill (prompts are always computed in chunks)"));
  EXPECT_THAT(read.options, ElementsAre("--fair=true"));
  EXPECT_THAT(read.positionals, ElementsAre("m"));
}

TEST(ReadArgumentsTest, RefusesWhatWouldChangeTheAnswer) {
  EXPECT_THAT(Complaint({"-tp", "2"}), HasSubstr("-tp 2: Quire computes on one device"));
  EXPECT_THAT(Complaint({"--enable-lora"}), HasSubstr("--enable-lora: adapters are not served"));
  EXPECT_THAT(Complaint({"--hf-overrides.rope_theta", "1"}), HasSubstr("{\"rope_theta\":1}"));
}

TEST(ReadArgumentsTest, TakesTheOtherNameOfAnOwnOption) {
  EXPECT_THAT(Read({"-c", "8k"})->options, ElementsAre("--max-model-len", "8k"));
  EXPECT_THAT(Read({"-c", "0"})->options, IsEmpty());
}

class ConfigFileTest : public testing::Test {
 protected:
  void Write(const std::string& text) { std::ofstream(path_) << text; }
  const TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/options.yaml";
};

TEST_F(ConfigFileTest, GivesOptionsThatTheCommandLineOverrides) {
  Write(
      "model: from/file\nport: 1\nmax_model_len: 8k\napi-key: [a, b]\nfair: false\nenforce-eager: true\n"
      "hf-token: null\ncompilation-config:\n  level: 3\n  on: yes\n");
  const Arguments read = *Read({"--config", path_, "--port", "2"});
  EXPECT_THAT(read.options,
              ElementsAre("--max-model-len", "8k", "--api-key", "a", "--api-key", "b", "--fair=false", "--port", "2"));
  EXPECT_THAT(read.positionals, ElementsAre("from/file"));
  EXPECT_THAT(read.ignored, ElementsAre("--enforce-eager", "--compilation-config"));
  EXPECT_THAT(Read({"mine", "--config", path_})->positionals, ElementsAre("mine"));
  EXPECT_THAT(Read({"--config", path_, "--api-key", "c"})->options, testing::Not(testing::Contains("a")));
}

TEST_F(ConfigFileTest, IsRefusedByNameIfItIsBad) {
  EXPECT_THAT(Complaint({"--config", "options.json"}), HasSubstr("options.json: the file must be YAML"));
  EXPECT_THAT(Complaint({"--config", path_}), HasSubstr(path_));
  Write("port: [1\n");
  EXPECT_THAT(Complaint({"--config", path_}), HasSubstr("line 2"));
  Write("- a\n");
  EXPECT_THAT(Complaint({"--config", path_}), HasSubstr("must hold options"));
  Write("prot: 1\n");
  EXPECT_THAT(Complaint({"--config", path_}), HasSubstr("did you mean --port?"));
}

}  // namespace
}  // namespace quire
