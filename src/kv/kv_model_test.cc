// A million random operations on the block manager, against the naive model; what fails is shrunk and printed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "kv/kv_model_testing.h"

namespace quire {
namespace {

constexpr uint64_t kNumSeeds = 64;
constexpr size_t kOperationsPerSeed = 60'000;

RunOperations RunOf(const KvModelConfig& config) {
  return [config](std::span<const Operation> operations, RunProgress& progress) {
    return KvModel::Run(config, operations, progress);
  };
}

std::string Print(const std::vector<Operation>& operations) {
  std::string text;
  for (const auto& [kind, seed] : operations) {
    text += "  {KvModel::" + std::string(KvModel::KindName(kind)) + ", " + std::to_string(seed) + "},\n";
  }
  return text;
}

void Explain(const KvModelConfig& config, std::vector<Operation> operations) {
  operations = Shrink(std::move(operations), RunOf(config));
  RunInChild(operations, RunOf(config), false);
  ADD_FAILURE() << operations.size() << " operations fail:\n" << Print(operations);
}

TEST(KvModelTest, EverySequenceReadsWhatItWroteUnderAMillionRandomOperations) {
  std::array<uint64_t, KvModel::kNumCounts> counts = {};
  for (uint64_t seed = 1; seed <= kNumSeeds; ++seed) {
    const KvModelConfig config = KvModelConfig::Of(seed);
    const auto operations = KvModel::RandomOperations(config, seed, kOperationsPerSeed);
    const RunOutcome outcome = RunInChild(operations, RunOf(config), false);
    if (outcome.failed) {
      std::printf("seed %lu fails; shrinking\n", static_cast<unsigned long>(seed));
      return Explain(config, operations);
    }
    for (size_t i = 0; i < counts.size(); ++i) counts[i] += outcome.progress.counts[i];
  }
  EXPECT_GE(std::accumulate(counts.begin(), counts.begin() + KvModel::kNumKinds, uint64_t{0}), 1'000'000U)
      << "operations that could do something";
  for (size_t i = 0; i < counts.size(); ++i) {
    EXPECT_GE(counts[i], 1000U) << KvModel::KindName(static_cast<uint8_t>(i)) << " hardly ever happens";
  }
}

// The list without any of its operations passes: it is minimal.
void ExpectMinimal(const std::vector<Operation>& operations, const RunOperations& run) {
  EXPECT_TRUE(RunInChild(operations, run, true).failed);
  for (size_t i = 0; i < operations.size(); ++i) {
    std::vector<Operation> rest = operations;
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(i));
    EXPECT_FALSE(RunInChild(rest, run, true).failed);
  }
}

TEST(KvModelTest, FindsAPlantedDefectAndShrinksItToAFewOperations) {
  KvModelConfig config{.kv = {.num_blocks = 16, .block_size = 4}, .loses_copies = true};
  const auto operations = KvModel::RandomOperations(config, 1, 2000);
  ASSERT_TRUE(RunInChild(operations, RunOf(config), true).failed);
  const std::vector<Operation> shrunk = Shrink(operations, RunOf(config));
  EXPECT_LE(shrunk.size(), 8U) << Print(shrunk);
  ExpectMinimal(shrunk, RunOf(config));
}

TEST(ShrinkingRunTest, ADeathIsAFailureLikeAnyOther) {
  const RunOperations run = [](std::span<const Operation> operations, RunProgress& progress) -> std::string {
    uint64_t num_threes = 0;
    for (const Operation& operation : operations) {
      ++progress.num_begun;
      if (operation.kind == 3 && ++num_threes == 2) std::abort();
    }
    return "";
  };
  std::vector<Operation> operations;
  for (uint32_t i = 0; i < 100; ++i) operations.push_back({.kind = static_cast<uint8_t>(i % 7), .seed = i});
  const std::vector<Operation> shrunk = Shrink(operations, run);
  ASSERT_EQ(shrunk.size(), 2U);
  for (const Operation& operation : shrunk) EXPECT_EQ(operation.kind, 3U);
}

}  // namespace
}  // namespace quire
