#include "kv/block_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

namespace quire {
namespace {

std::vector<uint32_t> Contents(const BlockList& list) {
  std::vector<uint32_t> contents;
  for (uint32_t i = list.front(); i != BlockLink::kNone; i = list.next(i)) contents.push_back(i);
  return contents;
}

TEST(BlockListTest, RemovesFromTheMiddleAppendsAtTheTailAndPopsAtTheHead) {
  std::vector<BlockLink> links(5);
  BlockList list(links);
  for (uint32_t i = 0; i < 4; ++i) list.PushBack(i);
  list.Remove(2);
  EXPECT_EQ(Contents(list), (std::vector<uint32_t>{0, 1, 3}));
  list.PushBack(2);
  list.PushFront(4);
  EXPECT_EQ(Contents(list), (std::vector<uint32_t>{4, 0, 1, 3, 2}));
  EXPECT_EQ(list.PopFront(), 4U);
  EXPECT_EQ(list.PopFront(), 0U);
  EXPECT_EQ(list.size(), 3U);
}

TEST(BlockListTest, TwoListsShareOneArrayOfLinks) {
  std::vector<BlockLink> links(4);
  BlockList a(links), b(links);
  a.PushBack(0);
  b.PushBack(1);
  a.PushBack(2);
  b.PushBack(3);
  EXPECT_EQ(Contents(a), (std::vector<uint32_t>{0, 2}));
  EXPECT_EQ(Contents(b), (std::vector<uint32_t>{1, 3}));
}

TEST(BlockListDeathTest, PoppingAnEmptyListSaysThatNoFreeBlocksAreAvailable) {
  std::vector<BlockLink> links(1);
  BlockList list(links);
  EXPECT_DEATH(list.PopFront(), "no free blocks available");
}

TEST(BlockListTest, DoesWhatADequeDoes) {
  std::mt19937 random(7);
  constexpr uint32_t kBlocks = 20;
  std::vector<BlockLink> links(kBlocks);
  BlockList list(links);
  std::deque<uint32_t> model;
  for (int step = 0; step < 5000; ++step) {
    const auto index = static_cast<uint32_t>(random() % kBlocks);
    const auto found = std::ranges::find(model, index);
    if (found != model.end()) {
      list.Remove(index);
      model.erase(found);
    } else if (random() % 2 == 0) {
      list.PushBack(index);
      model.push_back(index);
    } else {
      list.PushFront(index);
      model.push_front(index);
    }
    ASSERT_EQ(Contents(list), std::vector<uint32_t>(model.begin(), model.end())) << "seed 7, step " << step;
  }
}

}  // namespace
}  // namespace quire
