#include "runner/seat_table.h"

#include <gtest/gtest.h>

#include <array>

namespace quire {
namespace {

constexpr SeatLimits kLimits = {
    .num_seats = 4, .num_blocks = 50, .block_size = 4, .max_model_len = 40, .vocab_size = 100};

Admission Penalised(uint32_t seat, std::vector<int32_t> history, uint32_t num_prompt_tokens) {
  Admission admission = {.seat = SeatId{seat}, .request = RequestId{7}, .stop_token_ids = {9}};
  admission.history = std::move(history);
  admission.num_prompt_tokens = num_prompt_tokens;
  admission.params.frequency_penalty = 1;
  admission.params.max_tokens = 20;
  return admission;
}

std::vector<uint32_t> Table(const Seat& seat, size_t group = 0) {
  const std::span<const uint32_t> table = seat.table(group);
  return {table.begin(), table.end()};
}

int32_t CountOf(const Seat& seat, int32_t token) {
  for (const TokenCounts::Entry& entry : seat.counts.entries()) {
    if (entry.token == token) return entry.output_count;
  }
  return 0;
}

TEST(SeatTable, AForkIsACopyWithItsOwnStream) {
  SeatTable table(kLimits);
  StepPlan plan;
  plan.admissions = {Penalised(0, {1, 2, 3, 3}, 2)};
  plan.appended_blocks = {{SeatId{0}, 0, 0, BlockId{8}}, {SeatId{0}, 0, 1, BlockId{5}}};
  table.Apply(plan);
  plan.Clear();
  plan.forks = {{SeatId{0}, SeatId{2}, 3}};
  plan.appended_blocks = {{SeatId{2}, 0, 2, BlockId{6}}};
  plan.copies = {{SeatId{2}, 0, 1, BlockId{5}, BlockId{7}}};
  table.Apply(plan);
  for (int twice = 0; twice < 2; ++twice) {  // what is known already is not history again
    table.ExtendHistory(SeatId{2}, 4, std::array{3});
    table.ExtendHistory(SeatId{0}, 2, std::array{3, 3, 4});
  }
  EXPECT_DEATH(table.ExtendHistory(SeatId{0}, 6, std::array{4}), "6");
  const Seat &parent = table.at(SeatId{0}), &child = table.at(SeatId{2});
  EXPECT_EQ(Table(parent), (std::vector<uint32_t>{8, 5}));
  EXPECT_EQ(Table(child), (std::vector<uint32_t>{8, 7, 6}));
  EXPECT_EQ(child.request, RequestId{7});
  EXPECT_EQ(child.stream, 3U);
  EXPECT_EQ(child.num_prompt_tokens, 2U);
  EXPECT_EQ(child.stop_token_ids, std::vector<int32_t>{9});
  EXPECT_EQ(CountOf(parent, 3), 2);
  EXPECT_EQ(CountOf(parent, 4), 1);
  EXPECT_EQ(CountOf(child, 3), 3);
  EXPECT_EQ(CountOf(child, 4), 0);
}

// The parent leaves and another sequence enters its seat in the plan that forks it.
TEST(SeatTable, ForksComeBeforeRemovalsAndAdmissions) {
  SeatTable table(kLimits);
  StepPlan plan;
  plan.admissions = {Penalised(0, {1, 2}, 2), Penalised(1, {5, 6, 6}, 1)};
  plan.appended_blocks = {{SeatId{0}, 0, 0, BlockId{8}}, {SeatId{1}, 0, 0, BlockId{9}}};
  table.Apply(plan);
  plan.Clear();
  plan.forks = {{SeatId{0}, SeatId{1}, 1}};
  plan.removals = {SeatId{0}};
  plan.admissions = {Penalised(0, {7}, 1)};
  table.Apply(plan);
  EXPECT_EQ(Table(table.at(SeatId{1})), std::vector<uint32_t>{8});
  EXPECT_EQ(CountOf(table.at(SeatId{1}), 6), 0);
  EXPECT_TRUE(Table(table.at(SeatId{0})).empty());
}

TEST(SeatTable, AForkReservesTheChildsWholeLife) {
  SeatTable table(kLimits);
  StepPlan plan;
  plan.admissions = {Penalised(0, {1, 2}, 2)};
  table.Apply(plan);
  plan.Clear();
  plan.forks = {{SeatId{0}, SeatId{1}, 1}};
  table.Apply(plan);
  EXPECT_GE(table.at(SeatId{1}).block_tables.capacity(), 6U);
}

TEST(SeatTable, EveryKvGroupHasATableAndWhatIsSkippedIsABlockAllTheSame) {
  SeatLimits limits = kLimits;
  limits.num_groups = 2;
  SeatTable table(limits);
  StepPlan plan;
  plan.admissions = {Penalised(0, {1, 2}, 2)};
  plan.appended_blocks = {{SeatId{0}, 0, 0, BlockId{8}}, {SeatId{0}, 0, 1, BlockId{4}}, {SeatId{0}, 1, 2, BlockId{9}}};
  table.Apply(plan);
  const Seat& seat = table.at(SeatId{0});
  EXPECT_EQ(Table(seat, 0), (std::vector<uint32_t>{8, 4}));
  EXPECT_EQ(Table(seat, 1), (std::vector<uint32_t>{0, 0, 9}));
  EXPECT_TRUE(table.Covers(seat, 8));
  EXPECT_FALSE(table.Covers(seat, 9)) << "the first group does not reach that far";
  plan.Clear();
  plan.forks = {{SeatId{0}, SeatId{1}, 1}};
  plan.copies = {{SeatId{1}, 1, 2, BlockId{9}, BlockId{3}}};
  table.Apply(plan);
  EXPECT_EQ(Table(table.at(SeatId{1}), 1), (std::vector<uint32_t>{0, 0, 3}));
  EXPECT_EQ(Table(seat, 1), (std::vector<uint32_t>{0, 0, 9}));
  plan.Clear();
  plan.appended_blocks = {{SeatId{0}, 1, 1, BlockId{7}}};
  EXPECT_DEATH(table.Apply(plan), "against");
}

TEST(SeatTableDeathTest, RefusesAForkOfNobodyAndOfItself) {
  SeatTable table(kLimits);
  StepPlan plan;
  plan.forks = {{SeatId{0}, SeatId{1}, 1}};
  EXPECT_DEATH(table.Apply(plan), "empty");
  plan.forks.clear();
  plan.admissions = {Penalised(0, {1, 2}, 2)};
  table.Apply(plan);
  plan.Clear();
  plan.forks = {{SeatId{0}, SeatId{0}, 1}};
  EXPECT_DEATH(table.Apply(plan), "against");
}

}  // namespace
}  // namespace quire
