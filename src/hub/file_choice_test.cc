// Which files a model needs, of repositories as they are.
#include "hub/file_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/gguf_groups.h"
#include "hub/hub_testing.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Listing;
using ::testing::Not;

std::vector<std::string> PathsOf(const FileChoice& choice) {
  std::vector<std::string> paths;
  for (const RepoFile& file : choice.files) paths.push_back(file.path);
  return paths;
}

std::vector<std::string> Chosen(const std::vector<std::string>& paths, const std::string& selector = "") {
  const auto choice = ChooseFiles(Listing(paths), selector);
  EXPECT_TRUE(choice.ok()) << choice.error().message;
  return choice.ok() ? PathsOf(*choice) : std::vector<std::string>();
}

std::string Refusal(const std::vector<std::string>& paths, const std::string& selector = "") {
  const auto choice = ChooseFiles(Listing(paths), selector);
  return choice.ok() ? "chosen" : choice.error().message;
}

TEST(FileChoiceTest, TakesSafetensorsWithConfigAndTokenizerAndNothingTwice) {
  EXPECT_THAT(Chosen({".gitattributes",
                      "README.md",
                      "config.json",
                      "consolidated.safetensors",
                      "flax_model.msgpack",
                      "generation_config.json",
                      "merges.txt",
                      "model.fp16.safetensors",
                      "model.safetensors",
                      "onnx/model.onnx",
                      "original/consolidated.00.pth",
                      "pytorch_model.bin",
                      "tf_model.h5",
                      "tokenizer.json",
                      "tokenizer.model",
                      "tokenizer_config.json",
                      "vocab.json",
                      "additional_chat_templates/tool_use.jinja",
                      "sub/model.safetensors",
                      "adapter_model.safetensors"}),
              ElementsAre("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                          "additional_chat_templates/tool_use.jinja", "model.safetensors"));
  EXPECT_THAT(Chosen({"config.json", "model.safetensors", "tokenizer.model", "vocab.json", "merges.txt"}),
              ElementsAre("config.json", "tokenizer.model", "vocab.json", "merges.txt", "model.safetensors"));
  EXPECT_THAT(Chosen({"config.json", "weights.safetensors"}), ElementsAre("config.json", "weights.safetensors"));
}

TEST(FileChoiceTest, TakesTheShardsThatTheIndexNames) {
  const std::vector<RepoFile> listing =
      Listing({"config.json", "model-00001-of-00002.safetensors", "model-00001-of-00003.safetensors",
               "model-00002-of-00002.safetensors", "model.safetensors", "model.safetensors.index.json"});
  const auto choice = ChooseFiles(listing, "");
  ASSERT_TRUE(choice.ok());
  EXPECT_TRUE(choice->has_index);
  EXPECT_EQ(choice->num_small, 2u);
  const char* index =
      R"({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors",
                          "c": "model-00001-of-00002.safetensors"}, "metadata": {"total_size": NaN}})";
  const auto exact = WithIndex(*choice, listing, index);
  ASSERT_TRUE(exact.ok()) << exact.error().message;
  EXPECT_THAT(PathsOf(*exact), ElementsAre("config.json", "model.safetensors.index.json",
                                           "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"));
  EXPECT_EQ(PathsOf(*WithIndex(*choice, listing, R"({"weight_map": {"a": "old.safetensors"}})")), PathsOf(*choice));
  EXPECT_THAT(WithIndex(*choice, listing, R"({"weight_map": {"a": "model.safetensors", "b": "../x"}})").error().message,
              HasSubstr("names 2 files, of which 1 are not there"));
  for (const char* none : {"", "[]", "{}", R"({"weight_map": 1})", R"({"weight_map": {}})"}) {
    EXPECT_FALSE(WithIndex(*choice, listing, none).ok()) << none;
  }
}

const std::vector<std::string> kGgufs = {"README.md",
                                         "imatrix.gguf",
                                         "BF16/m-BF16-00001-of-00002.gguf",
                                         "BF16/m-BF16-00002-of-00002.gguf",
                                         "m-IQ2_XXS.gguf",
                                         "m-Q4_K_M.gguf",
                                         "m-Q8_0.gguf",
                                         "m-UD-Q4_K_XL.gguf",
                                         "mmproj-F16.gguf"};

