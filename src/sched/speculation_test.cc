// Which drafts are verified: by what they are likely to save and what rows cost.
#include "sched/speculation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kv/kv_manager.h"
#include "sched/ngram_drafter.h"
#include "sched/parts_testing.h"

namespace quire {
namespace {

// As many as are asked for; of some sequences none.
class FixedDrafter final : public Drafter {
 public:
  void Propose(std::span<DraftRequest> requests) override {
    for (DraftRequest& request : requests) {
      asked.push_back(request.max_drafts);
      if (request.stream < num_streams_with_drafts) request.drafts.assign(request.max_drafts, 7);
    }
  }
  void Forget(RequestId request) override { forgotten.push_back(request); }
  double DraftUs() const override { return draft_us; }

  uint32_t num_streams_with_drafts = 100;
  double draft_us = 0;
  std::vector<uint32_t> asked;
  std::vector<RequestId> forgotten;
};

class SpeculationTest : public testing::Test {
 protected:
  SpeculationTest() {
    auto drafter = std::make_unique<FixedDrafter>();
    drafter_ = drafter.get();
    speculation_.emplace(DraftOptions{.max_drafts = 5}, std::move(drafter));
  }

  // So many sequences, of one request each, that decode at position 9.
  void Decode(uint32_t num_sequences) {
    for (uint32_t i = 0; i < num_sequences; ++i) {
      groups_.push_back(MakeGroup(PartRequest(i + 1, 10), kv_.MakeSequence()));
      groups_.back()->front().kv.num_computed = 9;
      groups_.back()->front().stream = i;
      decodes_.push_back({groups_.back().get(), &groups_.back()->front()});
      load_.Add(1, 9);
    }
  }
  // Steps of r rows take fixed_us + row_us * r.
  void Learn(int64_t fixed_us, int64_t row_us) {
    for (int i = 0; i < 50; ++i) {
      for (const uint32_t num_rows : {1U, 2U, 3U, 4U, 6U, 8U, 16U, 32U, 64U, 128U}) {
        times_.Observe({.num_rows = num_rows, .num_pairs = 10ULL * num_rows}, fixed_us + row_us * num_rows);
      }
    }
  }
  std::vector<size_t> Choose(uint32_t max_rows = 1000) {
    speculation_->Choose(times_, load_, decodes_, max_rows);
    std::vector<size_t> numbers;
    for (size_t i = 0; i < decodes_.size(); ++i) numbers.push_back(speculation_->DraftsOf(i).size());
    return numbers;
  }

