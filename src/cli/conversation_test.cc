#include "cli/conversation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/env_testing.h"

namespace quire {
namespace {

using ::testing::HasSubstr;
using Next = Conversation::Next;
using Json = nlohmann::ordered_json;

TEST(ConversationTest, KeepsWhatWasSaid) {
  Conversation talk("be brief");
  std::string reply;
  EXPECT_EQ(talk.Take("hello", reply), Next::kAnswer);
  talk.AddAnswer("hi");
  EXPECT_EQ(talk.messages(), Json::parse(R"([{"role": "system", "content": "be brief"},
      {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}])"));
  EXPECT_EQ(talk.Take("/new", reply), Next::kNothing);
  EXPECT_EQ(talk.messages().size(), 1U);
  EXPECT_EQ(talk.Take("/system", reply), Next::kNothing);
  EXPECT_TRUE(talk.messages().empty());
}

TEST(ConversationTest, TellsCommandsFromMessages) {
  Conversation talk("");
  std::string reply;
  EXPECT_EQ(talk.Take("  ", reply), Next::kNothing);
  EXPECT_EQ(talk.Take("//etc", reply), Next::kAnswer);
  EXPECT_EQ(talk.messages().back()["content"], "/etc");
  EXPECT_EQ(talk.Take("/bin/sh\nline 2", reply), Next::kAnswer);
  EXPECT_EQ(talk.Take("/halp", reply), Next::kNothing);
  EXPECT_THAT(reply, HasSubstr("did you mean /help?"));
  EXPECT_EQ(talk.Take("/help", reply), Next::kNothing);
  EXPECT_THAT(reply, HasSubstr("/regenerate"));
  EXPECT_EQ(talk.Take("/quit", reply), Next::kQuit);
}

TEST(ConversationTest, AnswersTheLastMessageAgain) {
  Conversation talk("");
  std::string reply;
  EXPECT_EQ(talk.Take("/regenerate", reply), Next::kNothing);
  EXPECT_THAT(reply, HasSubstr("no message"));
  EXPECT_EQ(talk.Take("one", reply), Next::kAnswer);
  talk.AddAnswer("1");
  EXPECT_EQ(talk.Take("/regenerate", reply), Next::kAnswer);
  EXPECT_EQ(talk.messages().size(), 1U);
  talk.DropQuestion();
  EXPECT_TRUE(talk.messages().empty());
}

TEST(ConversationTest, SavesItsMessagesAndOverwritesNothing) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/talk.json";
  Conversation talk("");
  std::string reply;
  EXPECT_EQ(talk.Take("one", reply), Next::kAnswer);
  EXPECT_EQ(talk.Take("/save " + path, reply), Next::kNothing);
  EXPECT_THAT(reply, HasSubstr("saved 1 messages"));
  std::ifstream file(path);
  EXPECT_EQ(Json::parse(file), talk.messages());
  talk.Take("/save " + path, reply);
  EXPECT_THAT(reply, HasSubstr("exists"));
  talk.Take("/save /nowhere/x", reply);
  EXPECT_THAT(reply, HasSubstr("cannot write /nowhere/x"));
  talk.Take("/save", reply);
  EXPECT_THAT(reply, HasSubstr("/save FILE"));
}

}  // namespace
}  // namespace quire
