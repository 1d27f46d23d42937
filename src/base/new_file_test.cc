#include "base/new_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/env.h"
#include "base/env_testing.h"

namespace quire {
namespace {

Status Append(NewFile& file, std::string_view text) { return file.Append(std::as_bytes(std::span(text))); }

TEST(NewFile, IsThereWhenItIsWhole) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/weights";
  {
    Result<NewFile> given_up = NewFile::Create(path, false);
    ASSERT_TRUE(given_up.ok());
    EXPECT_TRUE(Append(*given_up, "half").ok());
  }
  EXPECT_THAT(*Env::Posix().ListDirectory(directory.path()), ::testing::IsEmpty());
  Result<NewFile> created = NewFile::Create(path, false);
  ASSERT_TRUE(created.ok());
  NewFile file = *std::move(created);
  EXPECT_TRUE(Append(file, "all ").ok());
  EXPECT_TRUE(Append(file, "of it").ok());
  EXPECT_FALSE(Env::Posix().Exists(path));
  ASSERT_TRUE(file.Finish().ok());
  EXPECT_EQ(*Env::Posix().ReadFile(path), "all of it");
  EXPECT_THAT(*Env::Posix().ListDirectory(directory.path()), ::testing::ElementsAre("weights"));
}

TEST(NewFile, TakesNoNameUnlessItMay) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/weights";
  Result<NewFile> late = NewFile::Create(path, false);
  ASSERT_TRUE(Env::Posix().WriteFile(path, "old").ok());
  EXPECT_EQ(late->Finish().error().code, ErrorCode::kInvalidArgument);
  const Result<NewFile> refused = NewFile::Create(path, false);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error().message, ::testing::HasSubstr(path));
  EXPECT_EQ(*Env::Posix().ReadFile(path), "old");
  Result<NewFile> replacing = NewFile::Create(path, true);
  ASSERT_TRUE(replacing.ok());
  EXPECT_TRUE(Append(*replacing, "new").ok());
  EXPECT_TRUE(replacing->Finish().ok());
  EXPECT_EQ(*Env::Posix().ReadFile(path), "new");
  EXPECT_FALSE(NewFile::Create(directory.path() + "/none/weights", false).ok());
}

TEST(NewFile, AFullDiskIsSaidToBeFull) {
  Result<NewFile> nowhere = NewFile::Create("/proc/weights", false);
  EXPECT_FALSE(nowhere.ok());
  EXPECT_THAT(nowhere.error().message, ::testing::HasSubstr("/proc/weights"));
}

}  // namespace
}  // namespace quire
