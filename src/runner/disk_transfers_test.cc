#include "runner/disk_transfers.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "backend/backend_factory.h"
#include "base/env_testing.h"

namespace quire {
namespace {

using Bytes = std::vector<std::byte>;
using Kind = Transfer::Kind;
using Ids = std::vector<uint64_t>;

Bytes RandomBlock(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes block(bytes);
  for (std::byte& byte : block) byte = static_cast<std::byte>(random());
  return block;
}

class DiskTransfersTest : public testing::TestWithParam<int> {
 protected:
  static constexpr uint32_t kNumBlocks = 16;

  DiskTransfersTest() {
    backend_ = *MakeCpuBackend({.num_threads = 1, .isa = "ref"});
    cache_ = *backend_->AllocateKvCache({.num_layers = 2,
                                         .num_blocks = kNumBlocks,
                                         .block_size = 4,
                                         .num_kv_heads = 2,
                                         .head_dim = 16,
                                         .dtype = DType::kBf16});
    Restart();
  }

  void Restart() {
    transfers_.reset();
    auto store = DiskStore::Open({.directory = directory_.path(), .fingerprint = {1, 2}, .env = &env_});
    ASSERT_TRUE(store.ok()) << store.error().message;
    transfers_ = std::make_unique<DiskTransfers>(*std::move(store), *backend_, *cache_, GetParam());
  }

  // What the next process finds.
  std::vector<PrefixDigest> Left() {
    transfers_.reset();
    const auto store = DiskStore::Open({.directory = directory_.path(), .fingerprint = {1, 2}});
    EXPECT_TRUE(store.ok());
    return store.ok() ? (*store)->contents() : std::vector<PrefixDigest>();
  }

  size_t BlockBytes() const { return cache_->shape().BytesPerBlock(); }
  void Fill(uint32_t block, uint32_t seed) {
    backend_->WriteBlock(*cache_, block, RandomBlock(BlockBytes(), seed).data());
  }
  void ExpectHolds(uint32_t block, uint32_t seed) {
    Bytes bytes(BlockBytes());
    backend_->ReadBlock(*cache_, block, bytes.data());
    EXPECT_EQ(bytes, RandomBlock(BlockBytes(), seed)) << "block " << block;
  }
  uint64_t Submit(Kind kind, uint32_t block, uint64_t digest) {
    const std::vector<int32_t> tokens(4, static_cast<int32_t>(digest));
    const Transfer transfer = {
        .id = ++last_id_, .kind = kind, .block = BlockId{block}, .digest = {digest, digest}, .parent = {}};
    transfers_->Submit(transfer, tokens);
    ++num_outstanding_;
    return last_id_;
  }
  // Waits for all; whether `id` was completed.
  bool Await(uint64_t id) {
    for (int round = 0; round < 4000 && num_outstanding_ > 0; ++round) {  // each waits for some ms
      Ids completed, failed;
      transfers_->Collect(true, completed, failed);  // nothing, if the disk takes longer than its patience
      for (const uint64_t each : completed) outcome_[each] = true;
      for (const uint64_t each : failed) outcome_[each] = false;
      num_outstanding_ -= completed.size() + failed.size();
    }
    return outcome_.at(id);
  }

