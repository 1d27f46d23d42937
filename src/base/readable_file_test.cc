#include "base/readable_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

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

TEST(ReadableFile, KnowsThatItWasWrittenTo) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/weights";
  std::ofstream(path) << "0123456789";
  const Result<ReadableFile> file = ReadableFile::Open(path);
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->CheckUnchanged().ok());
  std::ofstream(path, std::ios::in | std::ios::out) << "9";
  // Clocks of files are coarse; a download takes longer than this test.
  std::filesystem::last_write_time(path, std::filesystem::last_write_time(path) + std::chrono::seconds(1));
  ASSERT_FALSE(file->CheckUnchanged().ok());
  EXPECT_EQ(file->CheckUnchanged().error().code, ErrorCode::kDataLoss);
  // Another file of its name is none of its business.
  const Result<ReadableFile> replaced = ReadableFile::Open(path);
  std::ofstream(path + ".new") << "another";
  std::filesystem::rename(path + ".new", path);
  EXPECT_TRUE(replaced->CheckUnchanged().ok());
}

}  // namespace
}  // namespace quire
