// Both ways to hold KV memory, by what their callers see: pools of 16 blocks of 4 tokens.
#include "kv/kv_space.h"

#include <gtest/gtest.h>

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

class KvSpaceTest : public testing::TestWithParam<KvPolicyKind> {
 protected:
  void Write(BlockTable& table, uint32_t end) {
    std::vector<CopyOnWrite> copies;
    ASSERT_TRUE(table.PrepareWrite(0, end, copies));
    EXPECT_TRUE(copies.empty());
  }

  const std::unique_ptr<KvSpace> space_ = KvSpace::Make(Config(GetParam()));
};

INSTANTIATE_TEST_SUITE_P(Policies, KvSpaceTest,
                         testing::Values(KvPolicyKind::kPaged, KvPolicyKind::kReserveMax, KvPolicyKind::kReservePow2,
                                         KvPolicyKind::kReserveExact));

TEST_P(KvSpaceTest, WhoCanEnterFindsRoomForItsPromptAndNobodyElsesMemory) {
  std::vector<BlockTable> tables;
  const KvEntry entry = Entry(9, 16);
  const KvManager::Match none = space_->cache().NoMatch({});
  while (space_->CanEnter(entry, none)) {
    std::vector<BlockTable> reserved;
    tables.push_back(space_->cache().MakeTable());
    space_->Enter(entry, none, tables.back(), reserved);
    Write(tables.back(), 9);
    EXPECT_TRUE(reserved.empty());
    space_->cache().CheckInvariants();
  }
  EXPECT_GE(tables.size(), 1U);
  std::vector<bool> seen(16, false);
  for (const BlockTable& table : tables) {
    EXPECT_GE(table.num_slots(), 9U);
    for (const BlockId block : table.blocks()) {
      EXPECT_FALSE(seen[static_cast<size_t>(block)]);
      seen[static_cast<size_t>(block)] = true;
    }
  }
  tables.clear();
  EXPECT_EQ(space_->num_available(), 16U);
}

TEST_P(KvSpaceTest, AForkHasTheContentByReferenceOrByCopies) {
  const KvEntry entry = Entry(9, 12, 2);
  const KvManager::Match none = space_->cache().NoMatch({});
  if (!space_->CanEnter(entry, none)) return;  // the longest reservation: two do not fit
  BlockTable parent = space_->cache().MakeTable(), child = space_->cache().MakeTable();
  std::vector<BlockTable> reserved;
  space_->Enter(entry, none, parent, reserved);
  Write(parent, 9);
  if (!reserved.empty()) child = std::move(reserved.back());
  const auto copies = space_->Fork(parent, child, 3);
  EXPECT_GE(child.num_slots(), 9U);
  for (uint32_t i = 0; i < 3; ++i) {
    if (copies.empty()) {
      EXPECT_EQ(child.blocks()[i], parent.blocks()[i]);
    } else {
      EXPECT_EQ(copies[i], std::pair(parent.blocks()[i], child.blocks()[i]));
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
  EXPECT_EQ(space->NumToJoin(11, 2), 1U);
  EXPECT_EQ(space->MaxBlocks(11), 3U);
  BlockTable first = space->cache().MakeTable(), other = space->cache().MakeTable();
  std::vector<BlockTable> reserved;
  std::vector<CopyOnWrite> copies;
  ASSERT_TRUE(first.PrepareWrite(0, 11, copies));
  space->Join(other, first, 2, reserved);
  EXPECT_EQ(other.num_blocks(), 2U);
  EXPECT_EQ(first.NumShared(), 2U);
  space->Prune(other);
  EXPECT_EQ(first.NumShared(), 0U);
  EXPECT_EQ(space->NumExternalSlots(Entry(64, 64)), 0U);
}

TEST(ContiguousSpaceTest, StreamsHaveChunksOfTheirOwnFromTheStart) {
  const std::unique_ptr<KvSpace> space = KvSpace::Make(Config(KvPolicyKind::kReserveExact));
  EXPECT_FALSE(space->keeps_prefixes());
  const KvEntry entry = Entry(9, 16, 3);
  const KvManager::Match none = space->cache().NoMatch({});
  ASSERT_TRUE(space->CanEnter(entry, none));
  BlockTable table = space->cache().MakeTable(), other = space->cache().MakeTable();
  std::vector<BlockTable> reserved;
  space->Enter(entry, none, table, reserved);
  EXPECT_EQ(reserved.size(), 2U);
  EXPECT_EQ(space->num_available(), 4U);
  EXPECT_EQ(space->NumShareable(11), 0U);
  space->Join(other, table, 0, reserved);
  EXPECT_EQ(other.num_blocks(), 4U);
  EXPECT_EQ(reserved.size(), 1U);
  space->Prune(other);
  EXPECT_EQ(other.num_blocks(), 4U);
  EXPECT_FALSE(space->CanEnter(Entry(9, 32), none));
  EXPECT_EQ(space->NumExternalSlots(Entry(9, 32)), 16U) << "the last chunk is too small";
}

}  // namespace
}  // namespace quire
