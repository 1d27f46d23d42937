// Prefill attention by warpgroup products on the emulator, against attention by plain loops.
#include "kernels/prefill_wgmma.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

#include "kernels/attention_oracle_testing.h"

namespace quire::cuda {
namespace {

using Layout = PrefillWgmma;
constexpr uint16_t kPoison = 0xFFFF;
constexpr int kHeadDim = Layout::kHeadDim;

simt::TensorMap MapQueries(const PagedCase& paged, int pack) {
  return {.base = paged.q.data(),
          .dims = {kHeadDim, paged.shape.num_heads, paged.num_rows, 1, 1},
          .strides = {1, kHeadDim, paged.QRowStride(), 0, 0},
          .box = {64, pack, Layout::kRows / pack, 1, 1}};
}

simt::TensorMap MapCache(const PagedCase& paged) {
  const PagedKv kv = paged.Kv();
  return {.base = kv.data,
          .dims = {64, 8, 2, kv.block_size / 8, int64_t{2} * kv.kv_heads * kv.num_blocks},
          .strides = {1, kHeadDim, 64, 8 * kHeadDim, kv.HeadElements()},
          .box = {64, 8, 2, Layout::BoxSlots(kv.block_size) / 8, 1}};
}

template <bool kTakeTurns>
std::vector<uint16_t> Prefill(const PagedCase& paged, int window, int blocks, uint64_t seed) {
  const std::vector<PrefillTile> tiles =
      PlanPrefill(paged.spans, paged.shape.num_heads, paged.shape.kv_heads, Layout::kRows);
  std::vector<uint16_t> out(paged.OutputElements(), kPoison);
  const PrefillArgs args = {.q = paged.q.data(),
                            .q_row_stride = paged.QRowStride(),
                            .kv = paged.Kv(),
                            .tables = paged.tables.data(),
                            .spans = paged.spans.data(),
                            .tiles = tiles.data(),
                            .num_tiles = static_cast<int32_t>(tiles.size()),
                            .num_heads = paged.shape.num_heads,
                            .pack = PackFor(paged.shape.num_heads, paged.shape.kv_heads, Layout::kRows),
                            .scale = 1 / std::sqrt(static_cast<float>(kHeadDim)),
                            .window = window,
                            .out = out.data()};
  const simt::TensorMap queries = MapQueries(paged, args.pack), cache = MapCache(paged);
  EXPECT_EQ(
      simt::Launch({.grid_x = blocks, .threads = Layout::kThreads, .shared_bytes = Layout::kSharedBytes, .seed = seed},
                   [&] { PrefillWgmmaKernel<kTakeTurns, true>(args, &queries, &cache); }),
      "");
  return out;
}

void Check(const PagedCase& paged, int window, const std::vector<uint16_t>& out) {
  const LogitRules rules = {.scale = 1 / std::sqrt(static_cast<float>(kHeadDim)), .window = window};
  std::vector<bool> written(out.size() / kHeadDim);
  for (int s = 0; s < static_cast<int>(paged.spans.size()); ++s)
    for (int token = 0; token < paged.spans[static_cast<size_t>(s)].num_rows; ++token)
      for (int head = 0; head < paged.shape.num_heads; ++head) {
        const int row = (paged.spans[static_cast<size_t>(s)].first_row + token) * paged.shape.num_heads + head;
        written[static_cast<size_t>(row)] = true;
        const std::span<const uint16_t> actual(out.data() + static_cast<size_t>(row) * kHeadDim, kHeadDim);
        ASSERT_LT(RelativeError(actual, NaiveAttention(paged, rules, s, token, head)), 1e-2)
            << "span " << s << ", token " << token << ", head " << head << ", block size " << paged.shape.block_size
            << ", window " << window;
      }
  for (size_t row = 0; row < written.size(); ++row)
    ASSERT_TRUE(written[row] || out[row * kHeadDim] == kPoison) << "row of no span: " << row;
}

template <bool kTakeTurns>
void CheckRandomShapes(int count, uint32_t first_seed) {
  for (int i = 0; i < count; ++i) {
    const uint32_t seed = first_seed + static_cast<uint32_t>(i);
    RandomShapes shapes(seed);
    PagedShape shape = {.kv_heads = shapes.UpTo(2), .head_dim = kHeadDim, .seed = seed};
    shape.num_heads = shape.kv_heads * shapes.Among({1, 2, 4, 7, 8});
    shape.block_size = shapes.Among({8, 16, 32, 64, 128, 256});
    for (int s = shapes.UpTo(3); s > 0; --s)
      shape.spans.push_back({shapes.Among({0, 1, 63, 130, 300}), shapes.Among({1, 2, 17, 33, 140})});
    const int window = shapes.Among({0, 0, 1, 20, 129});
    const PagedCase paged = MakePagedCase(shape);
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    Check(paged, window, Prefill<kTakeTurns>(paged, window, shapes.UpTo(3), seed));
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(PrefillWgmma, EqualsPlainLoopsOnRandomShapes) { CheckRandomShapes<false>(8, 100); }
TEST(PrefillWgmma, EqualsPlainLoopsWhenWarpgroupsTakeTurns) { CheckRandomShapes<true>(8, 200); }

TEST(PrefillWgmma, ThePlansTilesAreTakenOnceByPersistentBlocks) {
  for (int blocks = 1; blocks < 7; ++blocks)
    for (int tiles = 0; tiles < 30; ++tiles) {
      std::multiset<int> taken;
      for (int block = 0; block < blocks; ++block)
        for (int round = 0; round * blocks < tiles; ++round)
          if (const int index = Layout::TileOf(round, block, blocks); index < tiles) taken.insert(index);
      ASSERT_EQ(taken.size(), static_cast<size_t>(tiles));
      ASSERT_EQ(std::set<int>(taken.begin(), taken.end()).size(), static_cast<size_t>(tiles));
    }
}

}  // namespace
}  // namespace quire::cuda
