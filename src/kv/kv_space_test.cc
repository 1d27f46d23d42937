// Both ways to hold KV memory, by what their callers see: pools of 16 blocks of 4 tokens.
#include "kv/kv_space.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace quire {
namespace {

KvConfig Config(KvPolicyKind policy) {
  return {.num_blocks = 16, .block_size = 4, .policy = policy, .max_model_len = 64};
}

KvEntry Entry(uint32_t num_prompt_tokens, uint32_t max_total_tokens, uint32_t num_streams = 1) {
  return {.demand = {.num_prompt_tokens = num_prompt_tokens,
                     .num_known_tokens = num_prompt_tokens,
                     .max_total_tokens = max_total_tokens,
                     .max_model_len = 64},
          .num_streams = num_streams,
          .alone = true};
}

void Write(SequenceKv& kv, uint32_t begin, uint32_t end) {
  for (BlockTable& table : kv.tables()) {
    std::vector<CopyOnWrite> copies;
    ASSERT_TRUE(table.PrepareWrite(begin, end, copies));
    EXPECT_TRUE(copies.empty());
  }
}

class KvSpaceTest : public testing::TestWithParam<KvPolicyKind> {
 protected:
  const std::unique_ptr<KvSpace> space_ = KvSpace::Make(Config(GetParam()));
};

INSTANTIATE_TEST_SUITE_P(Policies, KvSpaceTest,
                         testing::Values(KvPolicyKind::kPaged, KvPolicyKind::kReserveMax, KvPolicyKind::kReservePow2,
                                         KvPolicyKind::kReserveExact));

TEST_P(KvSpaceTest, WhoCanEnterFindsRoomForItsPromptAndNobodyElsesMemory) {
  std::vector<SequenceKv> sequences;
  const KvEntry entry = Entry(9, 16);
  const KvManager::Match none = space_->cache().NoMatch({});
  while (space_->CanEnter(entry, none)) {
    std::vector<SequenceKv> reserved;
    sequences.push_back(space_->cache().MakeSequence());
    space_->Enter(entry, none, sequences.back(), reserved);
    Write(sequences.back(), 0, 9);
    EXPECT_TRUE(reserved.empty());
    space_->cache().CheckInvariants();
  }
  EXPECT_GE(sequences.size(), 1U);
  std::vector<bool> seen(16, false);
  for (const SequenceKv& kv : sequences) {
    EXPECT_GE(kv.num_slots(), 9U);
    for (const BlockId block : kv.table(0).blocks()) {
      EXPECT_FALSE(seen[static_cast<size_t>(block)]);
      seen[static_cast<size_t>(block)] = true;
    }
  }
  sequences.clear();
  EXPECT_EQ(space_->num_available(), 16U);
}

TEST_P(KvSpaceTest, AForkHasTheContentByReferenceOrByCopies) {
  const KvEntry entry = Entry(9, 12, 2);
  const KvManager::Match none = space_->cache().NoMatch({});
  if (!space_->CanEnter(entry, none)) return;  // the longest reservation: two do not fit
  SequenceKv parent = space_->cache().MakeSequence(), child = space_->cache().MakeSequence();
  std::vector<SequenceKv> reserved;
  space_->Enter(entry, none, parent, reserved);
  Write(parent, 0, 9);
  if (!reserved.empty()) child = std::move(reserved.back());
  const auto copies = space_->Fork(parent, child, 3);
  EXPECT_GE(child.num_slots(), 9U);
  for (uint32_t i = 0; i < 3; ++i) {
    if (copies.empty()) {
      EXPECT_EQ(child.table(0).at(i), parent.table(0).at(i));
    } else {
      EXPECT_EQ(copies[i].source, parent.table(0).at(i));
      EXPECT_EQ(copies[i].destination, child.table(0).at(i));
    }
  }
}

TEST_P(KvSpaceTest, TheWorstCaseIsEnoughForEveryStreamToItsEnd) {
  const KvWorstCase worst = WorstCaseOf(Config(GetParam()), 9, 16);
  EXPECT_EQ(worst.total(3), worst.num_shared + 3 * worst.num_own);
  EXPECT_GE(worst.total(1), 4U);
}

TEST(PagedSpaceTest, SharesWhatMatchesAndWhatStreamsHaveInCommon) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Config(KvPolicyKind::kPaged));
  EXPECT_TRUE(space->keeps_prefixes());
  EXPECT_EQ(space->NumShareable(11), 2U);
  EXPECT_EQ(space->NumToJoin(11, 2, false), 1U);
  EXPECT_EQ(space->MaxBlocks(11), 3U);
  SequenceKv first = space->cache().MakeSequence(), other = space->cache().MakeSequence();
  std::vector<SequenceKv> reserved;
  Write(first, 0, 11);
  space->Join(other, first, 2, reserved);
  EXPECT_EQ(other.num_held(), 2U);
  EXPECT_EQ(first.table(0).NumShared(), 2U);
  space->Prune(other);
  EXPECT_EQ(first.table(0).NumShared(), 0U);
  EXPECT_EQ(space->NumExternalSlots(Entry(64, 64)), 0U);
}

