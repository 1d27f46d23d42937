// The batched block copy against a loop over the pairs.
#include "kernels/block_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace quire::cuda {
namespace {

struct Pool {
  std::vector<simt::Vec4> storage;  // so that blocks are aligned as the kernel's accesses want them
  int64_t block_bytes;

  Pool(int num_blocks, int64_t bytes, std::mt19937& random)
      : storage(static_cast<size_t>(num_blocks * bytes / 16)), block_bytes(bytes) {
    const auto word = [&] { return static_cast<uint32_t>(random()); };
    for (simt::Vec4& v : storage) v = {word(), word(), word(), word()};
  }
  char* data() { return reinterpret_cast<char*>(storage.data()); }
  std::vector<char> Block(uint32_t block) {
    const char* begin = data() + block * block_bytes;
    return {begin, begin + block_bytes};
  }
};

// The first `count` of all blocks as sources, with repeats; the rest, shuffled, as targets.
std::vector<BlockPair> RandomPairs(uint32_t num_blocks, uint32_t count, std::mt19937& random) {
  std::vector<uint32_t> targets(num_blocks - count);
  std::iota(targets.begin(), targets.end(), count);
  std::shuffle(targets.begin(), targets.end(), random);
  std::vector<BlockPair> pairs;
  for (uint32_t i = 0; i < count; ++i) pairs.push_back({static_cast<uint32_t>(random() % count), targets[i]});
  return pairs;
}

std::string Copy(const Pool& from, Pool& to, const std::vector<BlockPair>& pairs, int grid, uint64_t seed) {
  const BlockCopyArgs args = {.from = reinterpret_cast<const char*>(from.storage.data()),
                              .to = to.data(),
                              .pairs = pairs.data(),
                              .num_pairs = static_cast<int32_t>(pairs.size()),
                              .block_bytes = to.block_bytes};
  return simt::Launch({.grid_x = grid, .threads = kBlockCopyThreads, .seed = seed}, [&] { CopyBlocks(args); });
}

TEST(BlockCopy, CopiesEveryPairAndTouchesNoOtherBlock) {
  std::mt19937 random(7);
  for (const int64_t bytes : {16, 4096, 16384, 16400, 65536}) {
    SCOPED_TRACE(bytes);
    Pool pool(9, bytes, random);
    const std::vector<BlockPair> pairs = RandomPairs(9, 4, random);
    std::vector<std::vector<char>> expected;
    for (uint32_t block = 0; block < 9; ++block) expected.push_back(pool.Block(block));
    for (const BlockPair& pair : pairs) expected[pair.to] = expected[pair.from];
    ASSERT_EQ(Copy(pool, pool, pairs, 3, static_cast<uint64_t>(bytes)), "");
    for (uint32_t block = 0; block < 9; ++block) EXPECT_EQ(pool.Block(block), expected[block]) << "block " << block;
  }
}

TEST(BlockCopy, CopiesFromOnePoolToAnother) {
  std::mt19937 random(8);
  Pool host(5, 8192, random), device(3, 8192, random);
  ASSERT_EQ(Copy(host, device, {{4, 0}, {1, 2}}, 64, 1), "");
  EXPECT_EQ(device.Block(0), host.Block(4));
  EXPECT_EQ(device.Block(2), host.Block(1));
  EXPECT_NE(device.Block(1), host.Block(1));
}

TEST(BlockCopy, NoPairsIsNoWork) {
  std::mt19937 random(9);
  Pool pool(2, 64, random);
  const std::vector<char> before = pool.Block(0);
  EXPECT_EQ(Copy(pool, pool, {}, 1, 1), "");
  EXPECT_EQ(pool.Block(0), before);
}

}  // namespace
}  // namespace quire::cuda
