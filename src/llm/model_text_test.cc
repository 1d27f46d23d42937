// Tokenizers and chat templates out of GGUF files.
#include "llm/model_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/env_testing.h"
#include "weights/gguf_testing.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;

const std::string kTiny = QUIRE_SOURCE_DIR "/models/tiny";

GgufBuilder TextKeys() {
  GgufBuilder file;
  file.AddString("tokenizer.ggml.model", "gpt2").AddString("tokenizer.ggml.pre", "gpt-2");
  file.AddStrings("tokenizer.ggml.tokens", {"a", "b", "ab", "<s>", "</s>", "<eot>"});
  std::string types;
  for (const int32_t type : {1, 1, 1, 3, 3, 3}) types += GgufBuilder::Bytes(type);
  file.AddArray("tokenizer.ggml.token_type", GgufType::kInt32, 6, types);
  file.AddStrings("tokenizer.ggml.merges", {"a b"});
  file.AddUint("tokenizer.ggml.bos_token_id", 3).AddUint("tokenizer.ggml.eos_token_id", 4);
  file.AddUint("tokenizer.ggml.eot_token_id", 5).AddUint("tokenizer.ggml.seperator_token_id", 4);
  file.AddBool("tokenizer.ggml.add_bos_token", true).AddBool("tokenizer.ggml.add_eos_token", true);
  return file;
}

class ModelTextTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& bytes) const {
    const std::string path = JoinPath(directory_.path(), name);
    EXPECT_TRUE(Env::Posix().WriteFile(path, bytes).ok());
    return path;
  }
  const TemporaryDirectory directory_;
};

TEST_F(ModelTextTest, ReadsTheKeysOfAFileOrOfTheFileInADirectory) {
  const std::string file = Write("model.gguf", TextKeys().Build());
  for (const std::string& path : {file, std::string(directory_.path())}) {
    const auto tokenizer = LoadTokenizer(path);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    EXPECT_THAT(*(*tokenizer)->Encode("ab", true), ElementsAre(3, 2, 4));
    EXPECT_THAT((*tokenizer)->end_token_ids(), ElementsAre(4, 5));
    EXPECT_THAT(
        (*tokenizer)->special_tokens(),
        ElementsAre(NamedToken{"bos_token", "<s>"}, NamedToken{"eos_token", "</s>"}, NamedToken{"sep_token", "</s>"}));
  }
}

TEST_F(ModelTextTest, FindsTemplatesByName) {
  GgufBuilder file = TextKeys();
  const std::string path = Write("model.gguf", file.Build());
  EXPECT_EQ(LoadChatTemplate(path).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(LoadChatTemplate(path).error().message, HasSubstr("--chat-template"));
  file.AddString("tokenizer.chat_template", "plain");
  file.AddStrings("tokenizer.chat_templates", {"tool_use"});
  Write("model.gguf", file.Build());
  EXPECT_EQ(*LoadChatTemplate(path, /*with_tools=*/true), "plain");
  Write("model.gguf", file.AddString("tokenizer.chat_template.tool_use", "tools").Build());
  EXPECT_EQ(*LoadChatTemplate(path, /*with_tools=*/true), "tools");
  EXPECT_EQ(*LoadChatTemplate(directory_.path()), "plain");
  Write("chat_template.jinja", "beside");
  EXPECT_EQ(*LoadChatTemplate(directory_.path()), "beside");
  EXPECT_EQ(*LoadChatTemplate(path), "plain");
}

TEST_F(ModelTextTest, TokenizerJsonGoesFirst) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    std::filesystem::copy_file(JoinPath(kTiny, name), JoinPath(directory_.path(), name));
  }
  Write("model.gguf", TextKeys().Build());
  EXPECT_EQ((*LoadTokenizer(directory_.path()))->vocab_size(), (*LoadTokenizer(kTiny))->vocab_size());
}

TEST_F(ModelTextTest, ErrorsNameTheFileAndTheKey) {
  const std::string path = Write("model.gguf", TextKeys().AddUint("general.name", 1).Build());
  EXPECT_THAT(LoadTokenizer(path).error().message, HasSubstr("general.name"));
  Write("model.gguf", GgufBuilder().AddString("tokenizer.ggml.model", "bert").Build());
  EXPECT_EQ(LoadTokenizer(path).error().code, ErrorCode::kUnimplemented);
  EXPECT_THAT(LoadTokenizer(path).error().message, HasSubstr(path + ": tokenizer.ggml.model"));
  Write("model.gguf", "GGUF");
  EXPECT_THAT(LoadTokenizer(path).error().message, HasSubstr(path));
  EXPECT_THAT(LoadTokenizer(directory_.path() + "/none").error().message, HasSubstr("tokenizer.json is missing"));
}

}  // namespace
}  // namespace quire
