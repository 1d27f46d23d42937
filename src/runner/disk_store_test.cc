#include "runner/disk_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <random>

#include "base/env_testing.h"

namespace quire {
namespace {

constexpr KvFingerprint kFingerprint = {0x0123456789abcdef, 42};
constexpr size_t kBlockBytes = 1000;

using Bytes = std::vector<std::byte>;

Bytes RandomBlock(uint32_t seed) {
  std::mt19937 random(seed);
  Bytes block(kBlockBytes);
  for (std::byte& byte : block) byte = static_cast<std::byte>(random());
  return block;
}

// One stored block, and what it takes to read it again.
class DiskStoreTest : public testing::Test {
 protected:
  DiskStoreTest() { store_ = Reopen(kFingerprint); }

  std::unique_ptr<DiskStore> Reopen(const KvFingerprint& fingerprint) {
    store_.reset();
    auto opened = DiskStore::Open({.directory = Root(), .fingerprint = fingerprint, .env = &env_});
    EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().message);
    return opened.ok() ? *std::move(opened) : nullptr;
  }
  std::string Root() const { return JoinPath(directory_.path(), "cache/of/blocks"); }

  BlockKey KeyOf(uint64_t n) const { return {.digest = {n << 56, n}, .parent = {n, ~n}, .tokens = tokens_}; }
  void StoreBlock(uint64_t n) { ASSERT_TRUE(store_->Store(KeyOf(n), RandomBlock(static_cast<uint32_t>(n))).ok()); }
  Status LoadBlock(const BlockKey& key) {
    Bytes block(kBlockBytes);
    Status status = store_->Load(key, block);
    if (status.ok()) {
      EXPECT_EQ(block, RandomBlock(static_cast<uint32_t>(key.digest.low)));
    }
    return status;
  }
  std::vector<std::string> Files(const std::string& suffix) const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(Root())) {
      if (entry.path().extension() == suffix) files.push_back(entry.path());
    }
    return files;
  }
  std::vector<PrefixDigest> Digests(std::vector<uint64_t> numbers) const {
    std::vector<PrefixDigest> digests;
    digests.reserve(numbers.size());
    for (const uint64_t n : numbers) digests.push_back(KeyOf(n).digest);
    return digests;
  }
  // Changes the one file that there is.
  template <typename Change>
  void Damage(Change change) {
    ASSERT_EQ(Files(".kv").size(), 1U);
    std::string contents = *Env::Posix().ReadFile(Files(".kv")[0]);
    change(contents);
    ASSERT_TRUE(Env::Posix().WriteFile(Files(".kv")[0], contents).ok());
  }
  void ExpectLost(const BlockKey& key) {
    const Status status = LoadBlock(key);
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().code, ErrorCode::kDataLoss) << status.error().message;
    EXPECT_TRUE(Files(".kv").empty());
  }

  const TemporaryDirectory directory_;
  FaultEnv env_;
  const std::vector<int32_t> tokens_ = {5, 6, 7, 1'000'000};
  std::unique_ptr<DiskStore> store_;
};

TEST_F(DiskStoreTest, GivesBackWhatWasStoredInThisProcessAndTheNext) {
  for (uint64_t n = 1; n < 20; ++n) StoreBlock(n);
  for (uint64_t n = 1; n < 20; ++n) EXPECT_TRUE(LoadBlock(KeyOf(n)).ok());
  store_ = Reopen(kFingerprint);
  for (uint64_t n = 1; n < 20; ++n) EXPECT_TRUE(LoadBlock(KeyOf(n)).ok());
}

TEST_F(DiskStoreTest, ListsTheLeastRecentlyUsedFirst) {
  EXPECT_TRUE(store_->contents().empty());
  for (const uint64_t n : {3, 1, 4, 2}) StoreBlock(n);
  ASSERT_TRUE(LoadBlock(KeyOf(3)).ok());
  ASSERT_TRUE(store_->Drop(KeyOf(4).digest).ok());
  store_ = Reopen(kFingerprint);
  EXPECT_EQ(store_->contents(), Digests({1, 2, 3}));
}