  KvManager kv_{{.num_blocks = 64, .block_size = 4}};
  FixedDrafter* drafter_ = nullptr;
  std::optional<Speculation> speculation_;
  std::vector<std::unique_ptr<SequenceGroup>> groups_;
  std::vector<quire::Decode> decodes_;
  StepLoad load_;
  StepTimes times_;
};

TEST_F(SpeculationTest, WhereRowsAreFreeAllAreTriedAndWhereTheyCostNoneThatIsUnlikely) {
  Decode(1);
  EXPECT_EQ(Choose(), std::vector<size_t>{5}) << "before anything is known";
  Learn(10'000, 1);
  EXPECT_EQ(Choose(), std::vector<size_t>{5});
  Sequence& sequence = *decodes_[0].sequence;
  sequence.draft_acceptance = 0.02;
  EXPECT_EQ(Choose()[0], 3U) << "two that are worth their rows, and a trial";
  times_ = StepTimes();
  Learn(10, 1000);
  sequence.draft_acceptance = 0.9;
  EXPECT_EQ(Choose(), std::vector<size_t>{0}) << "two rows take twice the time of one";
}

TEST_F(SpeculationTest, TheLikeliestComeFirst) {
  Decode(3);
  Learn(1000, 100);
  decodes_[0].sequence->draft_acceptance = 0.5;
  decodes_[1].sequence->draft_acceptance = 0.95;
  decodes_[2].sequence->draft_acceptance = 0.01;
  const std::vector<size_t> numbers = Choose();
  EXPECT_GT(numbers[1], numbers[0]);
  EXPECT_GT(numbers[0], 0U);
  EXPECT_EQ(numbers[2], 0U);
  EXPECT_EQ(Choose(2), (std::vector<size_t>{0, 2, 0})) << "as many as there are rows";
}

TEST_F(SpeculationTest, NoDraftsBehindTheLastTokenNorForBeams) {
  Decode(2);
  decodes_[0].sequence->tokens.resize(groups_[0]->max_total_tokens - 2);
  decodes_[1].sequence->tokens.resize(groups_[1]->max_total_tokens - 1);
  Request beams = PartRequest(9, 10, 2);
  beams.params.use_beam_search = true;
  groups_.push_back(MakeGroup(std::move(beams), kv_.MakeSequence()));
  decodes_.push_back({groups_.back().get(), &groups_.back()->front()});
  EXPECT_EQ(Choose(), (std::vector<size_t>{1, 0, 0}));
  EXPECT_EQ(drafter_->asked, std::vector<uint32_t>{1});
}

TEST_F(SpeculationTest, WhoseDraftsAreWrongIsTriedNowAndThen) {
  Decode(1);
  Learn(1000, 100);
  int num_steps_with_drafts = 0, num_rows = 0;
  for (int step = 0; step < 2000; ++step) {
    const size_t num_drafts = Choose()[0];
    if (num_drafts == 0) continue;
    ++num_steps_with_drafts;
    num_rows += static_cast<int>(num_drafts);
    speculation_->Observe(*decodes_[0].sequence, static_cast<uint32_t>(num_drafts), 0);
  }
  EXPECT_GT(num_steps_with_drafts, 50) << "it may have changed";
  EXPECT_LT(num_rows, 400) << "2000 steps take 2.2 s, and a row a tenth of a step";
  for (int step = 0; step < 200; ++step) {
    const size_t num_drafts = Choose()[0];
    if (num_drafts > 0)
      speculation_->Observe(*decodes_[0].sequence, static_cast<uint32_t>(num_drafts),
                            static_cast<uint32_t>(num_drafts));
  }
  EXPECT_EQ(Choose()[0], 5U) << "once it has";
  EXPECT_EQ(speculation_->counters().num_draft_tokens - speculation_->counters().num_accepted_tokens,
            static_cast<uint64_t>(num_rows));
}

TEST_F(SpeculationTest, DraftsThatCostTimeAreAskedForAsFarAsTheyAreWorthIt) {
  Decode(2);
  Learn(1000, 10);
  for (const quire::Decode& decode : decodes_) decode.sequence->draft_acceptance = 0.8;
  drafter_->draft_us = 100;
  EXPECT_EQ(Choose(), (std::vector<size_t>{5, 5}));
  drafter_->draft_us = 400;
  const std::vector<size_t> fewer = Choose();
  EXPECT_GT(fewer[0], 0U);
  EXPECT_LT(fewer[0], 5U);
  drafter_->draft_us = 5000;
  drafter_->asked.clear();
  EXPECT_EQ(Choose(), (std::vector<size_t>{0, 0}));
  EXPECT_TRUE(drafter_->asked.empty()) << "nothing is computed in vain";
}

// A trial is one draft that is computed and verified: otherwise nobody would ever learn that they are right by now.
TEST_F(SpeculationTest, DraftsThatCostTimeAreTriedNowAndThenAndComeBackWhenTheyAreRight) {
  Decode(1);
  Learn(1000, 10);
  drafter_->draft_us = 50;
  Sequence& sequence = *decodes_[0].sequence;
  sequence.draft_acceptance = 0.01;
  int num_asked = 0, num_verified = 0;
  for (int step = 0; step < 2000; ++step) {
    drafter_->asked.clear();
    const size_t num_drafts = Choose()[0];
    num_asked += static_cast<int>(drafter_->asked.size());
    num_verified += static_cast<int>(num_drafts);
    if (num_drafts > 0) speculation_->Observe(sequence, static_cast<uint32_t>(num_drafts), 0);
  }
  EXPECT_EQ(num_asked, num_verified);
  EXPECT_GT(num_asked, 100);
  EXPECT_LT(num_asked, 250) << "2000 steps take 2 s, a hundredth of that is 20 ms, and a trial 0.11";
  for (int step = 0; step < 500; ++step) {
    const auto num_drafts = static_cast<uint32_t>(Choose()[0]);
    if (num_drafts > 0) speculation_->Observe(sequence, num_drafts, num_drafts);
  }
  EXPECT_EQ(Choose()[0], 5U);
}

TEST(NgramDrafterTest, EachStreamHasItsOwnIndexUntilItsRequestEnds) {
  NgramDrafter drafter({});
  const std::vector<int32_t> one = {1, 2, 3, 1, 2}, other = {1, 2, 4, 1, 2};
  std::vector<DraftRequest> requests = {
      {.request = RequestId{5}, .stream = 0, .tokens = one, .max_drafts = 1},
      {.request = RequestId{5}, .stream = 1, .tokens = other, .max_drafts = 1},
      {.request = RequestId{6}, .stream = 0, .tokens = one, .max_drafts = 1},
  };
  drafter.Propose(requests);
  EXPECT_THAT(requests[0].drafts, testing::ElementsAre(3));
  EXPECT_THAT(requests[1].drafts, testing::ElementsAre(4));
  drafter.Forget(RequestId{5});
  const std::vector<int32_t> shorter = {9, 9};
  requests[0].tokens = shorter;  // another request by this id
  requests[0].drafts.clear();
  drafter.Propose(std::span(requests).first(1));
  EXPECT_TRUE(requests[0].drafts.empty());
}

}  // namespace
}  // namespace quire