TEST(ContiguousSpaceTest, StreamsHaveChunksOfTheirOwnFromTheStart) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Config(KvPolicyKind::kReserveExact));
  EXPECT_FALSE(space->keeps_prefixes());
  const KvEntry entry = Entry(9, 16, 3);
  const KvManager::Match none = space->cache().NoMatch({});
  ASSERT_TRUE(space->CanEnter(entry, none));
  SequenceKv kv = space->cache().MakeSequence(), other = space->cache().MakeSequence();
  std::vector<SequenceKv> reserved;
  space->Enter(entry, none, kv, reserved);
  EXPECT_EQ(reserved.size(), 2U);
  EXPECT_EQ(space->num_available(), 4U);
  EXPECT_EQ(space->NumShareable(11), 0U);
  space->Join(other, kv, 0, reserved);
  EXPECT_EQ(other.num_held(), 4U);
  EXPECT_EQ(reserved.size(), 1U);
  space->Prune(other);
  EXPECT_EQ(other.num_held(), 4U);
  EXPECT_FALSE(space->CanEnter(Entry(9, 32), none));
  EXPECT_EQ(space->NumExternalSlots(Entry(9, 32)), 16U) << "the last chunk is too small";
}

// Full layers and windows of 8 positions, in one pool of 64 blocks.
KvConfig Windowed(std::vector<KvGroup> groups) {
  return {.num_blocks = 64, .block_size = 4, .groups = std::move(groups), .max_prompt_rows = 8};
}

TEST(WindowedSpaceTest, AWindowIsBoundedHoweverLongTheSequenceGrows) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Windowed({{}, {.window = 8}}));
  EXPECT_TRUE(space->gives_back());
  SequenceKv kv = space->cache().MakeSequence();
  for (uint32_t n = 0; n < 100; ++n) {
    Write(kv, n, n + 1);
    kv.num_computed = n + 1;
    space->GiveBackUnseen(kv, n + 1);
    EXPECT_LE(kv.table(1).first_block() * 4, KvGroup{.window = 8}.FirstSeen(n + 1));
    EXPECT_LE(kv.table(1).num_held(), 4U);
  }
  EXPECT_EQ(kv.table(0).num_held(), 25U);
}

TEST(WindowedSpaceTest, APromptEntersWithAWindowsPartOfIt) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Windowed({{}, {.window = 8}}));
  EXPECT_EQ(space->ReservedEnd(0, 0, 100, true), 100U);
  EXPECT_EQ(space->ReservedEnd(1, 0, 100, true), 16U) << "the window, and 8 rows";
  EXPECT_EQ(space->ReservedEnd(1, 40, 100, true), 48U);
  EXPECT_EQ(space->ReservedEnd(1, 40, 100, false), 41U) << "who joins has a row";
  EXPECT_EQ(space->ReservedEnd(1, 96, 100, true), 100U);
  const KvManager::Match none = space->cache().NoMatch({});
  EXPECT_TRUE(space->CanEnter(Entry(4 * 60, 4 * 60), none));
  EXPECT_FALSE(space->CanEnter(Entry(4 * 60 + 1, 4 * 60 + 1), none));
}

