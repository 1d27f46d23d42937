#include "base/mapped_file.h"

#include <gtest/gtest.h>

#include "base/env.h"

namespace quire {
namespace {

TEST(MappedFile, MapsContentsAndNamesWhatIsMissing) {
  const std::string path = testing::TempDir() + "quire_mapped_file";
  ASSERT_TRUE(Env::Posix().WriteFile(path, "abc").ok());
  Result<MappedFile> file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok());
  MappedFile moved = *std::move(file);
  EXPECT_EQ(moved.bytes().size(), 3U);
  EXPECT_EQ(static_cast<char>(moved.bytes()[2]), 'c');

  const Result<MappedFile> missing = MappedFile::Open(path + "-missing");
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  EXPECT_NE(missing.error().message.find(path + "-missing"), std::string::npos);
  EXPECT_FALSE(MappedFile::Open(testing::TempDir()).ok());
}

}  // namespace
}  // namespace quire
