#include "kv/buddy_allocator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace quire {
namespace {

void FreeChunk(BuddyAllocator& buddy, uint32_t first, uint32_t size) {
  for (uint32_t i = 0; i < size; ++i) buddy.Free(first + i);
}

TEST(BuddyAllocatorTest, CutsTheArenaIntoTheLargestChunksFirst) {
  BuddyAllocator buddy(4 + 4 + 2 + 1, 4);
  EXPECT_EQ(buddy.NumAllocatable(4), 2U);
  EXPECT_EQ(buddy.NumAllocatable(2), 5U);
  EXPECT_EQ(buddy.NumFreeInChunksBelow(4), 3U);
  EXPECT_EQ(buddy.NumFreeInChunksBelow(2), 1U);
  EXPECT_EQ(buddy.NumFreeInChunksBelow(1), 0U);
  EXPECT_EQ(buddy.NumFreeInChunksBelow(8), 11U);
  buddy.CheckInvariants();
}

TEST(BuddyAllocatorTest, HalvesTheSmallestSufficientChunk) {
  BuddyAllocator buddy(4 + 2, 4);
  EXPECT_EQ(buddy.Allocate(1), 4U) << "out of the chunk of two";
  EXPECT_EQ(buddy.Allocate(2), 0U);
  EXPECT_EQ(buddy.Allocate(2), 2U);
  EXPECT_EQ(buddy.Allocate(2), std::nullopt) << "one block is free";
  EXPECT_EQ(buddy.num_free(), 1U);
  buddy.CheckInvariants();
}

TEST(BuddyAllocatorTest, NothingIsLargerThanTheLargestChunk) {
  BuddyAllocator buddy(16, 4);
  EXPECT_EQ(buddy.Allocate(8), std::nullopt);
  EXPECT_EQ(buddy.NumAllocatable(8), 0U);
}

TEST(BuddyAllocatorTest, BuddiesMergeInWhateverOrderTheirBlocksComeBack) {
  BuddyAllocator buddy(8, 8);
  ASSERT_EQ(buddy.Allocate(8), 0U);
  for (const uint32_t block : {5U, 0U, 7U, 2U, 3U, 6U, 1U}) {
    buddy.Free(block);
    buddy.CheckInvariants();
    EXPECT_EQ(buddy.Allocate(8), std::nullopt);
  }
  buddy.Free(4);
  EXPECT_EQ(buddy.Allocate(8), 0U);
}

TEST(BuddyAllocatorTest, NeighboursThatAreNoBuddiesDoNotMerge) {
  BuddyAllocator buddy(4, 4);
  for (uint32_t i = 0; i < 4; ++i) ASSERT_EQ(buddy.Allocate(1), i);
  buddy.Free(1);
  buddy.Free(2);
  EXPECT_EQ(buddy.Allocate(2), std::nullopt);
  EXPECT_EQ(buddy.NumFreeInChunksBelow(2), 2U);
}

TEST(BuddyAllocatorDeathTest, DoubleFreeIsADefect) {
  BuddyAllocator buddy(4, 4);
  ASSERT_EQ(buddy.Allocate(4), 0U);
  FreeChunk(buddy, 0, 4);
  EXPECT_DEATH(buddy.Free(3), "double free of block 3");
}

// The free blocks that lie in aligned runs of `size` free blocks: eager merging makes each of them allocatable.
uint32_t NumInRuns(const std::vector<bool>& used, uint32_t size) {
  uint32_t num_blocks = 0;
  for (uint32_t first = 0; first + size <= used.size(); first += size) {
    const auto begin = used.begin() + first;
    if (std::none_of(begin, begin + size, [](bool is_used) { return is_used; })) num_blocks += size;
  }
  return num_blocks;
}

TEST(BuddyAllocatorTest, GivesAChunkExactlyWhenAnAlignedRunOfBlocksIsFree) {
  for (uint32_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const uint32_t num_blocks = 1 + static_cast<uint32_t>(random() % 40), max_order = seed % 5;
    BuddyAllocator buddy(num_blocks, 1U << max_order);
    std::vector<bool> used(num_blocks);
    for (int step = 0; step < 300; ++step) {
      const uint32_t size = 1U << (random() % (max_order + 1));
      EXPECT_EQ(buddy.NumAllocatable(size), NumInRuns(used, size) / size);
      EXPECT_EQ(buddy.NumFreeInChunksBelow(size), buddy.num_free() - NumInRuns(used, size));
      if (random() % 2 == 0) {
        const bool available = NumInRuns(used, size) > 0;
        const auto first = buddy.Allocate(size);
        ASSERT_EQ(first.has_value(), available);
        for (uint32_t i = 0; first && i < size; ++i) {
          ASSERT_FALSE(used[*first + i]);
          used[*first + i] = true;
        }
      } else {
        for (uint32_t tries = 0; tries < 4; ++tries) {
          const auto block = static_cast<uint32_t>(random() % num_blocks);
          if (used[block]) buddy.Free(block);
          used[block] = false;
        }
      }
      ASSERT_EQ(buddy.num_free(), static_cast<uint32_t>(std::ranges::count(used, false)));
      buddy.CheckInvariants();
    }
  }
}

}  // namespace
}  // namespace quire
