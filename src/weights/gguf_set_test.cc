#include "weights/gguf_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/env_testing.h"
#include "weights/gguf_testing.h"

namespace quire {
namespace {

using testing::GgufBuilder;
using ::testing::HasSubstr;

GgufBuilder Part(int number, int count, const std::string& tensor) {
  GgufBuilder part;
  part.Add("split.no", GgufType::kUint16, GgufBuilder::Bytes(static_cast<uint16_t>(number - 1)));
  part.Add("split.count", GgufType::kUint16, GgufBuilder::Bytes(static_cast<uint16_t>(count)));
  part.Add("split.tensors.count", GgufType::kInt32, GgufBuilder::Bytes(int32_t{3}));
  if (number == 1) part.AddString("general.architecture", "llama");
  part.AddTensor(tensor, {1}, 0, "ffff");
  return part;
}

class GgufSetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Write("m-00001-of-00003.gguf", Part(1, 3, "a"));
    Write("m-00002-of-00003.gguf", Part(2, 3, "b"));
    Write("m-00003-of-00003.gguf", Part(3, 3, "c"));
  }
  std::string File(const std::string& name) const { return directory_.path() + "/" + name; }
  void Write(const std::string& name, const GgufBuilder& builder) const {
    ASSERT_TRUE(Env::Posix().WriteFile(File(name), builder.Build()).ok());
  }
  std::string OpenError(const std::string& name) const {
    const auto set = GgufSet::Open(File(name));
    EXPECT_FALSE(set.ok());
    return set.ok() ? "" : set.error().message;
  }

  TemporaryDirectory directory_;
};

TEST_F(GgufSetTest, FindsAllPartsFromAny) {
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto set = GgufSet::Open(File(name));
    ASSERT_TRUE(set.ok()) << set.error().message;
    EXPECT_EQ(set->files().size(), 3U);
    EXPECT_EQ(set->tensors().size(), 3U);
    EXPECT_EQ(*set->metadata().String("general.architecture"), "llama");
    EXPECT_THAT(set->tensors().at("b").file->path(), HasSubstr("m-00002"));
  }
}

TEST_F(GgufSetTest, NamesThePartThatIsMissingOrWrong) {
  Write("other.gguf", Part(1, 3, "a"));
  EXPECT_THAT(OpenError("other.gguf"), HasSubstr("one of 3 parts"));
  Write("m-00002-of-00003.gguf", Part(3, 3, "b"));
  EXPECT_THAT(OpenError("m-00001-of-00003.gguf"), HasSubstr("it says that it is part 3 of 3"));
  Write("m-00002-of-00003.gguf", Part(2, 3, "a"));
  EXPECT_THAT(OpenError("m-00001-of-00003.gguf"), HasSubstr("tensor \"a\" is in"));
  Write("m-00002-of-00003.gguf", Part(2, 3, "b").AddTensor("d", {1}, 0, "ffff"));
  EXPECT_THAT(OpenError("m-00001-of-00003.gguf"), HasSubstr("split.tensors.count"));
  ASSERT_TRUE(Env::Posix().Remove(File("m-00002-of-00003.gguf")).ok());
  EXPECT_THAT(OpenError("m-00001-of-00003.gguf"), HasSubstr("m-00002-of-00003.gguf is missing"));
}

TEST_F(GgufSetTest, FindsTheOneModelOfADirectory) {
  Write("mmproj-m.gguf", GgufBuilder());
  EXPECT_EQ(*FindGgufFile(directory_.path()), File("m-00001-of-00003.gguf"));
  Write("n.gguf", GgufBuilder());
  EXPECT_THAT(FindGgufFile(directory_.path()).error().message, HasSubstr("m-00001-of-00003.gguf, n.gguf"));
  const TemporaryDirectory empty;
  EXPECT_EQ(*FindGgufFile(empty.path()), "");
}

}  // namespace
}  // namespace quire
