// Whether a request may enter: seats, memory beside what is cached, and prefixes that others are about to compute. A
// pool of 8 blocks of 4 tokens with a prefix cache, 4 seats.
#include "sched/admitter.h"

#include <gtest/gtest.h>

#include "sched/parts_testing.h"

namespace quire {
namespace {

using State = SequenceGroup::State;
using Outcome = Admitter::Outcome;

class AdmitterTest : public testing::Test {
 protected:
  AdmitterTest() { parts_.Begin(); }

  static SchedulerConfig Config() {
    SchedulerConfig config = PartsConfig(8);
    config.enable_prefix_caching = true;
    return config;
  }
  static Request SameAs(const Request& request, uint64_t id) {
    Request same = request;
    same.id = RequestId{id};
    return same;
  }
  // So many of its tokens have been computed.
  void Compute(SequenceGroup& group, uint32_t num_tokens) {
    Sequence& front = group.front();
    front.kv.num_computed = num_tokens;
    parts_.space->cache().Commit(front.kv, group.scope(), std::span(front.tokens).first(num_tokens));
  }

  ResidencyParts parts_{Config()};
  DiskTier disk_{parts_.space->cache(), {}, {}};
  Admitter admitter_{
      {parts_.config, *parts_.space, disk_, parts_.builder, parts_.waiting, parts_.residency, parts_.events}};
};

TEST_F(AdmitterTest, WhoFitsRunsAndLeavesTheQueue) {
  SequenceGroup& group = parts_.Wait(PartRequest(1, 10));
  EXPECT_TRUE(admitter_.HasRoomFor(group));
  EXPECT_EQ(admitter_.TryAdmit(group), Outcome::kAdmitted);
  EXPECT_EQ(group.state, State::kRunning);
  EXPECT_TRUE(parts_.waiting.empty());
  EXPECT_EQ(parts_.residency.num_seats(), 1U);
  EXPECT_EQ(parts_.events.last()->kind, SchedulerEvent::Kind::kAdmitted);
  EXPECT_EQ(admitter_.counters().query_tokens, 10U);
  EXPECT_EQ(admitter_.counters().hit_tokens, 0U);
}

TEST_F(AdmitterTest, SeatsAreForAllStreamsOfARequest) {
  EXPECT_EQ(admitter_.TryAdmit(parts_.Wait(PartRequest(1, 3, 3))), Outcome::kAdmitted);
  SequenceGroup& wide = parts_.Wait(PartRequest(2, 3, 2));
  EXPECT_FALSE(admitter_.HasRoomFor(wide));
  EXPECT_EQ(admitter_.TryAdmit(wide), Outcome::kNoRoom);
  EXPECT_EQ(admitter_.TryAdmit(parts_.Wait(PartRequest(3, 3))), Outcome::kAdmitted);
}

TEST_F(AdmitterTest, WhatIsCachedIsSharedAndCounted) {
  SequenceGroup& first = parts_.Wait(PartRequest(1, 18));
  EXPECT_EQ(admitter_.TryAdmit(first), Outcome::kAdmitted);
  Compute(first, 18);
  SequenceGroup& second = parts_.Wait(SameAs(first.request, 2));
  EXPECT_EQ(admitter_.TryAdmit(second), Outcome::kAdmitted) << "5 + 5 blocks, of which 4 are the same";
  EXPECT_EQ(second.front().kv.num_computed, 16U);
  EXPECT_EQ(parts_.events.last()->num_cached_tokens, 16U);
  EXPECT_EQ(admitter_.counters().hit_tokens, 16U);
  EXPECT_EQ(parts_.space->num_available(), 2U);
}

TEST_F(AdmitterTest, WhoAsksForScoresOrNotToReadComputesAll) {
  SequenceGroup& first = parts_.Wait(PartRequest(1, 9));
  EXPECT_EQ(admitter_.TryAdmit(first), Outcome::kAdmitted);
  Compute(first, 9);
  Request scored = SameAs(first.request, 2);
  scored.params.prompt_logprobs = 1;
  EXPECT_EQ(admitter_.TryAdmit(parts_.Wait(scored)), Outcome::kAdmitted);
  EXPECT_EQ(parts_.events.last()->num_cached_tokens, 0U);
  Request shy = SameAs(first.request, 3);
  shy.reads_prefix_cache = false;
  shy.prompt.resize(5);
  EXPECT_EQ(admitter_.TryAdmit(parts_.Wait(shy)), Outcome::kAdmitted);
  EXPECT_EQ(parts_.events.last()->num_cached_tokens, 0U);
  EXPECT_EQ(admitter_.counters().query_tokens, 9U) << "neither asked the cache";
}

TEST_F(AdmitterTest, APrefixThatIsBeingComputedIsWorthWaitingFor) {
  SequenceGroup& first = parts_.Wait(PartRequest(1, 10));
  EXPECT_EQ(admitter_.TryAdmit(first), Outcome::kAdmitted);
  SequenceGroup& same = parts_.Wait(SameAs(first.request, 2));
  EXPECT_EQ(admitter_.TryAdmit(same), Outcome::kPrefixUnderWay);
  Request salted = SameAs(first.request, 3);
  salted.cache_salt = "other";
  EXPECT_EQ(admitter_.TryAdmit(parts_.Wait(salted)), Outcome::kAdmitted) << "not its prefix";
  Compute(first, 10);
  EXPECT_EQ(admitter_.TryAdmit(same), Outcome::kAdmitted);
  EXPECT_EQ(same.front().kv.num_computed, 8U);
}

TEST_F(AdmitterTest, WhoFoundNoRoomIsNotMatchedAgainBeforeThereIsMore) {
  SequenceGroup& runs = parts_.Wait(PartRequest(1, 20));
  EXPECT_EQ(admitter_.TryAdmit(runs), Outcome::kAdmitted);
  SequenceGroup& large = parts_.Wait(PartRequest(2, 16));
  EXPECT_EQ(admitter_.TryAdmit(large), Outcome::kNoRoom);
  EXPECT_EQ(large.num_available_then, 3U);
  const uint64_t asked_again = large.asked_again_at_step;
  EXPECT_GT(asked_again, parts_.builder.number());
  parts_.Begin();
  EXPECT_EQ(admitter_.TryAdmit(large), Outcome::kNoRoom);
  EXPECT_EQ(large.asked_again_at_step, asked_again) << "it was not looked at";
  parts_.residency.Remove(runs);
  EXPECT_EQ(admitter_.TryAdmit(large), Outcome::kAdmitted);
}

}  // namespace
}  // namespace quire
