// Names of models on the hub: what is one, and what its parts are.
#include "hub/repo_ref.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(RepoRefTest, ReadsRevisionAndQuantisationInAnyOrder) {
  struct Case {
    const char* text;
    const char* repo_id;
    const char* revision;
    const char* selector;
  };
  const Case cases[] = {
      {"gpt2", "gpt2", "main", ""},
      {"org/name", "org/name", "main", ""},
      {"Org-1/na_me.v2", "Org-1/na_me.v2", "main", ""},
      {"org/name@v1.0", "org/name", "v1.0", ""},
      {"org/name@refs/pr/3", "org/name", "refs/pr/3", ""},
      {"org/name:Q4_K_M", "org/name", "main", "Q4_K_M"},
      {"org/name@dev:q8_0", "org/name", "dev", "q8_0"},
      {"org/name:q8_0@dev", "org/name", "dev", "q8_0"},
      {"org/name:folder/file-00001-of-00002.gguf", "org/name", "main", "folder/file-00001-of-00002.gguf"},
      {"hf.co/org/name:Q8_0", "org/name", "main", "Q8_0"},
      {"hf://org/name", "org/name", "main", ""},
      {"https://huggingface.co/org/name", "org/name", "main", ""}};
  for (const Case& c : cases) {
    const auto ref = ParseRepoRef(c.text);
    ASSERT_TRUE(ref.ok()) << c.text << ": " << ref.error().message;
    EXPECT_EQ(ref->repo_id, c.repo_id) << c.text;
    EXPECT_EQ(ref->revision, c.revision) << c.text;
    EXPECT_EQ(ref->selector, c.selector) << c.text;
  }
}

TEST(RepoRefTest, RefusesWhatIsNoName) {
  for (const char* text : {"",
                           "/",
                           "org/",
                           "/name",
                           "a/b/c",
                           "../x",
                           "./missing",
                           "~/model",
                           "/no/such/place",
                           "org/na me",
                           "org/..",
                           "a--b",
                           "a..b",
                           "org/name.git",
                           "-org/name",
                           "org/name-",
                           "org/name@",
                           "org/name:",
                           "org/name@../../etc",
                           "org/name@a@b",
                           "org/name:a:b",
                           "org/name:/etc",
                           "org/name:a/../b",
                           "org/name@a//b",
                           "org/name@x\ny"}) {
    EXPECT_FALSE(ParseRepoRef(text).ok()) << text;
  }
  EXPECT_FALSE(ParseRepoRef(std::string(97, 'a')).ok());
  EXPECT_FALSE(ParseRepoRef("org/name:" + std::string(2000, 'a')).ok());
}

TEST(RepoRefTest, TakesTheRevisionOfAnOptionWhereTheNameStatesNone) {
  EXPECT_EQ(ParseRepoRef("org/name", "dev")->revision, "dev");
  EXPECT_EQ(ParseRepoRef("org/name@dev", "dev")->revision, "dev");
  EXPECT_EQ(ParseRepoRef("org/name@v1", "main")->revision, "v1");
  EXPECT_THAT(ParseRepoRef("org/name@v1", "dev").error().message, ::testing::HasSubstr("another revision than dev"));
  EXPECT_FALSE(ParseRepoRef("org/name", "../x").ok());
}

TEST(RepoRefTest, IsWrittenAsPeopleWriteIt) {
  for (const char* text : {"org/name", "org/name@v1", "org/name:Q4_K_M", "org/name@v1:Q4_K_M"}) {
    EXPECT_EQ(FormatRepoRef(*ParseRepoRef(text)), text);
  }
}

}  // namespace
}  // namespace quire
