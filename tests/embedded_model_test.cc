// The embedded models against Transformers: what `quire serve` answers, from text to tokens, through the whole engine.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "engine/engine.h"
#include "llm/loader.h"
#include "text/chat_rendering.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;

const std::string kSource = QUIRE_SOURCE_DIR;

Json ReadGolden(const std::string& name) {
  std::ifstream file(kSource + "/tests/goldens/" + name);
  EXPECT_TRUE(file) << name << ": made by tools/golden/make_tiny.py";
  return Json::parse(file);
}

LoadedModel Load(const std::string& name, const std::string& dtype) {
  SetLogLevel(LogLevel::kWarning);
  LoadOptions options;
  options.model = kSource + "/models/" + name;
  options.dtype = options.kv_cache_dtype = dtype;
  options.num_gpu_blocks_override = 512;
  options.threads = 2;
  Result<LoadedModel> loaded = LoadModel(options);
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return *std::move(loaded);
}

// All prompts at once, so that they share steps.
std::vector<std::vector<int32_t>> Greedy(Engine& engine, const Json& golden) {
  std::vector<RequestHandle> handles;
  for (const Json& entry : golden["prompts"]) {
    Request args;
    args.prompt = entry["prompt_ids"].get<std::vector<int32_t>>();
    args.params.temperature = 0;
    args.params.max_tokens = golden["max_new_tokens"].get<int32_t>();
    handles.push_back(*engine.Submit(std::move(args)));
  }
  while (engine.HasWork()) engine.Step();
  std::vector<std::vector<int32_t>> ids;
  ids.reserve(handles.size());
  for (RequestHandle& handle : handles) ids.push_back(handle.TryNext()->token_ids);
  return ids;
}

class EmbeddedModel : public testing::TestWithParam<std::string> {};

TEST_P(EmbeddedModel, Float32GreedyIdsEqualTransformersOnAllPrompts) {
  const Json golden = ReadGolden(GetParam() + ".json");
  ASSERT_EQ(golden["prompts"].size(), 20U);
  const LoadedModel loaded = Load(GetParam(), "float32");
  const std::vector<std::vector<int32_t>> ids = Greedy(*loaded.engine, golden);
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(ids[i], golden["prompts"][i]["greedy_ids"].get<std::vector<int32_t>>()) << golden["prompts"][i]["text"];
  }
}

TEST_P(EmbeddedModel, DefaultModeAnswersEveryPromptAndReportsItsAgreement) {
  const Json golden = ReadGolden(GetParam() + ".json");
  const LoadedModel loaded = Load(GetParam(), "auto");
  const std::vector<std::vector<int32_t>> ids = Greedy(*loaded.engine, golden);
  int num_equal = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_FALSE(ids[i].empty());
    num_equal += ids[i] == golden["prompts"][i]["greedy_ids"].get<std::vector<int32_t>>();
  }
  RecordProperty("prompts_equal_to_float32", num_equal);
  std::printf("%s in bfloat16: %d of %zu prompts as Transformers in float32\n", GetParam().c_str(), num_equal,
              ids.size());
}

TEST_P(EmbeddedModel, RendersAndEncodesPromptsAsTransformersDoes) {
  const Json golden = ReadGolden(GetParam() + ".json");
  const LoadedModel loaded = Load(GetParam(), "auto");
  ASSERT_TRUE(loaded.chat_template) << loaded.chat_template_problem;
  for (const Json& entry : golden["prompts"]) {
    const bool chat = entry["kind"] == "chat";
    std::string text = entry["text"].get<std::string>();
    if (chat) {
      const Result<std::string> rendered = RenderChat(*loaded.chat_template, {.messages = entry["messages"]});
      ASSERT_TRUE(rendered.ok()) << rendered.error().message;
      EXPECT_EQ(*rendered, text);
      text = *rendered;
    }
    EXPECT_EQ(*loaded.tokenizer->Encode(text, !chat), entry["prompt_ids"].get<std::vector<int32_t>>());
  }
}

INSTANTIATE_TEST_SUITE_P(All, EmbeddedModel, testing::Values("tiny", "tiny-draft"), [](const auto& info) {
  return info.param == "tiny" ? std::string("Tiny") : std::string("TinyDraft");
});

TEST(EmbeddedTokenizer, EqualsTransformersOnItsGoldens) {
  const Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::Load(kSource + "/models/tiny");
  ASSERT_TRUE(tokenizer.ok());
  std::ifstream file(kSource + "/tests/goldens/tiny_tokenizer.jsonl");
  ASSERT_TRUE(file);
  int rows = 0;
  for (std::string line; std::getline(file, line); ++rows) {
    const Json row = Json::parse(line);
    const std::string text = row["text"].get<std::string>();
    const auto ids = row["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(*(*tokenizer)->Encode(text, false), ids) << line;
    EXPECT_EQ(*(*tokenizer)->Encode(text, true), row["ids_with_special"].get<std::vector<int32_t>>()) << line;
    EXPECT_EQ((*tokenizer)->Decode(ids, false), row["decoded"].get<std::string>()) << line;
    EXPECT_EQ((*tokenizer)->Decode(ids, true), row["decoded_skip_special"].get<std::string>()) << line;
  }
  EXPECT_GE(rows, 60);
}

}  // namespace
}  // namespace quire
