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

TEST(DiskIndexTest, DoesWhatAListByUseDoes) {
  struct Known {
    PrefixDigest digest;
    bool stored = false;
  };
  for (uint32_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    const uint32_t capacity = seed % 7;
    DiskIndex disk(capacity, {});
    std::vector<Known> model;  // the least recently used first
    for (int step = 0; step < 1000; ++step) {
      const PrefixDigest digest = D(random() % 10);
      const auto known = std::ranges::find(model, digest, &Known::digest);
      const bool present = known != model.end(), stored = present && known->stored;
      ASSERT_EQ(disk.Contains(digest), present);
      switch (random() % 4) {
        case 0: {
          Digests drops, expected;
          const auto victim = std::ranges::find_if(model, &Known::stored);
          const bool room = model.size() < capacity || victim != model.end();
          const bool begins = !present && room && capacity > 0;
          if (begins && model.size() == capacity) {
            expected.push_back(victim->digest);
            model.erase(victim);
          }
          if (begins) model.push_back({digest});
          ASSERT_EQ(disk.BeginStore(digest, drops), begins);
          ASSERT_EQ(drops, expected);
          break;
        }
        case 1: {
          if (!present || stored) break;
          const bool succeeds = random() % 4 != 0;
          disk.EndStore(digest, succeeds);
          model.erase(known);
          if (succeeds) model.push_back({digest, true});
          break;
        }
        case 2:
          ASSERT_EQ(disk.Touch(digest), stored);
          if (stored) std::rotate(known, known + 1, model.end());
          break;
        default:
          if (random() % 4 != 0) break;
          disk.Forget(digest);
          if (stored) model.erase(known);
      }
      ASSERT_EQ(disk.size(), model.size());
      disk.CheckInvariants();
    }
  }
}

}  // namespace
}  // namespace quire
