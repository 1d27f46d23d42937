// A prefix on its way from disk into blocks of 4 tokens; nobody moves bytes.
#include "sched/prefix_loads.h"

#include <gtest/gtest.h>

#include "sched/parts_testing.h"

namespace quire {
namespace {

using State = SequenceGroup::State;
using Progress = PrefixLoads::Progress;

class PrefixLoadsTest : public testing::Test {
 protected:
  static constexpr uint32_t kMaxTransfers = 2;

  // A prompt of six blocks and a bit, of which the first is in memory and the four that follow are on disk.
  PrefixLoadsTest() {
    PrefixDigest digest = space_->cache().NoMatch({}).chain.digest;
    const std::vector<int32_t>& tokens = group_->front().tokens;
    for (size_t i = 0; i < 5; ++i) {
      digest = NextDigest(digest, std::span(tokens).subspan(4 * i, 4));
      digests_.push_back(digest);
    }
    disk_.emplace(space_->cache(), DiskTierOptions{.max_blocks = 16, .max_transfers = kMaxTransfers},
                  std::span(digests_).subspan(1));
    loads_.emplace(*space_, *disk_, builder_);
    std::vector<CopyOnWrite> copies;
    SequenceKv other = space_->cache().MakeSequence();
    EXPECT_TRUE(other.table(0).PrepareWrite(0, 4, copies));
    space_->cache().Commit(other, {}, std::span(tokens).first(4));
    const KvManager::Match match = space_->cache().MatchPrefix({}, tokens, disk_->index());
    EXPECT_EQ(match.num_blocks, 5U);
    EXPECT_TRUE(space_->cache().Take(match, group_->front().kv));
    EXPECT_TRUE(group_->front().kv.table(0).PrepareWrite(20, 26, copies));
    builder_.Begin(64);
    PrefixLoads::Start(*group_, match.loads);
  }

  size_t Plan() {
    SequenceGroup* running[] = {group_.get()};
    const size_t before = builder_.plan().transfers.size();
    loads_->Plan(running);
    return builder_.plan().transfers.size() - before;
  }
  Progress Report(uint64_t id, bool completed, bool is_there = true) {
    return loads_->Report(is_there ? group_.get() : nullptr, builder_.ledger().Remove(id), completed);
  }

  const std::unique_ptr<KvSpace> space_ = KvSpace::Make({.num_blocks = 16, .block_size = 4});
  StepBuilder builder_{{.num_seats = 4, .block_size = 4}};
  std::vector<PrefixDigest> digests_;
  std::unique_ptr<SequenceGroup> group_ = MakeGroup(PartRequest(1, 26), space_->cache().MakeSequence());
  std::optional<DiskTier> disk_;
  std::optional<PrefixLoads> loads_;
};

TEST_F(PrefixLoadsTest, AFewAtATimeAndThenTheGroupRuns) {
  EXPECT_EQ(group_->state, State::kLoading);
  EXPECT_EQ(Plan(), kMaxTransfers);
  EXPECT_EQ(Plan(), 0U);
  const Transfer& first = builder_.plan().transfers[0];
  EXPECT_EQ(first.digest, digests_[1]);
  EXPECT_EQ(first.parent, digests_[0]);
  EXPECT_EQ(first.block, group_->front().kv.table(0).at(1));
  const auto& sent = builder_.plan().transfer_tokens;
  EXPECT_EQ(std::vector(sent.begin() + first.first_token, sent.begin() + first.first_token + 4),
            std::vector(group_->request.prompt.begin() + 4, group_->request.prompt.begin() + 8));
  EXPECT_EQ(Report(2, true), Progress::kUnderWay) << "in any order";
  EXPECT_EQ(Report(1, true), Progress::kUnderWay);
  EXPECT_EQ(Plan(), 2U);
  EXPECT_EQ(Report(3, true), Progress::kUnderWay);
  EXPECT_EQ(Report(4, true), Progress::kDone);
  EXPECT_EQ(group_->state, State::kRunning);
  EXPECT_EQ(group_->front().kv.num_computed, 20U);
  EXPECT_EQ(disk_->counters().num_loaded, 4U);
  const KvManager::Match match = space_->cache().MatchPrefix({}, group_->front().tokens);
  EXPECT_EQ(match.num_blocks, 5U) << "what was loaded is in the prefix cache";
}

TEST_F(PrefixLoadsTest, WhatLiesBehindAGapIsComputed) {
  EXPECT_EQ(Plan(), 2U);
  EXPECT_EQ(Report(1, true), Progress::kUnderWay);
  EXPECT_EQ(Plan(), 1U);
  EXPECT_EQ(Report(2, false), Progress::kUnderWay) << "one still is";
  EXPECT_EQ(Plan(), 0U) << "nothing behind the gap is loaded any more";
  EXPECT_EQ(Report(3, true), Progress::kDone);
  EXPECT_EQ(group_->front().kv.num_computed, 8U);
  EXPECT_EQ(disk_->counters().num_load_failures, 1U);
  EXPECT_EQ(space_->cache().MatchPrefix({}, group_->front().tokens, disk_->index()).num_blocks, 2U);
}

// A block that others hold cannot be computed into: what came is found in memory by who enters anew.
TEST_F(PrefixLoadsTest, ASharedBlockBehindAGapMeansToEnterAnew) {
  const SequenceKv other = group_->front().kv.ForkPrefix(5);
  EXPECT_EQ(Plan(), 2U);
  EXPECT_EQ(Report(1, true), Progress::kUnderWay);
  EXPECT_EQ(Plan(), 1U);
  EXPECT_EQ(Report(2, false), Progress::kUnderWay);
  EXPECT_EQ(Report(3, true), Progress::kFailed);
  EXPECT_EQ(space_->cache().MatchPrefix({}, group_->front().tokens, disk_->index()).num_blocks, 2U);
}

TEST_F(PrefixLoadsTest, ABlockIsHeldUntilItsLoadIsReported) {
  EXPECT_EQ(Plan(), 2U);
  group_->front().kv.Clear();
  EXPECT_EQ(space_->num_available(), 14U) << "its reader has gone, and writes into two blocks are under way";
  EXPECT_EQ(Report(1, true, false), Progress::kUnderWay);
  EXPECT_EQ(Report(2, false, false), Progress::kUnderWay);
  EXPECT_EQ(space_->num_available(), 16U);
}

}  // namespace
}  // namespace quire
