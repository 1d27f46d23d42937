// Prefill attention by warpgroup products: against the host's oracle, then its share of the card's matrix rate.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/attention_oracle_testing.h"
#include "kernels/prefill_wgmma.h"
#include "probe/device.h"
#include "probe/tensor_map.h"

namespace quire::probe {
namespace {

using cuda::PrefillArgs;
using cuda::PrefillSpan;
using cuda::PrefillTile;
using Layout = cuda::PrefillWgmma;

template <bool kTakeTurns, bool kWeighFirst>
__global__ void __launch_bounds__(Layout::kThreads, 1)
    PrefillKernel(const __grid_constant__ PrefillArgs args, const __grid_constant__ CUtensorMap queries,
                  const __grid_constant__ CUtensorMap cache) {
  cuda::PrefillWgmmaKernel<kTakeTurns, kWeighFirst>(args, &queries, &cache);
}

struct Work {
  PrefillArgs args;
  CUtensorMap queries = {}, cache = {};
  int blocks = 0;
  bool take_turns = true;
  bool weigh_first = true;
};

// Fills in the maps; args' q, kv, pack and strides must be there. num_rows: rows of q.
void MapOperands(Work& work, int64_t num_rows) {
  const PrefillArgs& args = work.args;
  const cuda::PagedKv& kv = args.kv;
  work.queries = MapTensor(args.q, {{Layout::kHeadDim, args.num_heads, num_rows, 1},
                                    {1, Layout::kHeadDim, args.q_row_stride, args.q_row_stride * num_rows},
                                    {64, args.pack, Layout::kRows / args.pack, 1}});
  work.cache = MapTensor(kv.data, {{Layout::kHeadDim, kv.block_size, 2 * kv.kv_heads, kv.num_blocks},
                                   {1, Layout::kHeadDim, kv.HeadElements(), kv.BlockElements()},
                                   {64, Layout::BoxSlots(kv.block_size), 1, 1}});
}

void LaunchPrefill(const Work& work, cudaStream_t stream) {
  auto* const kernel = work.take_turns ? (work.weigh_first ? PrefillKernel<true, true> : PrefillKernel<true, false>)
                                       : (work.weigh_first ? PrefillKernel<false, true> : PrefillKernel<false, false>);
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Layout::kSharedBytes),
        "prefill: shared memory");
  kernel<<<static_cast<unsigned>(work.blocks), Layout::kThreads, Layout::kSharedBytes, stream>>>(
      work.args, work.queries, work.cache);
  CheckLaunch("prefill attention");
}

// --- Right values ---

