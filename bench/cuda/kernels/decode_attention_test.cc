// Decode attention on the emulator against attention by plain loops, and its index arithmetic against counting.
#include "kernels/decode_attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "kernels/attention_oracle_testing.h"
#include "kernels/decode_merge.h"
#include "kernels/decode_plan.h"
#include "kernels/decode_tma.h"

namespace quire::cuda {
namespace {

constexpr uint16_t kPoison = 0xFFFF;
constexpr float kLog2E = 1.4426950408889634F;

// Which kernel: by loads to registers, or by the copy engine, with so many blocks on a multiprocessor.
enum class Feed : uint8_t { kLoads, kTma, kTmaAlone };

struct DecodeOptions {
  int window = 0;
  int partition = 0;
  int most_blocks = 1000;
  uint64_t seed = 1;
  Feed feed = Feed::kLoads;
};

template <int kHeadDim, int kHeadTiles, int kBlocks>
std::string LaunchTma(const DecodeArgs& args, const DecodeOptions& options) {
  using Layout = DecodeTmaLayout<kHeadDim, kHeadTiles, kBlocks>;
  const PagedKv& kv = args.kv;
  const simt::TensorMap cache = {
      .base = kv.data,
      .dims = {64, 8, Layout::kHalves, kv.block_size / 8, int64_t{2} * kv.kv_heads * kv.num_blocks},
      .strides = {1, kHeadDim, 64, 8 * kHeadDim, kv.HeadElements()},
      .box = {64, 8, Layout::kHalves, Layout::BoxSlots(kv.block_size) / 8, 1}};
  return simt::Launch({.grid_x = std::min(options.most_blocks, args.NumItems()),
                       .threads = kDecodeTmaThreads,
                       .shared_bytes = Layout::kSharedBytes,
                       .seed = options.seed},
                      [&] { DecodeTmaAttention<kHeadDim, kHeadTiles, kBlocks>(args, &cache); });
}

template <int kHeadDim, int kHeadTiles>
std::string LaunchDecode(const DecodeArgs& args, const DecodeOptions& options) {
  if (options.feed == Feed::kTma) return LaunchTma < kHeadDim, kHeadTiles, kHeadTiles == 1 ? 2 : 1 > (args, options);
  if (options.feed == Feed::kTmaAlone) return LaunchTma<kHeadDim, kHeadTiles, 1>(args, options);
  return simt::Launch({.grid_x = std::min(options.most_blocks, args.NumItems()),
                       .threads = kDecodeThreads,
                       .shared_bytes = DecodeLayout<kHeadDim, kHeadTiles>::kSharedBytes,
                       .seed = options.seed},
                      [&] { DecodeAttention<kHeadDim, kHeadTiles>(args); });
}

// Every span of the case has one row: a decoding sequence.
template <int kHeadDim, int kHeadTiles>
std::vector<uint16_t> Decode(const PagedCase& paged, const std::vector<uint16_t>& q, const DecodeOptions& options) {
  std::vector<int32_t> contexts, begins;
  for (size_t i = 0; i < paged.spans.size(); ++i) {
    contexts.push_back(paged.ContextLength(static_cast<int>(i)));
    begins.push_back(paged.spans[i].table_begin);
  }
  DecodePlan plan = PlanDecode(contexts, begins, options.window, options.partition);
  plan.sequences.emplace_back();  // a padded grid
  const size_t heads = static_cast<size_t>(paged.shape.num_heads), states = plan.units.size() * heads;
  std::vector<float> partial(states * kHeadDim, std::nanf("")), maxima(states * 2, std::nanf(""));
  std::vector<uint16_t> out(paged.spans.size() * heads * kHeadDim, kPoison);
  DecodeArgs args = {.q = q.data(),
                     .tables = paged.tables.data(),
                     .units = plan.units.data(),
                     .sequences = plan.sequences.data(),
                     .num_units = static_cast<int32_t>(plan.units.size()),
                     .num_heads = paged.shape.num_heads,
                     .scale = kLog2E / std::sqrt(static_cast<float>(kHeadDim)),
                     .partial = partial.data(),
                     .maxima = maxima.data(),
                     .out = out.data()};
  args.SetCache(paged.Kv());
  EXPECT_EQ((LaunchDecode<kHeadDim, kHeadTiles>(args, options)), "");
  EXPECT_EQ(simt::Launch({.grid_x = static_cast<int>(plan.sequences.size() * heads),
                          .threads = kDecodeThreads,
                          .shared_bytes = kMergeSharedBytes<kHeadDim>,
                          .seed = options.seed},
                         [&] { MergePartitions<kHeadDim>(args); }),
            "");
  return out;
}

// Queries without the rows between: [sequences, heads, head_dim].
std::vector<uint16_t> Queries(const PagedCase& paged) {
  std::vector<uint16_t> q;
  const auto row = static_cast<size_t>(paged.shape.num_heads) * static_cast<size_t>(paged.shape.head_dim);
  for (const PrefillSpan& span : paged.spans) {
    const auto begin = paged.q.begin() + span.first_row * paged.QRowStride();
    q.insert(q.end(), begin, begin + static_cast<std::ptrdiff_t>(row));
  }
  return q;
}

template <int kHeadDim, int kHeadTiles>
void CheckCase(const PagedCase& paged, const DecodeOptions& options) {
  const std::vector<uint16_t> out = Decode<kHeadDim, kHeadTiles>(paged, Queries(paged), options);
  const LogitRules rules = {.scale = 1 / std::sqrt(static_cast<float>(kHeadDim)), .window = options.window};
  for (int i = 0; i < static_cast<int>(paged.spans.size()); ++i)
    for (int head = 0; head < paged.shape.num_heads; ++head) {
      const auto* const actual = out.data() + static_cast<size_t>(i * paged.shape.num_heads + head) * kHeadDim;
      ASSERT_LT(RelativeError({actual, kHeadDim}, NaiveAttention(paged, rules, i, 0, head)), 1e-2)
          << "sequence " << i << " of " << paged.ContextLength(i) << ", head " << head << ", block size "
          << paged.shape.block_size << ", window " << options.window << ", partition " << options.partition;
    }
}

template <int kHeadDim, int kHeadTiles>
void CheckRandomShapes(std::initializer_list<int> groups, int count, uint32_t seed) {
  RandomShapes shapes(seed);
  for (int i = 0; i < count; ++i) {
    PagedShape shape = {.kv_heads = shapes.UpTo(2), .head_dim = kHeadDim, .seed = seed + static_cast<uint32_t>(i)};
    shape.num_heads = shape.kv_heads * shapes.Among(groups);
    shape.block_size = shapes.Among({8, 16, 32, 64, 128, 256});
    const int longest = shapes.Among({5, 70, 300});
    for (int s = shapes.UpTo(3); s > 0; --s) shape.spans.push_back({shapes.UpTo(longest) - 1, 1});
    const DecodeOptions options = {.window = shapes.Among({0, 0, 1, 7, 33, 100}),
                                   .partition = shapes.Among({0, 64, 128, 192}),
                                   .most_blocks = shapes.Among({1, 2, 3, 5, 1000}),
                                   .seed = seed + static_cast<uint32_t>(i),
                                   .feed = static_cast<Feed>(i % 3)};
    SCOPED_TRACE(::testing::Message() << "seed " << seed + static_cast<uint32_t>(i));
    CheckCase<kHeadDim, kHeadTiles>(MakePagedCase(shape), options);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(DecodeAttention, EqualsPlainLoopsOnRandomShapes) { CheckRandomShapes<128, 1>({1, 2, 3, 4, 7, 8}, 45, 100); }
TEST(DecodeAttention, TakesGroupsOfMoreThanEightHeads) { CheckRandomShapes<128, 2>({9, 12, 16}, 12, 200); }
TEST(DecodeAttention, TakesHeadsOf64) { CheckRandomShapes<64, 1>({1, 4, 8}, 18, 300); }

TEST(DecodeAttention, ASequencesBitsDoNotDependOnTheBatch) {
  PagedShape shape = {.num_heads = 8, .kv_heads = 2, .seed = 5};
  shape.spans = {{299, 1}, {17, 1}, {130, 1}};
  const PagedCase together = MakePagedCase(shape);
  const std::vector<uint16_t> q = Queries(together);
  for (const Feed feed : {Feed::kLoads, Feed::kTma}) {
    const std::vector<uint16_t> all = Decode<128, 1>(together, q, {.most_blocks = 7, .feed = feed});
    const size_t row = 8 * 128;
    for (size_t i = 0; i < 3; ++i) {
      PagedCase alone = together;
      alone.spans = {together.spans[i]};
      const auto from = static_cast<std::ptrdiff_t>(i * row), to = from + static_cast<std::ptrdiff_t>(row);
      const std::vector<uint16_t> one =
          Decode<128, 1>(alone, std::vector<uint16_t>(q.begin() + from, q.begin() + to), {.seed = 9, .feed = feed});
      EXPECT_EQ(one, std::vector<uint16_t>(all.begin() + from, all.begin() + to)) << "sequence " << i;
    }
  }
}

TEST(DecodePlan, PartitionsCoverWhatTheWindowShowsOnce) {
  RandomShapes shapes(3);
  for (int i = 0; i < 2000; ++i) {
    const int context = shapes.UpTo(5000), window = shapes.Among({0, 1, 15, 16, 64, 1000, 4096});
    const int partition = shapes.Among({64, 128, 256, 1024});
    int next = WindowBegin(context, window);
    for (int p = 0; p < NumPartitions(context, window, partition); ++p) {
      const PartitionRange range = RangeOf(context, window, partition, p);
      ASSERT_EQ(range.begin, next);
      ASSERT_LT(range.begin, range.end);
      ASSERT_EQ(range.begin / partition, (range.end - 1) / partition);
      next = range.end;
    }
    ASSERT_EQ(next, context);
    ASSERT_EQ(next - WindowBegin(context, window), window > 0 ? std::min(window, context) : context);
  }
}

}  // namespace
}  // namespace quire::cuda
