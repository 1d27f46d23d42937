// The files beside tokenizer.json, against what AutoTokenizer of Transformers makes of the same directories
// (tools/golden/make_tokenizer_settings.py).
#include "text/tokenizer_settings.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "base/env_testing.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

json ReadJson(const fs::path& path) {
  std::ifstream stream(path);
  return json::parse(stream);
}

const json& TinyTokenizer() {
  static const json kTokenizer = ReadJson(QUIRE_SOURCE_DIR "/models/tiny/tokenizer.json");
  return kTokenizer;
}

// A directory of that tokenizer.json and those files.
class Directory {
 public:
  Directory(const json& tokenizer, const json& files) {
    Write("tokenizer.json", tokenizer);
    for (const auto& [name, content] : files.items()) Write(name, content);
  }
  Result<std::unique_ptr<Tokenizer>> Load() const { return Tokenizer::Load(directory_.path()); }

 private:
  void Write(const std::string& name, const json& content) {
    std::ofstream(fs::path(directory_.path()) / name) << content.dump();
  }
  const TemporaryDirectory directory_;
};

TEST(TokenizerSettings, EqualTransformersForEveryLayout) {
  const json golden = ReadJson(QUIRE_SOURCE_DIR "/tests/goldens/tokenizer_settings.json");
  ASSERT_GT(golden["cases"].size(), 50U);
  for (const json& expected : golden["cases"]) {
    SCOPED_TRACE(expected["label"].get<std::string>());
    json tokenizer_json = expected["base"] == "tiny" ? TinyTokenizer() : golden["metaspace"];
    tokenizer_json.merge_patch(expected["patch"]);
    const auto tokenizer = Directory(tokenizer_json, expected["files"]).Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    for (const json& row : expected["rows"]) {
      const auto ids = (*tokenizer)->Encode(row["text"].get<std::string>(), true);
      ASSERT_TRUE(ids.ok());
      EXPECT_EQ(*ids, row["ids"].get<std::vector<int32_t>>()) << row["text"];
      EXPECT_EQ((*tokenizer)->Decode(*ids, false), row["decoded"]) << row["text"];
      EXPECT_EQ((*tokenizer)->Decode(*ids, true), row["plain"]) << row["text"];
    }
    for (const json& id : expected["special"]) EXPECT_TRUE((*tokenizer)->IsSpecial(id.get<int32_t>())) << id;
    EXPECT_EQ((*tokenizer)->eos_token_id(), expected["eos"].get<int32_t>());
  }
}

json Config(const json& more) {
  json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"eos_token", "<|im_end|>"}};
  config.update(more);
  return {{"tokenizer_config.json", config}};
}

// Transformers keeps the flag of the file, and shows the token in every answer.
TEST(TokenizerSettings, TokensWithARoleAreSpecialWhateverTheFileSays) {
  json tokenizer_json = TinyTokenizer();
  for (json& token : tokenizer_json["added_tokens"]) token["special"] = false;
  const auto tokenizer = Directory(tokenizer_json, Config({{"pad_token", "<|endoftext|>"}})).Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{68, 3, 1, 69}, true), "ab");
  EXPECT_FALSE((*tokenizer)->IsSpecial(2));
}

// LlamaTokenizer has no normalizer that could put a "▁" in front of what is sought and shown.
TEST(TokenizerSettings, NormalizedTokensStandAsTheClassHasThem) {
  const json metaspace = ReadJson(QUIRE_SOURCE_DIR "/tests/goldens/tokenizer_settings.json")["metaspace"];
  const json tool = {{"266", {{"content", "<tool>"}, {"normalized", true}}}};
  for (const auto& [name, text] : {std::pair{"LlamaTokenizer", "b<tool>b"}, {"PreTrainedTokenizerFast", "b <tool>b"}}) {
    const auto tokenizer =
        Directory(metaspace, Config({{"tokenizer_class", name}, {"added_tokens_decoder", tool}})).Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->Decode(std::vector<int32_t>{261, 266, 261}, true), text) << name;
    EXPECT_EQ((*tokenizer)->Encode("ab<tool>", false)->back() == 266, name == std::string("LlamaTokenizer"));
  }
}

// The token that tokenizer.json pads with is the pad token, unless the files beside say which or that there is none.
TEST(TokenizerSettings, ThePaddingOfTheFileNamesThePadToken) {
  json tokenizer_json = TinyTokenizer();
  tokenizer_json["padding"] = {
      {"strategy", "BatchLongest"}, {"direction", "Right"}, {"pad_id", 0}, {"pad_type_id", 0}, {"pad_token", "<pad>"}};
  const std::pair<json, bool> kCases[] = {
      {json::object(), true}, {{{"pad_token", nullptr}}, false}, {{{"pad_token", "<|endoftext|>"}}, false}};
  for (const auto& [more, is_pad] : kCases) {
    const auto tokenizer = Directory(tokenizer_json, Config(more)).Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->TokenId("<pad>").has_value(), is_pad) << more;
    EXPECT_EQ((*tokenizer)->IsSpecial(1280), is_pad) << more;
  }
}

