// Who holds memory and who gives way, driven by hand: a pool of 8 blocks of 4 tokens, no prompts computed by anybody.
#include "sched/residency.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>

namespace quire {
namespace {

class ResidencyTest : public testing::Test {
 protected:
  explicit ResidencyTest(SchedulerConfig config = Config())
      : config_(config),
        space_(KvSpace::Make(KvConfigOf(config_))),
        residency_({config_, *space_, builder_, waiting_, events_, chunk_budget_}) {}

  static SchedulerConfig Config() {
    SchedulerConfig config;
    config.max_num_seqs = 4;
    config.max_model_len = 32;
    config.block_size = 4;
    config.num_blocks = 8;
    config.watermark = 0;
    config.enable_prefix_caching = false;
    config.num_swap_blocks = 8;
    return config;
  }

  SequenceGroup& Enter(uint32_t num_tokens, int32_t n = 1) {
    const uint64_t order = waiting_.NextOrder();
    Request request{.id = RequestId{order}};
    request.prompt.resize(num_tokens);
    std::iota(request.prompt.begin(), request.prompt.end(), static_cast<int32_t>(100 * order));
    request.params.n = n;
    request.params.max_tokens = 8;
    groups_.push_back(
        std::make_unique<SequenceGroup>(std::move(request), order, num_tokens + 8, 4U, space_->cache().MakeTable()));
    SequenceGroup& group = *groups_.back();
    group.rank = order;
    waiting_.AddActive(group);
    EXPECT_TRUE(residency_.HasSeats(group));
    const KvManager::Match none = space_->cache().NoMatch({});
    EXPECT_TRUE(residency_.CanEnter(group, none));
    residency_.Enter(group, none);
    return group;
  }
  // Its prompt has been computed, and a token drawn.
  static void Decode(SequenceGroup& group) {
    Sequence& sequence = group.front();
    sequence.num_computed = sequence.num_tokens();
    sequence.tokens.push_back(7);
  }
  void Begin() {
    if (builder_.number() > 0) Land();
    builder_.Begin(64);
    residency_.BeginStep();
  }
  void Land() {
    builder_.Finish();
    StepResult result;
    result.step = builder_.number();
    if (builder_.in_flight()) builder_.Land(result);
  }
  void ReportTransfers(SequenceGroup& group, bool completed = true) {
    std::vector<uint64_t> ids;
    for (const auto& [id, transfer] : builder_.ledger().transfers()) ids.push_back(id);
    for (const uint64_t id : ids) {
      residency_.ReportSwap(&group, builder_.ledger().Remove(id).kind, completed);
    }
  }

  const SchedulerConfig config_;
  const std::unique_ptr<KvSpace> space_;
  ChunkBudget chunk_budget_{{}};
  WaitingQueue waiting_{{}, false};
  StepBuilder builder_{{.num_seats = 4, .block_size = 4}};
  EventLog events_;
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
  Residency residency_;
};

using State = SequenceGroup::State;

TEST_F(ResidencyTest, TheYoungestGivesWayAndTheOldestGoesOn) {
  Begin();
  SequenceGroup& oldest = Enter(12);
  SequenceGroup& middle = Enter(12);
  SequenceGroup& youngest = Enter(8);
  EXPECT_EQ(space_->num_available(), 0U);
  Decode(oldest);
  EXPECT_TRUE(residency_.MakeRoomToDecode(oldest));
  EXPECT_TRUE(residency_.preempted_in_step());
  EXPECT_EQ(youngest.state, State::kWaiting);
  EXPECT_EQ(waiting_.First(), &youngest);
  residency_.PrepareWrite(oldest.front(), 13);
  Decode(middle);
  EXPECT_TRUE(residency_.MakeRoomToDecode(middle)) << "two blocks came back";
  EXPECT_EQ(residency_.counters().num_preemptions_recompute, 1U);
  EXPECT_EQ(residency_.num_seats(), 2U);
}

TEST_F(ResidencyTest, WhoNeedsMemoryAndIsTheYoungestGivesWayItself) {
  Begin();
  Enter(16);
  SequenceGroup& youngest = Enter(16);
  Decode(youngest);
  EXPECT_FALSE(residency_.MakeRoomToDecode(youngest));
  EXPECT_EQ(youngest.state, State::kWaiting);
}

TEST_F(ResidencyTest, WhatWasComputedGoesToSwapSpaceAndComesBack) {
  Begin();
  SequenceGroup& oldest = Enter(16);
  SequenceGroup& victim = Enter(15);
  Decode(victim);
  Begin();
  Decode(oldest);
  EXPECT_TRUE(residency_.MakeRoomToDecode(oldest));
  EXPECT_EQ(victim.state, State::kSwapped);
  EXPECT_EQ(residency_.swapper().num_used_places(), 4U);
  EXPECT_EQ(builder_.plan().transfers.size(), 4U);
  ReportTransfers(victim);
  residency_.PrepareWrite(oldest.front(), 17);
  EXPECT_FALSE(residency_.ResumeFirst()) << "no room for it to grow";
  residency_.Remove(oldest);
  Begin();
  EXPECT_TRUE(residency_.ResumeFirst());
  EXPECT_EQ(victim.state, State::kResuming);
  ReportTransfers(victim);
  EXPECT_EQ(victim.state, State::kRunning);
  EXPECT_EQ(victim.front().num_computed, 15U);
  EXPECT_EQ(residency_.swapper().num_used_places(), 0U);
}

TEST_F(ResidencyTest, WhatIsLostOnTheWayIsComputedAgain) {
  Begin();
  SequenceGroup& oldest = Enter(16);
  SequenceGroup& victim = Enter(15);
  Decode(victim);
  Begin();
  Decode(oldest);
  EXPECT_TRUE(residency_.MakeRoomToDecode(oldest));
  ReportTransfers(victim, false);
  EXPECT_EQ(victim.state, State::kWaiting);
  EXPECT_EQ(victim.front().num_computed, 0U);
  EXPECT_TRUE(residency_.swapped().empty());
  EXPECT_EQ(residency_.swapper().num_used_places(), 0U);
  EXPECT_EQ(residency_.swapper().counters().num_failures, 4U);
}

TEST_F(ResidencyTest, PinnedBlocksAreCountedOnceAndStay) {
  Begin();
  SequenceGroup& group = Enter(12);
  BlockTable two = group.front().table.ForkPrefix(2);
  EXPECT_EQ(residency_.NumPinnedWith(two.blocks()), 2U);
  residency_.Pin(std::move(two));
  EXPECT_EQ(residency_.NumPinnedWith(group.front().table.blocks()), 3U);
  residency_.Remove(group);
  EXPECT_EQ(space_->num_available(), 6U);
  EXPECT_EQ(residency_.num_pinned_blocks(), 2U);
}

class StaticResidencyTest : public ResidencyTest {
 protected:
  StaticResidencyTest() : ResidencyTest(StaticConfig()) {}
  static SchedulerConfig StaticConfig() {
    SchedulerConfig config = Config();
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
  EXPECT_EQ(space_->num_available(), 4U);
  residency_.Remove(b);
  EXPECT_EQ(space_->num_available(), 8U);
}

}  // namespace
}  // namespace quire
