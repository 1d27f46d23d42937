// Models that are in the cache: wholly, partly, or not.
#include "hub/model_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hub/blob_file.h"
#include "hub/hub_testing.h"

namespace quire {
namespace {

using ::testing::HasSubstr;
using testing::kCommit;

constexpr const char* kSnapshot = "models--org--name/snapshots/0123456789abcdef0123456789abcdef01234567/";

class ModelCacheTest : public ::testing::Test {
 protected:
  Result<std::string> Find(const std::string& name) const {
    const RepoRef ref = *ParseRepoRef(name);
    return FindInCache(cache_.Layout(ref.repo_id), ref);
  }
  std::string Complaint(const std::string& name) const {
    const auto found = Find(name);
    return found.ok() ? "found " + *found : found.error().message;
  }
  void Write(const std::string& name, const std::string& text = "{}") const { cache_.Write(kSnapshot + name, text); }
  void WriteMain() const { cache_.Write("models--org--name/refs/main", std::string(kCommit) + "\n"); }
  std::string In(const std::string& name) const { return cache_.path() + "/" + name; }

  testing::CacheByHand cache_;
};

TEST_F(ModelCacheTest, FindsTheSnapshotOfTheRevision) {
  EXPECT_THAT(Complaint("org/name"), HasSubstr("org/name is not in the cache " + cache_.path()));
  Write("config.json");
  Write("model.safetensors");
  EXPECT_EQ(*Find("org/name"), cache_.Layout("org/name").Snapshot(kCommit)) << "the only one, without a reference";
  cache_.Write("models--org--name/snapshots/older/config.json", "{}");
  EXPECT_FALSE(Find("org/name").ok());
  WriteMain();
  EXPECT_EQ(*Find("org/name"), cache_.Layout("org/name").Snapshot(kCommit));
  EXPECT_EQ(*Find(std::string("org/name@") + kCommit), cache_.Layout("org/name").Snapshot(kCommit));
  EXPECT_FALSE(Find("org/name@v1").ok());
  cache_.Write("models--org--name/refs/v1", kCommit);
  EXPECT_TRUE(Find("org/name@v1").ok());
  cache_.Write("models--org--name/refs/v1", "../../../etc");
  EXPECT_FALSE(Find("org/name@v1").ok());
  cache_.Write("models--gpt2/snapshots/abc/config.json", "{}");
  cache_.Write("models--gpt2/snapshots/abc/model.safetensors", "{}");
  EXPECT_EQ(*Find("gpt2"), In("models--gpt2/snapshots/abc"));
}

TEST_F(ModelCacheTest, SaysWhatIsMissing) {
  WriteMain();
  Write("config.json");
  EXPECT_THAT(Complaint("org/name"), HasSubstr("not whole"));
  Write("model.safetensors.index.json", R"({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                                           "b": "model-00002-of-00002.safetensors"}})");
  Write("model-00001-of-00002.safetensors");
  EXPECT_THAT(Complaint("org/name"), HasSubstr("of which 1 are not there"));
  Write("model-00002-of-00002.safetensors");
  EXPECT_TRUE(Find("org/name").ok());
  // The list of the commit knows of more.
  const std::vector<RepoFile> files = testing::Listing(
      {"config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"});
  ASSERT_TRUE(WriteTree(cache_.Layout("org/name"), kCommit, files).ok());
  EXPECT_THAT(Complaint("org/name"), HasSubstr("config.json is missing")) << "it has another size";
  for (const RepoFile& file : files) Write(file.path, "ten bytes.");
  EXPECT_TRUE(Find("org/name").ok());
}

TEST_F(ModelCacheTest, FindsGgufFilesWithAllTheirParts) {
  WriteMain();
  Write("m-Q8_0.gguf");
  Write("big/m-BF16-00001-of-00002.gguf");
  EXPECT_EQ(*Find("org/name"), In(kSnapshot) + "m-Q8_0.gguf");
  EXPECT_THAT(Complaint("org/name:BF16"), HasSubstr("1 of its 2 parts"));
  Write("big/m-BF16-00002-of-00002.gguf");
  EXPECT_EQ(*Find("org/name:BF16"), In(kSnapshot) + "big/m-BF16-00001-of-00002.gguf");
  EXPECT_THAT(Complaint("org/name:Q4_0"), HasSubstr("there are BF16, Q8_0"));
}

TEST_F(ModelCacheTest, AFileGetsItsNameOnlyWithTheRightBytes) {
  // git hash-object of "hello\n".
  const RepoFile file = {.path = "a/b.txt", .size = 6, .blob_id = "ce013625030ba8dba906f756967f9e9ca394464a"};
  const CacheLayout layout = cache_.Layout("org/name");
  {
    auto blob = BlobFile::Open(layout, file);
    ASSERT_TRUE(blob.ok() && blob->has_value());
    EXPECT_FALSE(BlobFile::Open(layout, file)->has_value()) << "it is locked";
    ASSERT_TRUE((*blob)->Append("hel").ok());
    EXPECT_FALSE((*blob)->Append("more than there is").ok());
  }
  auto blob = BlobFile::Open(layout, file);
  ASSERT_EQ((*blob)->size(), 3u) << "what has come stays";
  ASSERT_TRUE((*blob)->Append("l0\n").ok());
  EXPECT_EQ((*blob)->Finish().error().code, ErrorCode::kDataLoss);
  EXPECT_FALSE(Env::Posix().Exists(layout.Blob(file.etag())));
  EXPECT_EQ((*blob)->size(), 0u);
  ASSERT_TRUE((*blob)->Append("hello\n").ok());
  ASSERT_TRUE((*blob)->Finish().ok());
  EXPECT_TRUE((*blob)->is_there());
  EXPECT_FALSE(Env::Posix().Exists(layout.Incomplete(file.etag())));
  ASSERT_TRUE(LinkFile(layout, kCommit, file).ok());
  EXPECT_EQ(*Env::Posix().ReadFile(layout.SnapshotFile(kCommit, "a/b.txt")), "hello\n");
  EXPECT_EQ(std::filesystem::read_symlink(layout.SnapshotFile(kCommit, "a/b.txt")), "../../../blobs/" + file.blob_id);
}

TEST_F(ModelCacheTest, DigestsOfLargeFilesAreSha256) {
  FileDigest digest("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3);
  digest.Add("a");
  digest.Add("bc");
  EXPECT_EQ(digest.Finish(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace quire