// None of them is looked for among all before it.
TEST(TokenizerSettings, ManyTokensAreReadAtOnce) {
  json table = json::object(), added = json::object(), more = json::array();
  for (int i = 0; i < 40000; ++i) {
    const std::string content = "<" + std::to_string(i) + ">";
    table[std::to_string(2000 + i)] = {{"content", content}, {"special", i % 2 == 0}};
    added[content] = 2000 + i;
    more.push_back(content);
  }
  for (const json& files : {json{{"tokenizer_config.json", {{"added_tokens_decoder", table}, {"eos_token", "<7>"}}}},
                            json{{"tokenizer_config.json", {{"additional_special_tokens", more}, {"eos_token", "<7>"}}},
                                 {"added_tokens.json", added}}}) {
    const auto tokenizer = Directory(TinyTokenizer(), files).Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_EQ((*tokenizer)->eos_token_id(), (*tokenizer)->TokenId("<7>"));
    EXPECT_TRUE((*tokenizer)->TokenId("<39999>").has_value());
  }
}

TEST(TokenizerSettings, TooManyNamesAreRefused) {
  json names = json::object(), objects = json::array();
  for (int i = 0; i < 60000; ++i) {
    names["token" + std::to_string(i)] = "<s>";
    objects.push_back(json::object());
  }
  for (const json& config : {json{{"extra_special_tokens", names}}, json{{"chat_template", objects}}}) {
    const auto tokenizer = Directory(TinyTokenizer(), {{"tokenizer_config.json", config}}).Load();
    ASSERT_FALSE(tokenizer.ok());
    EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer_config.json: it has too many members"));
  }
}

// Transformers 4 takes such a token for none.
TEST(TokenizerSettings, ATokenWithoutATextIsNone) {
  const auto tokenizer =
      Directory(TinyTokenizer(), Config({{"eos_token", {{"content", nullptr}, {"lstrip", false}}}})).Load();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_FALSE((*tokenizer)->eos_token_id().has_value());
}

// Transformers refuses these for lack of a type tag.
TEST(TokenizerSettings, TakesTokensAsPlainObjects) {
  const json tool = {{"content", "<|tool|>"}, {"lstrip", false}};
  for (const json& more : {json{{"eos_token", tool}}, json{{"additional_special_tokens", json::array({tool})}},
                           json{{"extra_special_tokens", {{"tool_token", tool}}}}}) {
    const auto tokenizer = Directory(TinyTokenizer(), Config(more)).Load();
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    const auto ids = (*tokenizer)->Encode("<|tool|>", false);
    EXPECT_EQ(*ids, std::vector<int32_t>{1280}) << more;
    EXPECT_TRUE((*tokenizer)->IsSpecial(1280));
  }
}

TEST(TokenizerSettings, NamesTheFileAndTheFieldThatIsWrong) {
  const std::pair<json, const char*> kCases[] = {
      {{{"eos_token", 7}}, "eos_token"},
      {{{"additional_special_tokens", "<|tool|>"}}, "additional_special_tokens: must be an array"},
      {{{"additional_special_tokens", {1}}}, "additional_special_tokens[0]: must be a string"},
      {{{"added_tokens_decoder", {{"x", {{"content", "<A>"}}}}}}, "\"x\" is not a token id"},
      {{{"added_tokens_decoder", {{"7", {{"special", true}}}}}}, "content: is missing"},
      {{{"split_special_tokens", "yes"}}, "split_special_tokens: must be true or false"},
  };
  for (const auto& [more, problem] : kCases) {
    const auto tokenizer = Directory(TinyTokenizer(), Config(more)).Load();
    ASSERT_FALSE(tokenizer.ok()) << more;
    EXPECT_THAT(tokenizer.error().message, HasSubstr("tokenizer_config.json: ")) << more;
    EXPECT_THAT(tokenizer.error().message, HasSubstr(problem)) << more;
  }
}

TEST(TokenizerSettings, FieldsOfNoUseKeepNothingFromLoading) {
  const auto tokenizer = Directory(TinyTokenizer(), Config({{"add_bos_token", "maybe"},
                                                            {"legacy", 3},
                                                            {"pad_token", nullptr},
                                                            {"model_max_length", 1e30},
                                                            {"extra_special_tokens", nullptr}}))
                             .Load();
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
}

}  // namespace
}  // namespace quire