bool CheckCase(const cuda::PagedCase& paged, int32_t window, bool take_turns, int multiprocessors) {
  const cuda::PagedShape& shape = paged.shape;
  const std::vector<PrefillTile> plan = cuda::PlanPrefill(paged.spans, shape.num_heads, shape.kv_heads, Layout::kRows);
  const DeviceArray<uint16_t> pool{std::span<const uint16_t>(paged.pool)}, q{std::span<const uint16_t>(paged.q)};
  const DeviceArray<uint32_t> tables{std::span<const uint32_t>(paged.tables)};
  const DeviceArray<PrefillSpan> spans{std::span<const PrefillSpan>(paged.spans)};
  const DeviceArray<PrefillTile> tiles{std::span<const PrefillTile>(plan)};
  DeviceArray<uint16_t> out(paged.OutputElements());
  out.Poison();
  Work work;
  work.args = {.q = q.data(),
               .q_row_stride = paged.QRowStride(),
               .kv = paged.Kv(),
               .tables = tables.data(),
               .spans = spans.data(),
               .tiles = tiles.data(),
               .num_tiles = static_cast<int32_t>(plan.size()),
               .num_heads = shape.num_heads,
               .pack = cuda::PackFor(shape.num_heads, shape.kv_heads, Layout::kRows),
               .scale = 1.0F / std::sqrt(static_cast<float>(Layout::kHeadDim)),
               .window = window,
               .out = out.data()};
  work.args.kv.data = pool.data();
  work.take_turns = take_turns;
  work.blocks = std::min(multiprocessors, static_cast<int>(plan.size()));
  MapOperands(work, paged.num_rows);
  LaunchPrefill(work, nullptr);
  Check(cudaDeviceSynchronize(), "prefill attention");
  const std::vector<uint16_t> actual = out.Download();
  const cuda::LogitRules rules = {.scale = work.args.scale, .window = window};
  double worst = 0;
  size_t written = 0, compared = 0;
  for (size_t row = 0; row < actual.size() / Layout::kHeadDim; ++row)
    written += actual[row * Layout::kHeadDim] != 0xFFFF ? 1 : 0;
  size_t rows = 0;
  for (int s = 0; s < static_cast<int>(paged.spans.size()); ++s) {
    const PrefillSpan& span = paged.spans[static_cast<size_t>(s)];
    rows += static_cast<size_t>(span.num_rows) * static_cast<size_t>(shape.num_heads);
    // Naive attention is slow: every row of short spans, some of long ones.
    const int step = std::max(1, span.num_rows / 40);
    for (int token = 0; token < span.num_rows; token += step)
      for (int head = 0; head < shape.num_heads; ++head, ++compared) {
        const auto at = static_cast<size_t>((span.first_row + token) * shape.num_heads + head) * Layout::kHeadDim;
        const double error = cuda::RelativeError({actual.data() + at, Layout::kHeadDim},
                                                 cuda::NaiveAttention(paged, rules, s, token, head));
        worst = error <= worst ? worst : error;
      }
  }
  const bool right = worst < 1e-2 && written == rows;
  std::printf("  %-4s heads %2d/%-2d, block %3d, window %4d, %s: error %.2e in %zu rows, %zu of %zu written\n",
              right ? "ok" : "FAIL", shape.num_heads, shape.kv_heads, shape.block_size, window,
              take_turns ? "in turns" : "at will", worst, compared, written, rows);
  std::fflush(stdout);
  return right;
}

bool CheckPrefill(uint64_t seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  const auto among = [&](std::initializer_list<int> values) { return values.begin()[random() % values.size()]; };
  const int multiprocessors = DescribeCard().multiprocessors;
  bool right = true;
  for (int i = 0; i < 12; ++i) {
    cuda::PagedShape shape = {.kv_heads = among({1, 2}), .head_dim = 128, .seed = static_cast<uint32_t>(random())};
    shape.num_heads = shape.kv_heads * among({1, 4, 7, 8});
    shape.block_size = among({8, 16, 32, 64, 128, 256});
    for (int s = 0; s < 3; ++s) shape.spans.push_back({among({0, 5, 300, 1000}), among({1, 3, 64, 200, 700})});
    const int window = among({0, 0, 50, 300});
    const cuda::PagedCase paged = MakePagedCase(shape);
    right = CheckCase(paged, window, i % 2 == 0, i % 3 == 0 ? 3 : multiprocessors) && right;
  }
  return right;
}

// --- Speed ---

struct Shape {
  int num_heads, kv_heads, batch, length, block_size;
};

double Operations(const Shape& shape) {
  return 4.0 * shape.num_heads * Layout::kHeadDim * 0.5 * shape.length * (shape.length + 1.0) * shape.batch;
}