TEST(WindowedSpaceTest, AHitNeedsOfAWindowOnlyTheLastOne) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Windowed({{.window = 8}}));
  std::vector<int32_t> tokens(101);
  std::iota(tokens.begin(), tokens.end(), 0);
  {
    SequenceKv kv = space->cache().MakeSequence();
    Write(kv, 0, 101);
    space->cache().Commit(kv, {}, tokens);
    space->GiveBackUnseen(kv, 101);
    EXPECT_EQ(kv.num_held(), 3U);
  }
  // Everything but what was given back last is forgotten.
  SequenceKv hog = space->cache().MakeSequence();
  Write(hog, 0, 4 * 61);
  const KvManager::Match match = space->cache().MatchPrefix({}, tokens);
  EXPECT_EQ(match.num_blocks, 25U);
  EXPECT_EQ(match.parts[0].first, 23U);
  EXPECT_EQ(match.num_in_memory, 2U);
  space->cache().CheckInvariants();
  // The same tokens behind another beginning are another prefix.
  tokens[0] = 1000;
  EXPECT_EQ(space->cache().MatchPrefix({}, tokens).num_blocks, 0U);
}

// What is proved at admission is enough whenever the request was preempted: to enter again with all it has said, and
// for its other streams to join the first one, which has kept its window around where they part.
TEST(WindowedSpaceTest, TheWorstCaseIsEnoughToEnterAndToJoinAtEveryLength) {
  std::mt19937 random(1);
  const auto between = [&](uint32_t low, uint32_t high) {
    return low + static_cast<uint32_t>(random() % (high - low + 1));
  };
  for (int round = 0; round < 300; ++round) {
    KvConfig config = {.num_blocks = 1, .block_size = 1U << between(0, 5), .max_prompt_rows = between(1, 64)};
    config.groups.assign(between(0, 1), KvGroup{});
    for (uint32_t left = between(1, 2); left > 0; --left) config.groups.push_back({.window = between(1, 100)});
    const std::unique_ptr<KvSpace> space = KvSpace::Make(config);
    const KvManager::Match none = space->cache().NoMatch({});
    const uint32_t num_prompt = between(1, 200), num_total = num_prompt + between(1, 200), num_streams = between(1, 8);
    const uint64_t worst = WorstCaseOf(config, num_prompt, num_total).total(num_streams);
    for (uint32_t n = num_prompt; n < num_total; ++n) {
      const uint32_t num_shared = std::min(num_prompt, n - 1) / config.block_size;
      const uint64_t to_join = uint64_t{num_streams - 1} * space->NumToJoin(n, num_shared, false);
      KvEntry entry = Entry(num_prompt, num_total, num_streams);
      entry.demand.num_known_tokens = n;
      entry.num_branch_blocks = static_cast<uint32_t>(to_join);
      ASSERT_LE(space->NumToEnter(entry, none), worst) << round << " " << n;
      uint64_t held = to_join;
      for (const KvGroup& group : config.groups) {
        held += BlocksForTokens(n + 1, config.block_size);
        if (num_streams > 1) held -= group.FirstNeeded(num_shared, config.block_size);
        if (num_streams == 1) held -= group.FirstNeeded(n / config.block_size, config.block_size);
      }
      ASSERT_LE(held, worst) << round << " " << n;
    }
  }
}

TEST(WindowedSpaceTest, TheWorstCaseOfAWindowDoesNotGrowWithTheContext) {
  const auto total = [](uint32_t window, uint32_t num_prompt, uint32_t num_total) {
    return WorstCaseOf(Windowed({{.window = window}}), num_prompt, num_total).total(1);
  };
  EXPECT_EQ(total(8, 1000, 2000), total(8, 10'000, 20'000));
  EXPECT_EQ(total(0, 1000, 2000), 500U);
  EXPECT_EQ(total(8, 4, 8), 2U) << "no more than the sequence has";
}

}  // namespace
}  // namespace quire