TEST(FileChoiceTest, PicksTheGgufOfTheQuantisation) {
  EXPECT_THAT(Chosen(kGgufs), ElementsAre("m-Q4_K_M.gguf"));
  EXPECT_THAT(Chosen(kGgufs, "q8_0"), ElementsAre("m-Q8_0.gguf"));
  EXPECT_THAT(Chosen(kGgufs, "Q4_K_XL"), ElementsAre("m-UD-Q4_K_XL.gguf"));
  EXPECT_THAT(Chosen(kGgufs, "UD-Q4_K_XL"), ElementsAre("m-UD-Q4_K_XL.gguf"));
  EXPECT_THAT(Chosen(kGgufs, "m-IQ2_XXS.gguf"), ElementsAre("m-IQ2_XXS.gguf"));
  EXPECT_THAT(Chosen(kGgufs, "bf16"), ElementsAre(kGgufs[2], kGgufs[3]));
  EXPECT_THAT(Chosen(kGgufs, kGgufs[3]), ElementsAre(kGgufs[2], kGgufs[3]));
  EXPECT_EQ(ChooseFiles(Listing(kGgufs), "bf16")->gguf, kGgufs[2]);
  EXPECT_THAT(Chosen({"config.json", "model.safetensors", "a-Q4_0.gguf"}),
              ElementsAre("config.json", "model.safetensors"));
  EXPECT_THAT(Chosen({"config.json", "model.safetensors", "a-Q4_0.gguf"}, "Q4_0"), ElementsAre("a-Q4_0.gguf"));
  EXPECT_THAT(Chosen({"b.gguf"}), ElementsAre("b.gguf"));
  EXPECT_THAT(Chosen({"m.Q5_K_M.gguf", "m.Q6_K.gguf"}), ElementsAre("m.Q5_K_M.gguf"));
}

TEST(FileChoiceTest, SaysWhatThereIsInstead) {
  EXPECT_THAT(
      Refusal(kGgufs, "Q5_K_M"),
      AllOf(HasSubstr("\"Q5_K_M\""), HasSubstr("BF16, IQ2_XXS, Q4_K_M, Q8_0, UD-Q4_K_XL"), Not(HasSubstr("mmproj"))));
  EXPECT_THAT(Refusal({"a-Q4_0.gguf", "b-Q4_0.gguf"}, "Q4_0"), HasSubstr("name one of a-Q4_0.gguf, b-Q4_0.gguf"));
  EXPECT_THAT(Refusal({"a-Q4_0-00001-of-00003.gguf", "a-Q4_0-00003-of-00003.gguf"}, "Q4_0"),
              HasSubstr("2 of its 3 parts"));
  EXPECT_THAT(Refusal({"config.json", "model.safetensors"}, "Q4_0"), HasSubstr("no GGUF files, but safetensors"));
  EXPECT_THAT(Refusal({"config.json", "pytorch_model.bin"}),
              AllOf(HasSubstr("pytorch_model.bin"), HasSubstr("not read")));
  EXPECT_THAT(Refusal({"model.safetensors"}), HasSubstr("no config.json"));
  EXPECT_THAT(Refusal({}), HasSubstr("0 files"));
}

TEST(GgufGroupsTest, StrangeNamesAreFilesOfTheirOwn) {
  const auto groups = GroupGgufFiles(Listing({".gguf", "-00001-of-00002.gguf", "a-00000-of-00002.gguf",
                                              "a-00009-of-00002.gguf", "b-0001-of-00002.gguf", "C.GGUF", "x/.gguf"}));
  std::vector<std::string> stems;
  stems.reserve(groups.size());
  for (const GgufGroup& group : groups) stems.push_back(group.stem);
  EXPECT_THAT(stems, ElementsAre("", "-00001-of-00002", "C", "b-0001-of-00002", "x/"));
}

}  // namespace
}  // namespace quire
