// Outcomes that become tokens, with results made by hand: 8 blocks of 4 tokens, 4 seats.
#include "sched/streams.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sched/parts_testing.h"

namespace quire {
namespace {

using Kind = SchedulerEvent::Kind;
using End = Streams::End;

class StreamsTest : public testing::Test {
 protected:
  // What each task of the step draws, task by task; NaN where nothing.
  using Draws = std::vector<std::vector<int32_t>>;

  // Its rows from num_computed on are computed in a step of their own, and draw this.
  End Step(SequenceGroup& group, const Draws& draws) {
    parts_.builder.LimitPrompts({});
    for (Sequence& sequence : group.sequences) {
      parts_.residency.PreparePrompt(sequence, sequence.num_remaining());
      parts_.builder.AddPrompt(group, sequence, sequence.num_remaining());
    }
    const quire::Step& step = Compute(draws);
    GroupRowsReader reader(step, result_);
    const std::optional<GroupRows> rows = reader.Next();
    EXPECT_EQ(rows->owner, group.request.id);
    const End end = streams_.Apply(group, *rows, result_, [&](const SequenceGroup&) { return pins_; });
    EXPECT_FALSE(reader.Next().has_value());
    events_ = parts_.events.Deliver();
    return end;
  }
  void Begin() {
    parts_.events.ForgetDelivered();
    parts_.builder.Begin(64);
    parts_.residency.BeginStep();
  }
  const quire::Step& Compute(const Draws& draws) {
    const StepPlan& plan = parts_.builder.Finish();
    EXPECT_EQ(plan.tasks.size(), draws.size());
    result_ = EmptyResult(plan);
    for (size_t i = 0; i < draws.size(); ++i) {
      TaskResult& outcome = result_.tasks[i];
      outcome.first_token = static_cast<uint32_t>(result_.tokens.size());
      outcome.num_tokens = static_cast<uint32_t>(draws[i].size());
      if (draws[i].empty()) outcome.status = TaskResult::Status::kNan;
      for (const int32_t token : draws[i]) result_.tokens.push_back({.token = token});
    }
    return parts_.builder.Land(result_);
  }
  std::vector<Kind> Kinds() const {
    std::vector<Kind> kinds;
    for (const SchedulerEvent& event : events_) kinds.push_back(event.kind);
    return kinds;
  }

