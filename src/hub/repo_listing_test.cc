// Lists of files, of the API and in the cache: what is read, what is written, and what is refused.
#include "hub/repo_listing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPage = R"([
  {"type": "directory", "oid": "x", "size": 0, "path": "onnx"},
  {"type": "file", "oid": "1111111111111111111111111111111111111111", "size": 7, "path": "config.json"},
  {"type": "file", "oid": "2222222222222222222222222222222222222222", "size": 5000000000, "path": "model.safetensors",
   "lfs": {"oid": "3333333333333333333333333333333333333333333333333333333333333333", "size": 5000000000,
           "pointerSize": 135}, "xetHash": "4444444444444444444444444444444444444444444444444444444444444444"}])";

// As huggingface_hub writes it.
constexpr const char* kTree = R"({
 "format_version": 1,
 "files": {
  "config.json": {
   "size": 7,
   "blob_id": "1111111111111111111111111111111111111111"
  },
  "model.safetensors": {
   "size": 5000000000,
   "blob_id": "2222222222222222222222222222222222222222",
   "lfs_sha256": "3333333333333333333333333333333333333333333333333333333333333333",
   "lfs_size": 5000000000,
   "xet_hash": "4444444444444444444444444444444444444444444444444444444444444444"
  }
 }
})";

TEST(RepoListingTest, ReadsPagesAndKeepsThemAsHuggingFaceHubDoes) {
  std::vector<RepoFile> files;
  ASSERT_TRUE(AddListingPage(kPage, files).ok());
  ASSERT_EQ(files.size(), 2u);
  EXPECT_EQ(files[0].etag(), std::string(40, '1'));
  EXPECT_EQ(files[1].etag(), std::string(64, '3'));
  EXPECT_EQ(files[1].size, 5'000'000'000u);
  std::swap(files[0], files[1]);
  EXPECT_EQ(FormatTreeFile(files), kTree);
  const auto read = ParseTreeFile(kTree);
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(FormatTreeFile(*read), kTree);
}

TEST(RepoListingTest, RefusesPathsThatLeadOutAndDigestsThatAreNone) {
  const auto page = [](const std::string& path, const std::string& oid) {
    std::vector<RepoFile> files;
    return AddListingPage(R"([{"type":"file","size":1,"path":")" + path + R"(","oid":")" + oid + "\"}]", files);
  };
  const std::string oid(40, '1');
  EXPECT_TRUE(page("a/b.json", oid).ok());
  for (const char* path : {"", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\\\b", "a\\u0000b"}) {
    EXPECT_FALSE(page(path, oid).ok()) << path;
  }
  for (const char* other :
       {"", "../../../../../../../../../../../../../x", "zz", "11111111111111111111111111111111111111zz"}) {
    EXPECT_THAT(page("a", other).error().message, HasSubstr("digest")) << other;
  }
}

TEST(RepoListingTest, DamageIsAnErrorOrAnotherListing) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  std::mt19937_64 rng(kSeed);
  for (int round = 0; round < 3000; ++round) {
    const bool is_page = round % 2 == 0;
    std::string text = is_page ? kPage : kTree;
    for (int i = 0; i < 3; ++i) {
      const size_t at = rng() % text.size();
      if (rng() % 2 == 0) text[at] = static_cast<char>(rng());
      if (rng() % 8 == 0) text.erase(at, rng() % 40);
    }
    std::vector<RepoFile> files;
    if (is_page ? !AddListingPage(text, files).ok() : !ParseTreeFile(text).ok()) continue;
    for (const RepoFile& file : files) EXPECT_TRUE(file.etag().size() == 40 || file.etag().size() == 64) << text;
  }
}

}  // namespace
}  // namespace quire
