#include "base/readable_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/env.h"
#include "base/env_testing.h"

namespace quire {
namespace {

TEST(ReadableFile, ReadsPartsAndNamesWhatIsMissing) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  ASSERT_TRUE(Env::Posix().WriteFile(path, "abcdef").ok());
  Result<ReadableFile> file = ReadableFile::Open(path);
  ASSERT_TRUE(file.ok());
  const ReadableFile moved = *std::move(file);
  EXPECT_EQ(moved.size(), 6U);
  std::string text(3, ' ');
  ASSERT_TRUE(moved.Read(2, std::as_writable_bytes(std::span(text))).ok());
  EXPECT_EQ(text, "cde");
  EXPECT_TRUE(moved.Read(6, {}).ok());

  const Result<ReadableFile> missing = ReadableFile::Open(path + "-missing");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(missing.error().message, testing::HasSubstr(path + "-missing"));
  EXPECT_FALSE(ReadableFile::Open(directory.path()).ok());
}

TEST(ReadableFile, AFileThatBecomesShorterIsAnError) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  ASSERT_TRUE(Env::Posix().WriteFile(path, std::string(10'000, 'x')).ok());
  const Result<ReadableFile> file = ReadableFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, 5000);
  std::string text(4000, ' ');
  EXPECT_TRUE(file->Read(0, std::as_writable_bytes(std::span(text))).ok());
  const Status read = file->Read(4000, std::as_writable_bytes(std::span(text)));
  ASSERT_FALSE(read.ok());
  EXPECT_THAT(read.error().message, testing::HasSubstr(path));
  EXPECT_THAT(read.error().message, testing::HasSubstr("5000"));
}

}  // namespace
}  // namespace quire