// Seconds of one launch: `batch` prompts of `length`, nothing cached before them, blocks scattered over the pool.
double TimePrefill(const Shape& shape, bool take_turns, bool weigh_first) {
  const int per_sequence = simt::CeilDiv(shape.length, shape.block_size);
  std::vector<uint32_t> blocks(static_cast<size_t>(per_sequence * shape.batch));
  std::iota(blocks.begin(), blocks.end(), 0U);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(7));
  std::vector<PrefillSpan> spans;
  for (int i = 0; i < shape.batch; ++i)
    spans.push_back({.first_row = i * shape.length, .num_rows = shape.length, .table_begin = i * per_sequence});
  const std::vector<PrefillTile> plan = cuda::PlanPrefill(spans, shape.num_heads, shape.kv_heads, Layout::kRows);
  cuda::PagedKv kv = {nullptr, static_cast<int32_t>(blocks.size()), shape.kv_heads, shape.block_size, Layout::kHeadDim};
  const size_t rows = static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.length);
  const size_t row_elements = static_cast<size_t>(shape.num_heads) * Layout::kHeadDim;
  DeviceArray<uint16_t> pool(blocks.size() * static_cast<size_t>(kv.BlockElements())), q(rows * row_elements),
      out(rows * row_elements);
  FillNormalBf16(pool.data(), pool.count(), 1.0F, 1);
  FillNormalBf16(q.data(), q.count(), 1.0F, 2);
  kv.data = pool.data();
  const DeviceArray<uint32_t> tables{std::span<const uint32_t>(blocks)};
  const DeviceArray<PrefillSpan> device_spans{std::span<const PrefillSpan>(spans)};
  const DeviceArray<PrefillTile> tiles{std::span<const PrefillTile>(plan)};
  Work work;
  work.args = {.q = q.data(),
               .q_row_stride = static_cast<int64_t>(row_elements),
               .kv = kv,
               .tables = tables.data(),
               .spans = device_spans.data(),
               .tiles = tiles.data(),
               .num_tiles = static_cast<int32_t>(plan.size()),
               .num_heads = shape.num_heads,
               .pack = cuda::PackFor(shape.num_heads, shape.kv_heads, Layout::kRows),
               .scale = 1.0F / std::sqrt(static_cast<float>(Layout::kHeadDim)),
               .out = out.data()};
  work.take_turns = take_turns;
  work.weigh_first = weigh_first;
  work.blocks = std::min(DescribeCard().multiprocessors, static_cast<int>(plan.size()));
  MapOperands(work, static_cast<int64_t>(rows));
  return Measure([&](cudaStream_t stream) { LaunchPrefill(work, stream); }).median;
}

void PrintSpeed(const Shape& shape, bool take_turns, bool weigh_first, double matrix_rate) {
  const double seconds = TimePrefill(shape, take_turns, weigh_first), rate = Operations(shape) / seconds;
  std::printf("  %2d/%-2d heads, %d x %5d, block %3d, %s%s: %9.1f us  %5.1f TFLOP/s  %4.1f %% of the matrix rate\n",
              shape.num_heads, shape.kv_heads, shape.batch, shape.length, shape.block_size,
              take_turns ? "in turns" : "at will ", weigh_first ? ", weights first" : "               ", seconds * 1e6,
              rate / 1e12, 100 * rate / matrix_rate);
  std::fflush(stdout);
}

void MeasureSpeed(double matrix_rate) {
  for (const bool take_turns : {false, true})
    for (const bool weigh_first : {false, true})
      for (const auto& [batch, length] : {std::pair{8, 2048}, {2, 8192}, {1, 32768}})
        PrintSpeed({32, 8, batch, length, 16}, take_turns, weigh_first, matrix_rate);
  for (const auto& [heads, kv_heads] : {std::pair{32, 8}, {40, 40}})
    for (const auto& [batch, length] : {std::pair{8, 2048}, {2, 8192}, {1, 32768}})
      for (const int block_size : {8, 64})
        PrintSpeed({heads, kv_heads, batch, length, block_size}, true, true, matrix_rate);
}

}  // namespace

bool RunPrefillAttention(const Options& options) {
  const bool right = CheckPrefill(options.seed);
  if (!right || options.check_only) return right;
  MeasureSpeed(options.matrix_rate > 0 ? options.matrix_rate : MeasureMatrixRate());
  return true;
}

}  // namespace quire::probe