TEST_F(DiskStoreTest, DropsAFileAndTakesAnAbsentOneForDropped) {
  StoreBlock(1);
  EXPECT_TRUE(store_->Drop(KeyOf(1).digest).ok());
  EXPECT_TRUE(store_->Drop(KeyOf(1).digest).ok());
  EXPECT_EQ(LoadBlock(KeyOf(1)).error().code, ErrorCode::kNotFound);
}

TEST_F(DiskStoreTest, StoringAgainReplaces) {
  ASSERT_TRUE(store_->Store(KeyOf(1), RandomBlock(99)).ok());
  StoreBlock(1);
  EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
}

TEST_F(DiskStoreTest, AFlippedBitAnywhereIsNeverServed) {
  StoreBlock(1);
  const size_t size = Env::Posix().ReadFile(Files(".kv")[0])->size();
  for (size_t byte = 0; byte < size; byte += 1 + byte / 100) {
    StoreBlock(1);
    Damage([&](std::string& file) { file[byte] = static_cast<char>(file[byte] ^ 1 << byte % 8); });
    ExpectLost(KeyOf(1));
  }
}

TEST_F(DiskStoreTest, ATruncatedOrLongerFileIsNeverServed) {
  StoreBlock(1);
  const size_t size = Env::Posix().ReadFile(Files(".kv")[0])->size();
  for (const size_t left : {size_t{0}, size_t{1}, size_t{79}, size_t{80}, size / 2, size - 1, size + 1}) {
    StoreBlock(1);
    Damage([&](std::string& file) { file.resize(left); });
    ExpectLost(KeyOf(1));
  }
}

TEST_F(DiskStoreTest, OtherTokensOrAnotherParentAreAnotherPrefix) {
  const std::vector<int32_t> others = {5, 6, 7, 8}, fewer = {5, 6, 7};
  for (const auto& tokens : {others, fewer}) {
    StoreBlock(1);
    BlockKey key = KeyOf(1);
    key.tokens = tokens;
    ExpectLost(key);
  }
  StoreBlock(1);
  BlockKey key = KeyOf(1);
  ++key.parent.low;
  ExpectLost(key);
}

TEST_F(DiskStoreTest, AFileUnderAnothersNameIsNotServed) {
  StoreBlock(1);
  StoreBlock(2);
  const std::vector<std::string> files = Files(".kv");
  std::filesystem::copy_file(files[0], files[1], std::filesystem::copy_options::overwrite_existing);
  EXPECT_NE(LoadBlock(KeyOf(1)).ok(), LoadBlock(KeyOf(2)).ok());
}

TEST_F(DiskStoreTest, ABlockOfAnotherSizeIsNotServed) {
  StoreBlock(1);
  Bytes larger(kBlockBytes + 1);
  EXPECT_FALSE(store_->Load(KeyOf(1), larger).ok());
}

TEST_F(DiskStoreTest, FingerprintsDoNotMeet) {
  StoreBlock(1);
  const KvFingerprint other = {kFingerprint.high, kFingerprint.low + 1};
  store_ = Reopen(other);
  EXPECT_TRUE(store_->contents().empty());
  EXPECT_EQ(LoadBlock(KeyOf(1)).error().code, ErrorCode::kNotFound);
  store_ = Reopen(kFingerprint);
  EXPECT_EQ(store_->contents(), Digests({1}));
}

