#include "base/foreign_file.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace quire {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(ForeignFile, NamesWhatDownloadsLeaveBehind) {
  EXPECT_THAT(WhatElseItIs("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n"),
              HasSubstr("git lfs pull"));
  EXPECT_THAT(WhatElseItIs("\n<!DOCTYPE html>\n<html>"), HasSubstr("web page"));
  EXPECT_THAT(WhatElseItIs("\xEF\xBB\xBF<HTML><head>"), HasSubstr("web page"));
  EXPECT_THAT(WhatElseItIs(std::string_view("PK\x03\x04\0\0", 6)), HasSubstr("PyTorch"));
  EXPECT_THAT(WhatElseItIs("GGUF\3"), HasSubstr("GGUF"));
  for (const char* other : {"", "{", "<", "   ", "version 1", "{\"<html>\": 1}"}) {
    EXPECT_THAT(WhatElseItIs(other), IsEmpty()) << other;
  }
}

TEST(ForeignFile, TellsALinkToNothingFromOtherPaths) {
  const std::filesystem::path link =
      std::filesystem::temp_directory_path() / ("quire_link_" + std::to_string(getpid()));
  std::filesystem::remove(link);
  std::filesystem::create_symlink("../blobs/4d7a", link);
  EXPECT_THAT(DanglingLink(link.string()), HasSubstr("../blobs/4d7a"));
  std::filesystem::remove(link);
  EXPECT_THAT(DanglingLink(link.string()), IsEmpty());
  EXPECT_THAT(DanglingLink("/"), IsEmpty());
}

}  // namespace
}  // namespace quire
