#include "cli/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/nearest_name.h"

namespace quire {
namespace {

using ::testing::HasSubstr;

std::string ParseComplaint(const std::vector<std::string>& arguments) {
  const auto parsed = ParseCommandLine(arguments);
  return parsed.ok() ? "" : parsed.error().message;
}

// The start lines of guides for vLLM and llama.cpp.
TEST(ParseCommandLineTest, TakesStartLinesOfOtherServers) {
  const std::vector<std::vector<std::string>> lines = {
      {"serve", "m", "--tensor-parallel-size", "1", "-tp", "1", "--dtype", "half", "--enforce-eager", "--seed", "1"},
      {"serve", "m", "--trust-remote-code", "--disable-log-requests", "--max-model-len", "auto"},
      {"serve", "m", "--max_model_len", "-1", "--gpu-memory-utilization", "0.9", "--swap-space", "0", "-O3"},
      {"serve", "m", "--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"},
      {"serve", "m", "--enable-prefix-caching", "--enable-chunked-prefill", "--distributed-executor-backend", "mp"},
      {"serve", "m", "--uvicorn-log-level", "info", "--load-format", "auto", "--revision", "main", "--device", "cpu"},
      {"serve", "m", "--limit-mm-per-prompt", "{\"image\": 2}", "--compilation-config", "{\"level\": 3}"},
      {"serve", "m", "--max-num-batched-tokens", "25.6k", "--max-num-seqs", "64", "--num-scheduler-steps", "8"},
      {"serve", "m", "--served-model-name", "a", "b", "--api-key", "k1", "k2", "--allowed-origins", "[\"*\"]"},
      {"serve", "m", "--compilation-config.level", "3", "--override-generation-config.temperature", "0.5"},
      {"serve", "--model", "m", "--host", "0.0.0.0", "--port=8080", "--no-enable-prefix-caching", "--log-level",
       "INFO"},
      {"serve", "m", "--use-v2-block-manager", "--guided-decoding-backend", "outlines", "--download-dir", "/models"},
      {"serve", "-m", "m", "-c", "4096", "-ngl", "99", "-t", "4", "-np", "2", "--jinja", "-fa", "on", "--mlock",
       "--no-kv-populate"},
      {"run", "m", "prompt", "-n", "5", "--enforce-eager"},
      {"bench", "latency", "--model", "m", "--batch-size", "4", "--enforce-eager", "--dtype", "float16"}};
  for (const auto& line : lines) EXPECT_EQ(ParseComplaint(line), "") << testing::PrintToString(line);
}

TEST(ParseCommandLineTest, SaysInOneShortLineWhatIsWrong) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> lines = {
      {{"serve", "--max-num-seqs", "many"}, "--max-num-seqs: \"many\" is not a whole number"},
      {{"serve", "--max-num-seqs", "0"}, "--max-num-seqs: 0 is out of range: it must be from 1 to 65536"},
      {{"serve", "--max-model-len", "1.5K"}, "a fraction needs a decimal suffix, such as 1.5k"},
      {{"serve", "--max-model-len", "0"}, "--max-model-len: 0 is out of range: it must be from 1"},
      {{"serve", "--num-gpu-blocks-override", "99999999999"}, "it must be at most 2147483647"},
      {{"serve", "--gpu-memory-utilization", "2"}, "2 is out of range: it must be from 0.01 to 1"},
      {{"serve", "--gpu-memory-utilization", "x"}, "--gpu-memory-utilization: \"x\" is not a number"},
      {{"serve", "--dtype", "int8"}, "--dtype: \"int8\" is not known: use one of auto, bfloat16"},
      {{"serve", "--kv-cache-dtype", "fp8"}, "\"fp8\" is not known: use one of auto, bfloat16"},
      {{"serve", "--port", "70000"}, "--port: 70000 is out of range"},
      {{"serve", "--log-level", "loud"}, "use one of debug, info"},
      {{"serve", "--seed", "x"}, "--seed: \"x\" is not a whole number"},
      {{"run", "m", "p", "--temperature", "hot"}, "--temperature: \"hot\" is not a number"},
      {{"bench", "kv", "--request-rate", "0"}, "\"0\" is not a number above 0"},
      {{"tokenize", "--enforce-eager"}, "there is no option --enforce-eager"},
      {{"serve", "m", "--quantization-config", "{1}"}, "--quantization-config {1}: weights are decoded from"},
      {{"run"}, "model is required"}};
  for (const auto& [line, reason] : lines) {
    const std::string message = ParseComplaint(line);
    EXPECT_THAT(message, HasSubstr(reason));
    EXPECT_LT(message.find('\n'), 160U) << message;
    EXPECT_THAT(message, HasSubstr("quire " + line[0])) << "where help is";
  }
}

TEST(ParseCommandLineTest, ShowsTheCommandsWhereOneIsMissingOrUnknown) {
  EXPECT_THAT(ParseComplaint({}), HasSubstr("a command is missing"));
  EXPECT_THAT(ParseComplaint({"serv"}), HasSubstr("there is no command serv: did you mean serve?"));
  EXPECT_THAT(ParseComplaint({"bench", "throughputs"}), HasSubstr("did you mean throughput?"));
  EXPECT_THAT(ParseComplaint({"bench"}), HasSubstr("latency"));
  EXPECT_THAT(ParseComplaint({"zebra"}), HasSubstr("  tokenize "));
  EXPECT_THAT(ParseComplaint({"--model", "m"}), HasSubstr("quire serve --model"));
}

TEST(ParseCommandLineTest, HelpHasPrecedence) {
  EXPECT_EQ(ParseComplaint({"--help"}), "");
  EXPECT_EQ(ParseComplaint({"--version"}), "");
  EXPECT_EQ(ParseComplaint({"serve", "--help=all", "--nonsense"}), "");
  EXPECT_EQ(ParseComplaint({"bench", "--help"}), "");
}

TEST(NearestNameTest, NamesOnlyWhatIsLikeIt) {
  EXPECT_EQ(NearestName("serv", {"run", "serve", "bench"}), "serve");
  EXPECT_EQ(NearestName("tokenise", {"run", "tokenize"}), "tokenize");
  EXPECT_EQ(NearestName("--max-model", {"--max-num-seqs", "--max-model-len"}), "--max-model-len");
  EXPECT_EQ(NearestName("zebra", {"run", "serve", "bench"}), "");
}

}  // namespace
}  // namespace quire