TEST_F(DiskStoreTest, AForeignFileUnderAnOwnNameIsLeftAlone) {
  StoreBlock(1);
  const std::string own = Files(".kv")[0];
  const std::string contents = *Env::Posix().ReadFile(own);
  store_ = Reopen({7, 7});
  StoreBlock(1);
  for (const std::string& path : Files(".kv")) {
    if (path == own) continue;
    ASSERT_TRUE(Env::Posix().WriteFile(path, contents).ok());
  }
  EXPECT_EQ(LoadBlock(KeyOf(1)).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Files(".kv").size(), 2U);
  Bytes smaller(kBlockBytes - 100), larger(kBlockBytes + 100);  // of whoever asks: the file has another size
  EXPECT_EQ(store_->Load(KeyOf(1), smaller).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(store_->Load(KeyOf(1), larger).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(Files(".kv").size(), 2U);
}

TEST_F(DiskStoreTest, AFullDiskFailsTheStoreAndLeavesNothing) {
  env_.Fail(FaultEnv::Operation::kWrite, 1);
  EXPECT_EQ(store_->Store(KeyOf(1), RandomBlock(1)).error().code, ErrorCode::kResourceExhausted);
  EXPECT_TRUE(Files(".kv").empty());
  EXPECT_TRUE(Files(".tmp").empty());
  StoreBlock(1);
  EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
}

TEST_F(DiskStoreTest, AFailedStoreLeavesTheOldFile) {
  StoreBlock(1);
  using Operation = FaultEnv::Operation;
  for (const Operation operation : {Operation::kWrite, Operation::kRename, Operation::kTouch}) {
    env_.Fail(operation, 1);
    EXPECT_FALSE(store_->Store(KeyOf(1), RandomBlock(99)).ok());
    EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
    EXPECT_TRUE(Files(".tmp").empty());
  }
}

TEST_F(DiskStoreTest, AFileOnABadMediumIsLost) {
  StoreBlock(1);
  env_.Fail(FaultEnv::Operation::kRead, 1);
  ExpectLost(KeyOf(1));
}

TEST_F(DiskStoreTest, WhatMayPassCostsNoFile) {
  StoreBlock(1);
  env_.Fail(FaultEnv::Operation::kOpen, 1);
  EXPECT_FALSE(LoadBlock(KeyOf(1)).ok());
  EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
}

TEST_F(DiskStoreTest, AHugeFileIsLostWithoutBeingRead) {
  StoreBlock(1);
  const std::string path = Files(".kv")[0];
  std::filesystem::resize_file(path, uint64_t{1} << 40);  // sparse
  ExpectLost(KeyOf(1));
  ASSERT_TRUE(Env::Posix().WriteFile(path, "").ok());
  std::filesystem::resize_file(path, uint64_t{1} << 40);
  ExpectLost(KeyOf(1));
}

TEST_F(DiskStoreTest, AFifoIsLostAndNotWaitedFor) {
  StoreBlock(1);
  const std::string path = Files(".kv")[0];
  ASSERT_TRUE(Env::Posix().Remove(path).ok());
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  ExpectLost(KeyOf(1));
  StoreBlock(1);
  EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
}

TEST_F(DiskStoreTest, ADirectoryOfItsNameFailsTheBlockAlone) {
  StoreBlock(1);
  const std::string path = Files(".kv")[0];
  ASSERT_TRUE(Env::Posix().Remove(path).ok());
  ASSERT_TRUE(Env::Posix().CreateDirectories(path).ok());
  EXPECT_EQ(LoadBlock(KeyOf(1)).error().code, ErrorCode::kDataLoss);
  EXPECT_FALSE(store_->Store(KeyOf(1), RandomBlock(1)).ok());
  EXPECT_TRUE(Files(".tmp").empty());
  StoreBlock(2);
  EXPECT_TRUE(LoadBlock(KeyOf(2)).ok());
}

TEST_F(DiskStoreTest, AFileThatCannotBeRemovedFailsTheDrop) {
  StoreBlock(1);
  env_.Fail(FaultEnv::Operation::kRemove);
  EXPECT_FALSE(store_->Drop(KeyOf(1).digest).ok());
}

TEST_F(DiskStoreTest, AFileThatCannotBeTouchedIsServedAllTheSame) {
  StoreBlock(1);
  env_.Fail(FaultEnv::Operation::kTouch);
  EXPECT_TRUE(LoadBlock(KeyOf(1)).ok());
}

TEST_F(DiskStoreTest, OpeningRemovesWhatAnInterruptedStoreLeftAndSkipsStrangers) {
  StoreBlock(0xab);
  const std::filesystem::path folder = std::filesystem::path(Files(".kv")[0]).parent_path();
  EXPECT_EQ(folder.filename(), "ab");
  for (const char* name :
       {"ab.tmp", "README", "00.kv", "abcdefghabcdefghabcdefghabcdefgh.kv", "00000000000000000000000000000000.kv"}) {
    ASSERT_TRUE(Env::Posix().WriteFile(folder / name, "x").ok());
  }
  store_ = Reopen(kFingerprint);
  EXPECT_EQ(store_->contents(), Digests({0xab}));
  EXPECT_TRUE(Files(".tmp").empty());
  EXPECT_TRUE(Env::Posix().Exists(folder / "README"));
}

TEST_F(DiskStoreTest, OpeningSkipsAFileThatIsNamedAsAFolder) {
  StoreBlock(0xab);
  const std::filesystem::path root = std::filesystem::path(Files(".kv")[0]).parent_path().parent_path();
  ASSERT_TRUE(Env::Posix().WriteFile(root / "00", "x").ok() && Env::Posix().WriteFile(root / "ac", "x").ok());
  testing::internal::CaptureStderr();
  store_ = Reopen(kFingerprint);
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(store_->contents(), Digests({0xab}));
  EXPECT_NE(log.find("prefix_cache_folders_skipped count=2"), std::string::npos) << log;
}

TEST_F(DiskStoreTest, OpeningSkipsAFolderThatCannotBeListed) {
  for (const uint64_t n : {1, 2, 3}) StoreBlock(n);
  env_.FailRegularly(FaultEnv::Operation::kList, 1, 2);  // the folders of 1 and 3, but not what is above them
  store_ = Reopen(kFingerprint);
  EXPECT_EQ(store_->contents(), Digests({2}));
  env_.FailRegularly(FaultEnv::Operation::kList, 0, 1);
  store_ = Reopen(kFingerprint);
  EXPECT_EQ(store_->contents(), Digests({1, 2, 3}));
}

TEST_F(DiskStoreTest, OpeningTellsOfTheDirectoriesOfOthers) {
  const auto log_of = [&](const KvFingerprint& fingerprint) {
    testing::internal::CaptureStderr();
    store_ = Reopen(fingerprint);
    return testing::internal::GetCapturedStderr();
  };
  ASSERT_TRUE(Env::Posix().CreateDirectories(JoinPath(Root(), "v1-somebody's")).ok());
  const std::string file = JoinPath(Root(), "v1-00000000000000000000000000000000");
  ASSERT_TRUE(Env::Posix().WriteFile(file, "").ok());
  EXPECT_EQ(log_of(kFingerprint).find("prefix_cache_of_others"), std::string::npos);
  EXPECT_NE(log_of({7, 7}).find("prefix_cache_of_others directories=1 "), std::string::npos);
  EXPECT_NE(log_of({8, 8}).find("prefix_cache_of_others directories=2 "), std::string::npos);
}

TEST_F(DiskStoreTest, OneStoreAtATimeUsesADirectory) {
  const auto second = DiskStore::Open({.directory = Root(), .fingerprint = kFingerprint});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(second.error().message.find(Root()), std::string::npos);
}

TEST(DiskStoreOpen, NamesADirectoryThatCannotBeUsed) {
  const TemporaryDirectory directory;
  const std::string file = JoinPath(directory.path(), "file");
  ASSERT_TRUE(Env::Posix().WriteFile(file, "").ok());
  const auto on_a_file = DiskStore::Open({.directory = file});
  ASSERT_FALSE(on_a_file.ok());
  EXPECT_NE(on_a_file.error().message.find(file), std::string::npos) << on_a_file.error().message;
  using Operation = FaultEnv::Operation;
  for (const Operation operation : {Operation::kCreateDirectories, Operation::kLock, Operation::kList}) {
    FaultEnv env;
    env.Fail(operation);
    const auto opened = DiskStore::Open({.directory = directory.path(), .env = &env});
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.error().message.find(directory.path()), std::string::npos);
  }
}

}  // namespace
}  // namespace quire