  const TemporaryDirectory directory_;
  FaultEnv env_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvCache> cache_;
  std::unique_ptr<DiskTransfers> transfers_;
  std::map<uint64_t, bool> outcome_;
  uint64_t last_id_ = 0;
  size_t num_outstanding_ = 0;
};

TEST_P(DiskTransfersTest, BlocksComeBackElsewhereAndAfterARestart) {
  for (uint32_t block = 0; block < 8; ++block) {
    Fill(block, block);
    Submit(Kind::kStore, block, block);
  }
  EXPECT_TRUE(Await(last_id_));
  Restart();
  for (uint32_t block = 0; block < 8; ++block) {
    Fill(block, 1000);
    Submit(Kind::kLoad, 8 + block, block);
  }
  Await(last_id_);
  for (uint32_t block = 0; block < 8; ++block) ExpectHolds(8 + block, block);
  for (const auto& [id, completed] : outcome_) EXPECT_TRUE(completed) << id;
}

TEST_P(DiskTransfersTest, CollectDoesNotWaitUnlessItIsAsked) {
  Ids completed, failed;
  transfers_->Collect(false, completed, failed);
  EXPECT_TRUE(completed.empty() && failed.empty());
}

TEST_P(DiskTransfersTest, FailuresConcernTheirTransferAlone) {
  Fill(0, 5);
  Fill(1, 6);
  env_.Fail(FaultEnv::Operation::kWrite, 1);
  EXPECT_FALSE(Await(Submit(Kind::kStore, 0, 1)));
  EXPECT_TRUE(Await(Submit(Kind::kStore, 1, 2)));
  EXPECT_FALSE(Await(Submit(Kind::kLoad, 2, 1)));
  EXPECT_TRUE(Await(Submit(Kind::kLoad, 2, 2)));
  ExpectHolds(2, 6);
  env_.Fail(FaultEnv::Operation::kRead, 1);
  EXPECT_FALSE(Await(Submit(Kind::kLoad, 3, 2)));
  ExpectHolds(0, 5);
}

TEST_P(DiskTransfersTest, ADigestsTransfersKeepTheirOrder) {
  Fill(0, 5);
  for (int round = 0; round < 50; ++round) {
    Submit(Kind::kStore, 0, 9);
    Submit(Kind::kDrop, 0, 9);
  }
  Await(last_id_);
  EXPECT_FALSE(Await(Submit(Kind::kLoad, 1, 9)));
  Submit(Kind::kDrop, 0, 9);
  Submit(Kind::kStore, 0, 9);
  Await(last_id_);
  EXPECT_TRUE(Await(Submit(Kind::kLoad, 1, 9)));
  ExpectHolds(1, 5);
}

// As steps do: other blocks are written while some are under way.
TEST_P(DiskTransfersTest, TheCacheIsUsedMeanwhile) {
  Fill(0, 1);
  EXPECT_TRUE(Await(Submit(Kind::kStore, 0, 1)));
  for (uint32_t round = 0; round < 40; ++round) {
    Submit(Kind::kLoad, 1, 1);
    Submit(Kind::kStore, 0, 100 + round);
    for (uint32_t block = 2; block < kNumBlocks; ++block) Fill(block, round + block);
    EXPECT_TRUE(Await(last_id_));
    ExpectHolds(1, 1);
    Fill(1, round);
  }
}

TEST_P(DiskTransfersTest, GoesAwayWithWorkWaiting) {
  Fill(0, 1);
  for (uint64_t digest = 0; digest < 200; ++digest) Submit(Kind::kStore, 0, digest);
  transfers_.reset();
  cache_.reset();
}

TEST_P(DiskTransfersTest, AnExceptionFailsItsTransferAlone) {
  Fill(0, 5);
  env_.Fail(FaultEnv::Operation::kThrow, 1);
  EXPECT_FALSE(Await(Submit(Kind::kStore, 0, 1)));
  EXPECT_TRUE(Await(Submit(Kind::kStore, 0, 1)));
  env_.Fail(FaultEnv::Operation::kThrow, 1);
  EXPECT_FALSE(Await(Submit(Kind::kLoad, 1, 1)));
  EXPECT_TRUE(Await(Submit(Kind::kLoad, 1, 1)));
  ExpectHolds(1, 5);
}

TEST_P(DiskTransfersTest, DropsThatWaitAreCarriedOutAtTheEnd) {
  Fill(0, 1);
  for (uint64_t digest = 0; digest < 50; ++digest) Submit(Kind::kStore, 0, digest);
  Await(last_id_);
  for (uint64_t digest = 100; digest < 300; ++digest) Submit(Kind::kStore, 0, digest);
  for (uint64_t digest = 0; digest < 50; ++digest) Submit(Kind::kDrop, 0, digest);
  for (const PrefixDigest& left : Left()) EXPECT_GE(left.low, 100U);
}

TEST_P(DiskTransfersTest, ADropThatFailedIsTriedAgainAtTheEnd) {
  Fill(0, 1);
  for (const uint64_t digest : {1, 2, 3}) Submit(Kind::kStore, 0, digest);
  Await(last_id_);
  env_.Fail(FaultEnv::Operation::kRemove, 2);
  EXPECT_FALSE(Await(Submit(Kind::kDrop, 0, 1)));
  EXPECT_FALSE(Await(Submit(Kind::kDrop, 0, 2)));
  EXPECT_TRUE(Await(Submit(Kind::kStore, 0, 2)));  // what is there now is to stay
  const std::vector<PrefixDigest> left = Left();
  ASSERT_EQ(left.size(), 2U);
  for (const PrefixDigest& digest : left) EXPECT_NE(digest.low, 1U);
}

INSTANTIATE_TEST_SUITE_P(Threads, DiskTransfersTest, testing::Values(1, 2));

TEST(DiskTransfersDeathTest, RefusesToWaitForNothing) {
  const TemporaryDirectory directory;
  const auto backend = *MakeCpuBackend({.num_threads = 1, .isa = "ref"});
  const auto cache = *backend->AllocateKvCache({.num_layers = 1, .num_blocks = 1, .num_kv_heads = 1, .head_dim = 8});
  DiskTransfers transfers(*DiskStore::Open({.directory = directory.path()}), *backend, *cache, 1);
  Ids completed, failed;
  EXPECT_DEATH(transfers.Collect(true, completed, failed), "nothing to wait for");
}

}  // namespace
}  // namespace quire
