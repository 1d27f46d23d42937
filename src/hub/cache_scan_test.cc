// What the cache holds, and what is left of it when a part has gone.
#include "hub/cache_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/blob_file.h"
#include "hub/hub_testing.h"

namespace quire {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::kCommit;

const std::string kOlder(40, 'f');

class CacheScanTest : public ::testing::Test {
 protected:
  CacheScanTest() {
    cache_.Add("org/name", kCommit, "config.json", "c0", "{}");
    cache_.Add("org/name", kCommit, "model.safetensors", "w1", "12345");
    cache_.Add("org/name", kCommit, "sub/m-Q8_0.gguf", "q8", "8888");
    cache_.Add("org/name", kOlder, "config.json", "c0", "{}");
    cache_.Add("org/name", kOlder, "model.safetensors", "w0", "1234567");
    cache_.Write("models--org--name/refs/main", kCommit);
    cache_.Write("models--org--name/refs/refs/pr/1", kOlder);
    cache_.Write("models--org--name/blobs/zz.incomplete", "123");
    cache_.Write("datasets--org--data/blobs/x", "x");
    cache_.Write("CACHEDIR.TAG", "x");
  }
  bool HasBlob(const std::string& name) const { return Env::Posix().Exists(cache_.Layout("org/name").Blob(name)); }
  Result<uint64_t> Remove(const std::string& name) const {
    return RemoveFromCache(cache_.path(), *ParseRepoRef(name), name.find('@') != std::string::npos);
  }
  testing::CacheByHand cache_;
};

TEST_F(CacheScanTest, ListsModelsWithRevisionsSizesAndFormats) {
  const std::vector<CachedRepo> repos = ScanCache(cache_.path());
  ASSERT_EQ(repos.size(), 1u);
  EXPECT_EQ(repos[0].repo_id, "org/name");
  EXPECT_EQ(repos[0].incomplete_bytes, 3u);
  EXPECT_EQ(repos[0].num_bytes, 2u + 5 + 4 + 7 + 3 + 80);
  ASSERT_EQ(repos[0].revisions.size(), 2u);
  const CachedRevision& main = repos[0].revisions[0];
  EXPECT_THAT(main.refs, ElementsAre("main"));
  EXPECT_THAT(main.files, ElementsAre("config.json", "model.safetensors", "sub/m-Q8_0.gguf"));
  EXPECT_THAT(main.formats, ElementsAre("safetensors", "GGUF Q8_0"));
  EXPECT_EQ(main.num_bytes, 11u);
  EXPECT_THAT(repos[0].revisions[1].refs, ElementsAre("refs/pr/1"));
  EXPECT_THAT(ScanCache(cache_.path() + "/absent"), IsEmpty());
}

TEST_F(CacheScanTest, ARevisionGoesWithTheBlobsThatOnlyItNeeds) {
  EXPECT_EQ(*Remove("org/name@refs/pr/1"), 7u + 40);
  EXPECT_TRUE(HasBlob("c0") && HasBlob("w1") && !HasBlob("w0"));
  EXPECT_EQ(ScanCache(cache_.path())[0].revisions.size(), 1u);
  EXPECT_THAT(Remove("org/name@refs/pr/1").error().message, HasSubstr("it holds org/name"));
}

TEST_F(CacheScanTest, AQuantisationGoesAlone) {
  EXPECT_THAT(Remove("org/name:Q4_0").error().message, HasSubstr("there are Q8_0"));
  EXPECT_EQ(*Remove("org/name:Q8_0"), 4u);
  EXPECT_TRUE(HasBlob("w1") && !HasBlob("q8"));
}

TEST_F(CacheScanTest, ARepositoryGoesWhollyUnlessSomebodyDownloadsIt) {
  {
    const auto blob = BlobFile::Open(cache_.Layout("org/name"), {.path = "x", .size = 9, .blob_id = "dd"});
    ASSERT_TRUE(blob.ok() && blob->has_value());
    EXPECT_EQ(Remove("org/name").error().code, ErrorCode::kUnavailable);
  }
  EXPECT_TRUE(HasBlob("w1"));
  EXPECT_TRUE(Remove("org/name").ok());
  EXPECT_THAT(ScanCache(cache_.path()), IsEmpty());
  EXPECT_TRUE(Env::Posix().Exists(cache_.path() + "/datasets--org--data/blobs/x"));
  EXPECT_THAT(Remove("org/name").error().message, HasSubstr("which is empty"));
}

}  // namespace
}  // namespace quire
