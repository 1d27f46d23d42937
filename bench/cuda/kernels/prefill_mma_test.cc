// The plan of prefill tiles, and the kernel on the emulator against attention by plain loops.
#include "kernels/prefill_mma.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "kernels/attention_oracle_testing.h"

namespace quire::cuda {
namespace {

constexpr uint16_t kPoison = 0xFFFF;

// The shape's block takes one tile each.
template <typename Shape>
std::vector<uint16_t> RunKernel(const PagedCase& paged, const LogitRules& rules) {
  const PagedShape& shape = paged.shape;
  const std::vector<PrefillTile> tiles = PlanPrefill(paged.spans, shape.num_heads, shape.kv_heads, Shape::kTileRows);
  std::vector<uint16_t> out(paged.OutputElements(), kPoison);
  const PrefillArgs args = {.q = paged.q.data(),
                            .q_row_stride = paged.QRowStride(),
                            .kv = paged.Kv(),
                            .tables = paged.tables.data(),
                            .spans = paged.spans.data(),
                            .tiles = tiles.data(),
                            .num_tiles = static_cast<int32_t>(tiles.size()),
                            .num_heads = shape.num_heads,
                            .pack = PackFor(shape.num_heads, shape.kv_heads, Shape::kTileRows),
                            .scale = rules.scale,
                            .window = rules.window,
                            .soft_cap = rules.soft_cap,
                            .slopes = rules.slopes,
                            .sinks = rules.sinks,
                            .out = out.data()};
  const simt::LaunchShape launch = {
      .grid_x = args.num_tiles, .threads = Shape::kThreads, .shared_bytes = Shape::kSharedBytes, .seed = shape.seed};
  EXPECT_EQ(simt::Launch(launch, [&] { PrefillMma<Shape>(args); }), "");
  return out;
}

// Every row of every span is right, and no other row was written.
void ExpectAttention(const PagedCase& paged, const LogitRules& rules, const std::vector<uint16_t>& out) {
  const auto head_dim = static_cast<size_t>(paged.shape.head_dim);
  std::vector<bool> in_a_span(static_cast<size_t>(paged.num_rows));
  for (int span = 0; span < static_cast<int>(paged.spans.size()); ++span) {
    const PrefillSpan& at = paged.spans[static_cast<size_t>(span)];
    for (int token = 0; token < at.num_rows; ++token) {
      const auto row = static_cast<size_t>(at.first_row) + static_cast<size_t>(token);
      in_a_span[row] = true;
      for (int head = 0; head < paged.shape.num_heads; ++head) {
        const uint16_t* actual =
            out.data() + (row * static_cast<size_t>(paged.shape.num_heads) + static_cast<size_t>(head)) * head_dim;
        EXPECT_LT(RelativeError({actual, head_dim}, NaiveAttention(paged, rules, span, token, head)), 1e-2)
            << "span " << span << ", token " << token << ", head " << head;
      }
    }
  }
  const size_t width = static_cast<size_t>(paged.shape.num_heads) * head_dim;
  for (size_t i = 0; i < out.size(); ++i)
    ASSERT_TRUE(in_a_span[i / width] || out[i] == kPoison) << "row " << i / width << " is of no span";
}

template <typename Shape>
void Check(PagedShape shape, LogitRules rules = {}) {
  SCOPED_TRACE(testing::Message() << "head_dim " << Shape::kHeadDim << ", heads " << shape.num_heads << "/"
                                  << shape.kv_heads << ", blocks of " << shape.block_size << ", seed " << shape.seed);
  shape.head_dim = Shape::kHeadDim;
  if (rules.scale == 1) rules.scale = Shape::kHeadDim == 64 ? 0.125F : 0.0883883F;
  const PagedCase paged = MakePagedCase(shape);
  ExpectAttention(paged, rules, RunKernel<Shape>(paged, rules));
}

using Wide = PrefillMmaShape<128, 2, 4>;
using WideNarrowTile = PrefillMmaShape<128, 1, 3>;
using Small = PrefillMmaShape<64, 2, 4>;
using SmallNarrowTile = PrefillMmaShape<64, 1, 2>;

TEST(PrefillPlan, EveryRowAndHeadIsInOneTile) {
  std::mt19937 random(7);
  for (int round = 0; round < 50; ++round) {
    const int kv_heads = 1 + static_cast<int>(random() % 3),
              num_heads = kv_heads * (1 + static_cast<int>(random() % 8));
    const int tile_rows = 64 << random() % 2;
    std::vector<PrefillSpan> spans;
    for (size_t i = random() % 5; i > 0; --i)
      spans.push_back({.first_row = static_cast<int>(spans.size()) * 1000,
                       .num_rows = 1 + static_cast<int>(random() % 300),
                       .first_position = static_cast<int>(random() % 500)});
    std::map<std::pair<int, int>, int> covered;
    int positions_before = INT32_MAX;
    for (const PrefillTile& tile : PlanPrefill(spans, num_heads, kv_heads, tile_rows)) {
      const QueryTile rows = {spans[static_cast<size_t>(tile.span)], tile,
                              Log2(PackFor(num_heads, kv_heads, tile_rows))};
      EXPECT_LE(rows.KvEnd(tile_rows), positions_before) << "longest first";
      positions_before = rows.KvEnd(tile_rows);
      for (int r = 0; r < tile_rows; ++r) {
        if (!rows.Valid(r)) continue;
        ++covered[{rows.Row(r), rows.Head(r)}];
        EXPECT_EQ(rows.Head(r) / (num_heads / kv_heads), tile.kv_head);
        EXPECT_LT(rows.Position(r), rows.KvEnd(tile_rows));
      }
    }
    size_t expected = 0;
    for (const PrefillSpan& span : spans) expected += static_cast<size_t>(span.num_rows * num_heads);
    EXPECT_EQ(covered.size(), expected) << "round " << round;
    for (const auto& [row_and_head, times] : covered) EXPECT_EQ(times, 1);
  }
}

TEST(PrefillPlan, ATileReadsWhatItsRowsSee) {
  const QueryTile tile = {.span = {.first_row = 5, .num_rows = 40, .first_position = 300},
                          .tile = {.first_token = 32, .first_head = 4, .kv_head = 1},
                          .pack_log2 = 2};
  EXPECT_EQ(tile.KvEnd(128), 340);
  EXPECT_EQ(tile.KvBegin(0, 64), 0);
  EXPECT_EQ(tile.KvBegin(100, 64), 192);  // 233, rounded down
  EXPECT_EQ(tile.KvBegin(1000, 64), 0);
}

TEST(PrefillMma, SpansWithPrefixesAndSingleRows) {
  Check<Wide>({.num_heads = 4, .kv_heads = 1, .block_size = 16, .spans = {{0, 37}, {130, 1}, {61, 9}}, .seed = 1});
  Check<Small>({.num_heads = 4, .kv_heads = 2, .block_size = 16, .spans = {{0, 37}, {200, 1}, {61, 9}}, .seed = 2});
  Check<WideNarrowTile>({.num_heads = 4, .kv_heads = 1, .block_size = 16, .spans = {{90, 20}, {0, 1}}, .seed = 3});
  Check<SmallNarrowTile>({.num_heads = 4, .kv_heads = 1, .block_size = 16, .spans = {{90, 20}, {0, 1}}, .seed = 4});
}

TEST(PrefillMma, EveryBlockSize) {
  for (const int block_size : {8, 16, 32, 64, 128, 256}) {
    const PagedShape shape = {.num_heads = 2,
                              .kv_heads = 1,
                              .block_size = block_size,
                              .spans = {{block_size / 2 + 70, 7}},
                              .seed = static_cast<uint32_t>(block_size)};
    if (block_size <= 64) Check<WideNarrowTile>(shape);
    Check<SmallNarrowTile>(shape);
  }
}

TEST(PrefillMma, ABlockLargerThanSeveralTiles) {
  Check<SmallNarrowTile>({.num_heads = 2, .kv_heads = 1, .block_size = 256, .spans = {{290, 3}}, .seed = 9});
}

TEST(PrefillMma, EveryGroup) {
  for (const int group : {1, 2, 4, 7, 8})
    Check<SmallNarrowTile>({.num_heads = 2 * group,
                            .kv_heads = 2,
                            .block_size = 16,
                            .spans = {{40, 12}},
                            .q_row_padding = 2 * 2 * 64,
                            .seed = static_cast<uint32_t>(group)});
}

TEST(PrefillMma, ATileAcrossManyTokensOfOneHead) {
  Check<Wide>({.num_heads = 2, .kv_heads = 2, .block_size = 64, .spans = {{3, 130}}, .seed = 20});
}

TEST(PrefillMma, Windows) {
  for (const int window : {1, 5, 64, 100, 1000})
    Check<SmallNarrowTile>({.num_heads = 4,
                            .kv_heads = 1,
                            .block_size = 16,
                            .spans = {{120, 20}, {0, 1}},
                            .seed = static_cast<uint32_t>(window)},
                           {.window = window});
  Check<Wide>({.num_heads = 4, .kv_heads = 1, .block_size = 16, .spans = {{150, 32}}, .seed = 30}, {.window = 70});
}

TEST(PrefillMma, SoftCap) {
  const PagedShape shape = {.num_heads = 4, .kv_heads = 2, .block_size = 32, .spans = {{70, 20}}, .seed = 40};
  Check<PrefillMmaShape<64, 1, 3, LogitTransform::kSoftCap>>(shape, {.scale = 0.5F, .soft_cap = 3});
  Check<PrefillMmaShape<128, 2, 4, LogitTransform::kSoftCap>>(shape, {.window = 33, .soft_cap = 50});
}

TEST(PrefillMma, Alibi) {
  const float slopes[] = {0.5F, 0.25F, 0.0F, 0.01F};
  const PagedShape shape = {.num_heads = 4, .kv_heads = 2, .block_size = 32, .spans = {{70, 20}}, .seed = 50};
  Check<PrefillMmaShape<64, 1, 3, LogitTransform::kAlibi>>(shape, {.slopes = slopes});
  Check<PrefillMmaShape<128, 2, 4, LogitTransform::kAlibi>>(shape, {.slopes = slopes});
}

TEST(PrefillMma, Sinks) {
  const float sinks[] = {-4.0F, 0.0F, 2.0F, 9.0F};
  Check<SmallNarrowTile>({.num_heads = 4, .kv_heads = 2, .block_size = 32, .spans = {{70, 20}, {0, 2}}, .seed = 60},
                         {.window = 40, .sinks = sinks});
}

}  // namespace
}  // namespace quire::cuda
