// Who holds memory and who gives way, driven by hand: a pool of 8 blocks of 4 tokens, no prompts computed by anybody.
#include "sched/residency.h"

#include <gtest/gtest.h>

#include "sched/parts_testing.h"

namespace quire {
namespace {

class ResidencyTest : public testing::Test {
 protected:
  explicit ResidencyTest(const SchedulerConfig& config = PartsConfig(8)) : parts_(config) {}

  SequenceGroup& Enter(uint32_t num_tokens, int32_t n = 1) {
    return parts_.Enter(PartRequest(parts_.waiting.NextOrder(), num_tokens, n));
  }
  // Its prompt has been computed, and a token drawn.
  static void Decode(SequenceGroup& group) {
    Sequence& sequence = group.front();
    sequence.kv.num_computed = sequence.num_tokens();
    sequence.tokens.push_back(7);
  }
  void Begin() { parts_.Begin(); }
  void ReportTransfers(SequenceGroup& group, bool completed = true) {
    std::vector<uint64_t> ids;
    for (const auto& [id, transfer] : builder_.ledger().transfers()) ids.push_back(id);
    for (const uint64_t id : ids) {
      residency_.ReportSwap(&group, builder_.ledger().Remove(id).kind, completed);
    }
  }
  // Of two groups that fill the pool, the older one needs memory to decode: the younger one goes to swap space.
  struct Swapped {
    SequenceGroup& oldest;
    SequenceGroup& victim;
  };
  Swapped SwapOutTheYounger() {
    Begin();
    SequenceGroup& oldest = Enter(16);
    SequenceGroup& victim = Enter(15);
    Decode(victim);
    Begin();
    Decode(oldest);
    EXPECT_TRUE(residency_.PrepareDecode(oldest));
    return {oldest, victim};
  }

  ResidencyParts parts_;
  Residency& residency_ = parts_.residency;
  KvSpace& space_ = *parts_.space;
  StepBuilder& builder_ = parts_.builder;
  WaitingQueue& waiting_ = parts_.waiting;
};

using State = SequenceGroup::State;

TEST_F(ResidencyTest, TheYoungestGivesWayAndTheOldestGoesOn) {
  Begin();
  SequenceGroup& oldest = Enter(12);
  SequenceGroup& middle = Enter(12);
  SequenceGroup& youngest = Enter(8);
  EXPECT_EQ(space_.num_available(), 0U);
  Decode(oldest);
  EXPECT_TRUE(residency_.PrepareDecode(oldest));
  EXPECT_TRUE(residency_.preempted_in_step());
  EXPECT_EQ(youngest.state, State::kWaiting);
  EXPECT_EQ(waiting_.First(), &youngest);
  Decode(middle);
  EXPECT_TRUE(residency_.PrepareDecode(middle)) << "two blocks came back";
  EXPECT_EQ(residency_.counters().preemptions[PreemptionMode::kRecompute], 1U);
  EXPECT_EQ(residency_.num_seats(), 2U);
}

TEST_F(ResidencyTest, WhoNeedsMemoryAndIsTheYoungestGivesWayItself) {
  Begin();
  Enter(16);
  SequenceGroup& youngest = Enter(16);
  Decode(youngest);
  EXPECT_FALSE(residency_.PrepareDecode(youngest));
  EXPECT_EQ(youngest.state, State::kWaiting);
}

TEST_F(ResidencyTest, WhatWasComputedGoesToSwapSpaceAndComesBack) {
  const auto [oldest, victim] = SwapOutTheYounger();
  EXPECT_EQ(victim.state, State::kSwapped);
  EXPECT_EQ(residency_.swapper().num_used_places(), 4U);
  EXPECT_EQ(builder_.plan().transfers.size(), 4U);
  ReportTransfers(victim);
  EXPECT_FALSE(residency_.ResumeFirst()) << "no room for it to grow";
  residency_.Remove(oldest);
  Begin();
  EXPECT_TRUE(residency_.ResumeFirst());
  EXPECT_EQ(victim.state, State::kResuming);
  ReportTransfers(victim);
  EXPECT_EQ(victim.state, State::kRunning);
  EXPECT_EQ(victim.front().kv.num_computed, 15U);
  EXPECT_EQ(residency_.swapper().num_used_places(), 0U);
}

TEST_F(ResidencyTest, WhatIsLostOnTheWayIsComputedAgain) {
  const auto [oldest, victim] = SwapOutTheYounger();
  ReportTransfers(victim, false);
  EXPECT_EQ(victim.state, State::kWaiting);
  EXPECT_EQ(victim.front().kv.num_computed, 0U);
  EXPECT_TRUE(residency_.swapped().empty());
  EXPECT_EQ(residency_.swapper().num_used_places(), 0U);
  EXPECT_EQ(residency_.swapper().counters()[Transfer::Kind::kSwapOut].failed, 4U);
}

TEST_F(ResidencyTest, DraftsTakeNoMemoryThatADecodeMayNeed) {
  Begin();
  SequenceGroup& one = Enter(12);
  SequenceGroup& other = Enter(8);
  Decode(one);
  Decode(other);
  EXPECT_TRUE(residency_.PrepareDecode(one));
  EXPECT_TRUE(residency_.PrepareDecode(other));
  EXPECT_EQ(space_.num_available(), 1U);
  EXPECT_EQ(residency_.PrepareDrafts(one.front(), 6), 3U) << "what its last block has room for";
  EXPECT_EQ(space_.num_available(), 1U);
  residency_.Remove(other);
  EXPECT_EQ(residency_.PrepareDrafts(one.front(), 6), 6U);
  EXPECT_EQ(space_.num_available(), 3U);
}

TEST_F(ResidencyTest, PinnedBlocksAreCountedOnceAndStay) {
  Begin();
  SequenceGroup& group = Enter(12);
  SequenceKv two = group.front().kv.ForkPrefix(2);
  EXPECT_EQ(residency_.NumPinnedWith(two), 2U);
  residency_.Pin(std::move(two));
  EXPECT_EQ(residency_.NumPinnedWith(group.front().kv), 3U);
  residency_.Remove(group);
  EXPECT_EQ(space_.num_available(), 6U);
  EXPECT_EQ(residency_.num_pinned_blocks(), 2U);
}

class StaticResidencyTest : public ResidencyTest {
 protected:
  StaticResidencyTest() : ResidencyTest(StaticConfig()) {}
  static SchedulerConfig StaticConfig() {
    SchedulerConfig config = PartsConfig(8);
    config.batching = Batching::kStatic;
    return config;
  }
};

TEST_F(StaticResidencyTest, MemoryOfWhoHasEndedIsKeptUntilTheBatchHas) {
  Begin();
  EXPECT_TRUE(residency_.batch_is_open());
  SequenceGroup& a = Enter(8);
  SequenceGroup& b = Enter(8);
  residency_.Remove(a);
  Begin();
  EXPECT_FALSE(residency_.batch_is_open());
  EXPECT_EQ(space_.num_available(), 4U);
  residency_.Remove(b);
  EXPECT_EQ(space_.num_available(), 8U);
}

}  // namespace
}  // namespace quire
