#include "kv/disk_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace quire {
namespace {

using Digests = std::vector<PrefixDigest>;

PrefixDigest D(uint64_t n) { return {.high = n, .low = n}; }

TEST(DiskIndexTest, WhatIsOnItsWayIsPresentButCannotBeLoadedYet) {
  DiskIndex disk(4, {});
  Digests drops;
  EXPECT_TRUE(disk.BeginStore(D(1), drops));
  EXPECT_TRUE(disk.Contains(D(1)));
  EXPECT_FALSE(disk.Touch(D(1)));
  EXPECT_FALSE(disk.BeginStore(D(1), drops));
  disk.EndStore(D(1), true);
  EXPECT_TRUE(disk.Touch(D(1)));
  EXPECT_FALSE(disk.BeginStore(D(1), drops)) << "it is there";
  EXPECT_TRUE(drops.empty());
}

TEST(DiskIndexTest, AFailedStoreLeavesNothing) {
  DiskIndex disk(4, {});
  Digests drops;
  ASSERT_TRUE(disk.BeginStore(D(1), drops));
  disk.EndStore(D(1), false);
  EXPECT_FALSE(disk.Contains(D(1)));
  EXPECT_EQ(disk.size(), 0U);
}

TEST(DiskIndexTest, MakesRoomByDroppingTheLeastRecentlyUsed) {
  DiskIndex disk(3, Digests{D(1), D(2), D(3)});
  EXPECT_TRUE(disk.Touch(D(1)));
  Digests drops;
  EXPECT_TRUE(disk.BeginStore(D(4), drops));
  EXPECT_EQ(drops, Digests{D(2)});
  EXPECT_FALSE(disk.Touch(D(2)));
  disk.CheckInvariants();
}

TEST(DiskIndexTest, NeverDropsWhatIsOnItsWay) {
  DiskIndex disk(2, {});
  Digests drops;
  EXPECT_TRUE(disk.BeginStore(D(1), drops));
  EXPECT_TRUE(disk.BeginStore(D(2), drops));
  EXPECT_FALSE(disk.BeginStore(D(3), drops)) << "all of the capacity is on its way";
  disk.EndStore(D(2), true);
  EXPECT_TRUE(disk.BeginStore(D(3), drops));
  EXPECT_EQ(drops, Digests{D(2)});
}

TEST(DiskIndexTest, WithoutCapacityStoresNothing) {
  DiskIndex disk(0, Digests{D(1)});
  Digests drops;
  EXPECT_FALSE(disk.BeginStore(D(2), drops));
  EXPECT_EQ(disk.TakeExcess(), Digests{D(1)});
}

TEST(DiskIndexTest, WhatExceedsTheCapacityAtTheStartIsTheLeastRecentlyUsed) {
  DiskIndex disk(2, Digests{D(1), D(2), D(3), D(2)});
  EXPECT_EQ(disk.size(), 2U);
  EXPECT_TRUE(disk.Touch(D(2)));
  EXPECT_TRUE(disk.Touch(D(3)));
  EXPECT_EQ(disk.TakeExcess(), Digests{D(1)});
  EXPECT_TRUE(disk.TakeExcess().empty());
}

TEST(DiskIndexTest, AFailedLoadForgetsTheFileButNotItsNextVersionOnItsWay) {
  DiskIndex disk(2, Digests{D(1)});
  disk.Forget(D(1));
  EXPECT_FALSE(disk.Contains(D(1)));
  disk.Forget(D(1));
  Digests drops;
  ASSERT_TRUE(disk.BeginStore(D(1), drops));
  disk.Forget(D(1));
  disk.EndStore(D(1), true);
  EXPECT_TRUE(disk.Touch(D(1)));
}

TEST(DiskIndexTest, ClearGivesUpWhatIsStored) {
  DiskIndex disk(3, Digests{D(1), D(2)});
  Digests drops;
  ASSERT_TRUE(disk.BeginStore(D(3), drops));
  disk.Clear(drops);
  EXPECT_EQ(drops, (Digests{D(1), D(2)}));
  EXPECT_EQ(disk.size(), 1U);
  disk.EndStore(D(3), true);
  EXPECT_TRUE(disk.Touch(D(3)));
}

TEST(DiskIndexDeathTest, OnlyWhatBeganCanEnd) {
  DiskIndex disk(2, Digests{D(1)});
  EXPECT_DEATH(disk.EndStore(D(1), true), "is not being stored");
  EXPECT_DEATH(disk.EndStore(D(2), true), "is not being stored");
}

// The rule, on a list: the least recently used first.
class ListByUse {
 public:
  explicit ListByUse(uint32_t capacity) : capacity_(capacity) {}

  size_t size() const { return known_.size(); }
  bool Contains(const PrefixDigest& digest) { return Find(digest) != known_.end(); }
  bool IsStored(const PrefixDigest& digest) { return Contains(digest) && Find(digest)->stored; }

  bool BeginStore(const PrefixDigest& digest, Digests& drops) {
    const auto victim = std::ranges::find_if(known_, &Known::stored);
    const bool is_full = known_.size() == capacity_;
    if (Contains(digest) || (is_full && victim == known_.end())) return false;
    if (is_full) {
      drops.push_back(victim->digest);
      known_.erase(victim);
    }
    known_.push_back({digest});
    return true;
  }
  void EndStore(const PrefixDigest& digest, bool succeeds) {
    known_.erase(Find(digest));
    if (succeeds) known_.push_back({digest, true});
  }
  bool Touch(const PrefixDigest& digest) {
    if (!IsStored(digest)) return false;
    std::rotate(Find(digest), Find(digest) + 1, known_.end());
    return true;
  }
  void Forget(const PrefixDigest& digest) {
    if (IsStored(digest)) known_.erase(Find(digest));
  }

 private:
  struct Known {
    PrefixDigest digest;
    bool stored = false;
  };

  std::vector<Known>::iterator Find(const PrefixDigest& digest) {
    return std::ranges::find(known_, digest, &Known::digest);
  }

  const uint32_t capacity_;
  std::vector<Known> known_;
};

void DoTheSame(std::mt19937& random, DiskIndex& disk, ListByUse& list) {
  const PrefixDigest digest = D(random() % 10);
  ASSERT_EQ(disk.Contains(digest), list.Contains(digest));
  switch (random() % 4) {
    case 0: {
      Digests drops, expected;
      ASSERT_EQ(disk.BeginStore(digest, drops), list.BeginStore(digest, expected));
      ASSERT_EQ(drops, expected);
      break;
    }
    case 1: {
      if (!list.Contains(digest) || list.IsStored(digest)) break;
      const bool succeeds = random() % 4 != 0;
      disk.EndStore(digest, succeeds);
      list.EndStore(digest, succeeds);
      break;
    }
    case 2:
      ASSERT_EQ(disk.Touch(digest), list.Touch(digest));
      break;
    default:
      if (random() % 4 != 0) break;
      disk.Forget(digest);
      list.Forget(digest);
  }
  ASSERT_EQ(disk.size(), list.size());
  disk.CheckInvariants();
}

TEST(DiskIndexTest, DoesWhatAListByUseDoes) {
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const uint32_t capacity = seed % 7;
    DiskIndex disk(capacity, {});
    ListByUse list(capacity);
    for (int step = 0; step < 1000; ++step) ASSERT_NO_FATAL_FAILURE(DoTheSame(random, disk, list));
  }
}

}  // namespace
}  // namespace quire
