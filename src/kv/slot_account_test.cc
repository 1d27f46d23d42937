#include "kv/slot_account.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(SlotAccountTest, Figure3RequestAHasEightTokenStatesTwoReservedAnd2038ItNeverUses) {
  const SequenceSlots a = Classify({.num_held = 7 + 1, .max_total_tokens = 10, .num_slots = 2048});
  EXPECT_EQ(a, (SequenceSlots{.token = 7 + 1, .reserved = 2, .internal = 2038}));
}

TEST(SlotAccountTest, Figure3RequestBHasFourTokenStatesOneReservedAnd507ItNeverUses) {
  const SequenceSlots b = Classify({.num_held = 3 + 1, .max_total_tokens = 5, .num_slots = 512});
  EXPECT_EQ(b, (SequenceSlots{.token = 3 + 1, .reserved = 1, .internal = 507}));
}

TEST(SlotAccountTest, APagedSequenceReservesOnlyWithinItsLastBlock) {
  EXPECT_EQ(Classify({.num_held = 16 + 1, .max_total_tokens = 100, .num_slots = 32}),
            (SequenceSlots{.token = 17, .reserved = 15, .internal = 0}));
  EXPECT_EQ(Classify({.num_held = 16 + 1, .max_total_tokens = 20, .num_slots = 32}),
            (SequenceSlots{.token = 17, .reserved = 3, .internal = 12}));
}

TEST(SlotAccountTest, TheCurrentTokenHasNoSlotUntilTheTableGrows) {
  EXPECT_EQ(Classify({.num_held = 16 + 1, .max_total_tokens = 20, .num_slots = 16}),
            (SequenceSlots{.token = 16, .reserved = 0, .internal = 0}));
}

TEST(SlotAccountTest, WhatIsNotComputedOfAPromptIsReserved) {
  EXPECT_EQ(Classify({.num_held = 31 + 1, .max_total_tokens = 120, .num_slots = 112}),
            (SequenceSlots{.token = 32, .reserved = 80, .internal = 0}));
}

TEST(SlotAccountTest, TheClassesAddUpAndWasteIsAShareOfTheMemoryInUse) {
  const SlotAccount account = {{90, 4, 5, 1, 20, 8, 1000, 1000, 1000}};
  EXPECT_EQ(account.total(), 128U);
  EXPECT_DOUBLE_EQ(account.waste_pct(), 10.0);
  EXPECT_EQ(SlotAccount{}.waste_pct(), 0);
  EXPECT_EQ(account[SlotState::kCached], 20U);
  EXPECT_STREQ(SlotStateName(SlotState::kOnDisk), "on_disk");
}

}  // namespace
}  // namespace quire