  ResidencyParts parts_{PartsConfig(8)};
  Speculation speculation_{{}, nullptr};
  Streams streams_{
      {parts_.config, *parts_.space, parts_.builder, parts_.residency, parts_.waiting, speculation_, parts_.events}};
  StepResult result_;
  std::span<const SchedulerEvent> events_;
  bool pins_ = true;
};

TEST_F(StreamsTest, ThePromptsLastRowDrawsForAllAndEachGoesItsWay) {
  Begin();
  Request request = PartRequest(1, 6, 3);
  request.params.stop_token_ids = {9};
  SequenceGroup& group = parts_.Enter(std::move(request));
  EXPECT_EQ(Step(group, {{5, 9, 7}}), End::kNone);
  EXPECT_EQ(Kinds(), (std::vector{Kind::kTokens, Kind::kTokens, Kind::kFinished, Kind::kTokens}));
  EXPECT_EQ(events_[2].stream, 1U);
  EXPECT_EQ(events_[2].stop_token, 9);
  EXPECT_FALSE(events_[2].last);
  ASSERT_EQ(group.sequences.size(), 2U);
  EXPECT_EQ(group.sequences[1].stream, 2U);
  EXPECT_EQ(group.sequences[1].tokens.back(), 7);
  EXPECT_EQ(group.sequences[1].kv.table(0).at(0), group.front().kv.table(0).at(0)) << "shared";
  EXPECT_EQ(parts_.residency.num_seats(), 2U);

  Begin();
  EXPECT_EQ(parts_.builder.plan().forks.size(), 2U);
  EXPECT_EQ(Step(group, {{6}, {9}}), End::kNone);
  EXPECT_EQ(group.sequences.size(), 1U);
  Begin();
  EXPECT_EQ(Step(group, {{9}}), End::kOver);
  EXPECT_TRUE(events_.back().last);
}

TEST_F(StreamsTest, TokensBehindTheEndAreDropped) {
  Begin();
  Request request = PartRequest(1, 6);
  request.params.max_tokens = 3;
  SequenceGroup& group = parts_.Enter(std::move(request));
  EXPECT_EQ(Step(group, {{5}}), End::kNone);
  Begin();
  EXPECT_EQ(Step(group, {{6, 7, 8, 9}}), End::kOver);
  EXPECT_EQ(events_[0].tokens.size(), 2U);
  EXPECT_EQ(events_[0].position, 7U);
  EXPECT_EQ(events_[1].reason, FinishReason::kLength);
}

TEST_F(StreamsTest, StreamsThatDoNotRunSideBySideHaveTheirTurnLater) {
  Begin();
  Request request = PartRequest(1, 6, 6);
  request.params.max_tokens = 1;
  SequenceGroup& group = parts_.Enter(std::move(request));
  ASSERT_EQ(group.width, 4U);
  EXPECT_EQ(Step(group, {{1, 2, 3, 4}}), End::kNextPart);
  EXPECT_FALSE(events_.back().last);
  parts_.residency.BeginNextPart(group);
  EXPECT_EQ(group.width, 2U);
  Begin();
  parts_.waiting.Remove(group);
  parts_.residency.Enter(group, parts_.space->cache().NoMatch({}));
  EXPECT_EQ(Step(group, {{5, 6}}), End::kOver);
  EXPECT_EQ(events_.front().stream, 4U);
  EXPECT_EQ(events_.back().stream, 5U);
  EXPECT_TRUE(events_.back().last);
}

TEST_F(StreamsTest, ANanFailsTheRequestAndLeavesNothingInTheCache) {
  Begin();
  SequenceGroup& group = parts_.Enter(PartRequest(1, 9));
  EXPECT_EQ(Step(group, {{}}), End::kOver);
  EXPECT_EQ(Kinds(), std::vector{Kind::kFailed});
  EXPECT_EQ(events_[0].position, 9U);
  EXPECT_EQ(parts_.space->num_available(), 8U);
}

TEST_F(StreamsTest, ScoresOfOnePromptAreOneEventAndComeOnce) {
  Begin();
  Request request = PartRequest(1, 5);
  request.params.prompt_logprobs = 0;
  SequenceGroup& group = parts_.Enter(std::move(request));
  EXPECT_EQ(Step(group, {{1001}, {1002}, {1003}, {1004}, {7}}), End::kNone);
  EXPECT_EQ(Kinds(), (std::vector{Kind::kPromptLogprobs, Kind::kTokens}));
  EXPECT_EQ(events_[0].position, 1U);
  EXPECT_EQ(events_[0].tokens.size(), 4U);
  EXPECT_EQ(group.num_scored, 4U);
  EXPECT_FALSE(group.wants_prompt_scores());
}

TEST_F(StreamsTest, APrefixThatCannotBePinnedIsAFailure) {
  Begin();
  Request request = PartRequest(1, 5);
  request.params.max_tokens = 1;
  request.pins_prompt = true;
  SequenceGroup& group = parts_.Enter(std::move(request));
  pins_ = false;
  EXPECT_EQ(Step(group, {{7}}), End::kOver);
  EXPECT_EQ(Kinds(), (std::vector{Kind::kTokens, Kind::kFailed}));
}

TEST_F(StreamsTest, ABeamsNextTokensAreChosenTogetherAndAnswerAtTheEnd) {
  Begin();
  Request request = PartRequest(1, 5, 2);
  request.params.use_beam_search = true;
  request.params.max_tokens = 2;
  SequenceGroup& group = parts_.Enter(std::move(request));
  ASSERT_TRUE(group.is_beams());
  const auto num_candidates = static_cast<int32_t>(group.beams->num_candidates());
  std::vector<int32_t> best(static_cast<size_t>(num_candidates));
  std::iota(best.begin(), best.end(), 10);
  EXPECT_EQ(Step(group, {best}), End::kNone);
  EXPECT_TRUE(events_.empty()) << "until the search has ended";
  ASSERT_EQ(group.sequences.size(), 2U);
  EXPECT_EQ(group.sequences[0].tokens.back(), 10);
  EXPECT_EQ(group.sequences[1].tokens.back(), 11);
  Begin();
  EXPECT_EQ(Step(group, {best, best}), End::kAnswered);
  EXPECT_EQ(Kinds(), (std::vector{Kind::kTokens, Kind::kFinished, Kind::kTokens, Kind::kFinished}));
  EXPECT_EQ(events_[0].tokens.size(), 2U);
  EXPECT_TRUE(events_.back().last);
}

TEST(GroupRowsReaderTest, RowsOfOneGroupLieTogetherWithTheirTasks) {
  Step step;
  step.owners = {RequestId{1}, RequestId{2}, RequestId{2}};
  step.plan.spans = {{.first_row = 0, .num_rows = 4}, {.first_row = 4, .num_rows = 1}, {.first_row = 5, .num_rows = 1}};
  step.plan.tasks = {{.row = 4}, {.row = 5}};
  StepResult result;
  result.tasks.resize(2);
  GroupRowsReader reader(step, result);
  std::optional<GroupRows> rows = reader.Next();
  EXPECT_EQ(rows->owner, RequestId{1});
  EXPECT_EQ(rows->spans.size(), 1U);
  EXPECT_TRUE(rows->tasks.empty());
  rows = reader.Next();
  EXPECT_EQ(rows->owner, RequestId{2});
  EXPECT_EQ(rows->spans.size(), 2U);
  EXPECT_EQ(rows->tasks.size(), 2U);
  EXPECT_EQ(rows->outcomes.size(), 2U);
  EXPECT_FALSE(reader.Next().has_value());
}

}  // namespace
}  // namespace quire
