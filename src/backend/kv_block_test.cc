// Blocks out of the cache and back: ReadBlock and WriteBlock.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <thread>
#include <vector>

#include "backend/backend_factory.h"
#include "backend/backend_testing.h"

namespace quire {
namespace {

using Bytes = std::vector<std::byte>;

Bytes RandomBytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  Bytes bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

KvShape Shape(DType dtype, int32_t block_size) {
  return {.num_layers = 3, .num_blocks = 5, .block_size = block_size, .num_kv_heads = 2, .head_dim = 8, .dtype = dtype};
}

class BlocksOnEveryIsa : public testing::TestWithParam<std::string> {};

TEST_P(BlocksOnEveryIsa, ComeBackAsTheyWereWritten) {
  const TestBackend test = MakeTestBackend(GetParam(), 1);
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    for (const int32_t block_size : {1, 4, 16, 256}) {
      const auto cache = *test->AllocateKvCache(Shape(dtype, block_size));
      const size_t bytes = cache->shape().BytesPerBlock();
      for (uint32_t block = 0; block < 5; ++block) test->WriteBlock(*cache, block, RandomBytes(bytes, block).data());
      for (uint32_t block = 0; block < 5; ++block) {
        Bytes out(bytes);
        test->ReadBlock(*cache, block, out.data());
        EXPECT_EQ(out, RandomBytes(bytes, block)) << DTypeName(dtype) << " block_size " << block_size;
      }
    }
  }
}

// A block that leaves and comes back elsewhere serves attention as it did: what was written through one table is read
// through another.
TEST_P(BlocksOnEveryIsa, ServeAttentionWhereverTheyAreWritten) {
  const TestBackend test = MakeTestBackend(GetParam(), 1, 8, 64);
  Random random(5);
  for (const DType dtype : {DType::kF32, DType::kBf16}) {
    const auto cache = *test->AllocateKvCache(Shape(dtype, 4));
    Matrix qkv = random.Values(8, (2 + 2 * 2) * 8);
    const auto attend = [&](const std::vector<uint32_t>& table) {
      Matrix y(8, 2 * 8);
      const std::vector<BatchSpan> spans = {{.num_rows = 8, .block_table = table.data()}};
      const auto batch = test.Prepared(spans, 2, 2);
      test->Attention({.qkv = qkv.tensor(),
                       .num_heads = 2,
                       .scale = 0.3F,
                       .batch = batch.get(),
                       .cache = cache.get(),
                       .layer = 1,
                       .y = y.tensor()});
      return y;
    };
    const std::vector<uint32_t> before = {4, 1}, after = {0, 2};
    const std::vector<BatchSpan> spans = {{.num_rows = 8, .block_table = before.data()}};
    const auto batch = test.Prepared(spans, 2, 2);
    test->RopeAndCache({.qkv = qkv.tensor(), .num_heads = 2, .batch = batch.get(), .cache = cache.get(), .layer = 1});
    const Matrix expected = attend(before);
    for (size_t i = 0; i < 2; ++i) {
      Bytes block(cache->shape().BytesPerBlock());
      test->ReadBlock(*cache, before[i], block.data());
      test->WriteBlock(*cache, after[i], block.data());
    }
    EXPECT_TRUE(SameBits(attend(after), expected));
  }
}

TEST_P(BlocksOnEveryIsa, MoveOnSeveralThreadsAtOnce) {
  const TestBackend test = MakeTestBackend(GetParam(), 1);
  const auto cache = *test->AllocateKvCache(Shape(DType::kBf16, 16));
  const size_t bytes = cache->shape().BytesPerBlock();
  const auto move = [&](uint32_t block) {
    for (uint32_t round = 0; round < 50; ++round) {
      Bytes out(bytes);
      test->WriteBlock(*cache, block, RandomBytes(bytes, block + 5 * round).data());
      test->ReadBlock(*cache, block, out.data());
      EXPECT_EQ(out, RandomBytes(bytes, block + 5 * round));
    }
  };
  std::thread other(move, 1);
  move(2);
  other.join();
}

INSTANTIATE_TEST_SUITE_P(KvBlock, BlocksOnEveryIsa, testing::ValuesIn(SupportedCpuIsas()), [](const auto& info) {
  std::string name = info.param;
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace quire
