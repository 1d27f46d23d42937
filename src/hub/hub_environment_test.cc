// The variables of Hugging Face's tools, as those understand them.
#include "hub/hub_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <utility>

#include "hub/hub_testing.h"

namespace quire {
namespace {

using ::testing::HasSubstr;

constexpr const char* kVariables[] = {"HF_HUB_CACHE",
                                      "HUGGINGFACE_HUB_CACHE",
                                      "HF_HOME",
                                      "XDG_CACHE_HOME",
                                      "HF_TOKEN",
                                      "HF_TOKEN_PATH",
                                      "HUGGING_FACE_HUB_TOKEN",
                                      "HF_ENDPOINT",
                                      "HF_HUB_OFFLINE",
                                      "TRANSFORMERS_OFFLINE",
                                      "HOME",
                                      "HF_HUB_ETAG_TIMEOUT",
                                      "QUIRE_TEST_PART",
                                      "HF_HUB_DISABLE_IMPLICIT_TOKEN"};

// None of the variables is set, and all are again what they were at the end.
class HubEnvironmentTest : public ::testing::Test {
 protected:
  HubEnvironmentTest() {
    for (const char* name : kVariables) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      unsetenv(name);
    }
    setenv("HOME", cache_.path().c_str(), 1);
  }
  ~HubEnvironmentTest() override {
    for (const char* name : kVariables) unsetenv(name);
    for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
  }
  std::string In(const std::string& name) const { return cache_.path() + "/" + name; }

  testing::CacheByHand cache_;
  std::map<std::string, std::string> before_;
};

TEST_F(HubEnvironmentTest, FindsTheCacheAndExpandsHomeAndVariables) {
  EXPECT_EQ(HubCacheDirectory(), In(".cache/huggingface/hub"));
  setenv("QUIRE_TEST_PART", "part", 1);
  // Each counts more than those before it.
  const std::pair<const char*, std::pair<const char*, const char*>> cases[] = {
      {"XDG_CACHE_HOME", {"~/c", "c/huggingface/hub"}},
      {"HF_HOME", {"$HOME/h", "h/hub"}},
      {"HUGGINGFACE_HUB_CACHE", {"~/${QUIRE_TEST_PART}", "part"}},
      {"HF_HUB_CACHE", {"${HOME}/$QUIRE_TEST_PART/x", "part/x"}}};
  for (const auto& [name, value] : cases) {
    setenv(name, value.first, 1);
    EXPECT_EQ(HubCacheDirectory(), In(value.second)) << name;
  }
  setenv("HF_HUB_CACHE", "~nobody-of-this-name/$QUIRE_TEST_UNSET/${x", 1);
  EXPECT_EQ(HubCacheDirectory(), "~nobody-of-this-name/$QUIRE_TEST_UNSET/${x");
}

TEST_F(HubEnvironmentTest, TakesTheTokenFromWhereItIs) {
  EXPECT_EQ(ReadHubEnvironment()->token, "");
  cache_.Write(".cache/huggingface/token", "hf_file\n");
  EXPECT_EQ(ReadHubEnvironment()->token, "hf_file");
  EXPECT_EQ(ReadHubEnvironment()->token_source, In(".cache/huggingface/token"));
  setenv("HUGGING_FACE_HUB_TOKEN", "hf_old", 1);
  EXPECT_EQ(ReadHubEnvironment()->token, "hf_old");
  setenv("HF_TOKEN", " hf_new \r\n", 1);
  EXPECT_EQ(ReadHubEnvironment()->token, "hf_new");
  EXPECT_EQ(ReadHubEnvironment()->token_source, "HF_TOKEN");
  setenv("HF_TOKEN", "hf\tX-Header: 1", 1);
  EXPECT_THAT(ReadHubEnvironment().error().message, HasSubstr("the token of HF_TOKEN"));
  EXPECT_THAT(ReadHubEnvironment().error().message, ::testing::Not(HasSubstr("X-Header")));
  setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
  EXPECT_EQ(ReadHubEnvironment()->token, "");
}

TEST_F(HubEnvironmentTest, ReadsEndpointOfflineAndTimeouts) {
  EXPECT_EQ(ReadHubEnvironment()->endpoint, "https://huggingface.co");
  EXPECT_FALSE(ReadHubEnvironment()->offline);
  setenv("HF_ENDPOINT", "http://mirror:8080/hf//", 1);
  setenv("TRANSFORMERS_OFFLINE", "yes", 1);
  setenv("HF_HUB_ETAG_TIMEOUT", "3", 1);
  EXPECT_EQ(ReadHubEnvironment()->endpoint, "http://mirror:8080/hf");
  EXPECT_TRUE(ReadHubEnvironment()->offline);
  EXPECT_EQ(ReadHubEnvironment()->timeout_s, 3);
  setenv("HF_HUB_OFFLINE", "0", 1);
  EXPECT_FALSE(ReadHubEnvironment()->offline);
  setenv("HF_HUB_ETAG_TIMEOUT", "soon", 1);
  EXPECT_THAT(ReadHubEnvironment().error().message, HasSubstr("HF_HUB_ETAG_TIMEOUT is \"soon\""));
  unsetenv("HF_HUB_ETAG_TIMEOUT");
  setenv("HF_ENDPOINT", "mirror", 1);
  EXPECT_THAT(ReadHubEnvironment().error().message, HasSubstr("HF_ENDPOINT is \"mirror\""));
}

}  // namespace
}  // namespace quire
