// Prefill attention by warpgroup products: against the host's oracle, then its share of the card's matrix rate.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <vector>

#include "kernels/attention_oracle_testing.h"
#include "kernels/prefill_wgmma.h"
#include "probe/cublas_lt.h"
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
  work.queries = MapTensor<4>(args.q, {{Layout::kHeadDim, args.num_heads, num_rows, 1},
                                       {1, Layout::kHeadDim, args.q_row_stride, args.q_row_stride * num_rows},
                                       {64, args.pack, Layout::kRows / args.pack, 1}});
  work.cache = MapTensor<5>(kv.data, {{64, 8, 2, kv.block_size / 8, int64_t{2} * kv.kv_heads * kv.num_blocks},
                                      {1, Layout::kHeadDim, 64, 8 * Layout::kHeadDim, kv.HeadElements()},
                                      {64, 8, 2, Layout::BoxSlots(kv.block_size) / 8, 1}});
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

// What the card's matrix rate is taken from: an 8,192 cubed bf16 product on random data.
class Product {
 public:
  Product() : library_(CublasLt::Open()), x_(kSize * kSize), w_(kSize * kSize), y_(kSize * kSize) {
    if (library_ == nullptr) throw DeviceError("prefill: there is no cuBLASLt to measure the matrix rate by");
    FillNormalBf16(x_.data(), x_.count(), 1.0F, 3);
    FillNormalBf16(w_.data(), w_.count(), 1.0F, 4);
  }
  void Run(cudaStream_t stream) const {
    library_->Linear(x_.data(), w_.data(), y_.data(), kSize, kSize, kSize, stream);
  }
  double Operations() const { return 2.0 * kSize * kSize * kSize; }

 private:
  static constexpr int64_t kSize = 8192;
  std::unique_ptr<CublasLt> library_;
  DeviceArray<uint16_t> x_, w_, y_;
};

struct Shape {
  int num_heads, kv_heads, batch, length, block_size;
};

double Operations(const Shape& shape) {
  return 4.0 * shape.num_heads * Layout::kHeadDim * 0.5 * shape.length * (shape.length + 1.0) * shape.batch;
}

// `batch` prompts of `length`, nothing cached before them, blocks scattered over the pool.
struct Prompts {
  explicit Prompts(const Shape& shape) : rows(static_cast<size_t>(shape.batch) * static_cast<size_t>(shape.length)) {
    const int per_sequence = simt::CeilDiv(shape.length, shape.block_size);
    std::vector<uint32_t> blocks(static_cast<size_t>(per_sequence * shape.batch));
    std::iota(blocks.begin(), blocks.end(), 0U);
    std::shuffle(blocks.begin(), blocks.end(), std::mt19937(7));
    std::vector<PrefillSpan> host_spans;
    for (int i = 0; i < shape.batch; ++i)
      host_spans.push_back({.first_row = i * shape.length, .num_rows = shape.length, .table_begin = i * per_sequence});
    const std::vector<PrefillTile> plan = cuda::PlanPrefill(host_spans, shape.num_heads, shape.kv_heads, Layout::kRows);
    cuda::PagedKv kv = {nullptr, static_cast<int32_t>(blocks.size()), shape.kv_heads, shape.block_size,
                        Layout::kHeadDim};
    const size_t row_elements = static_cast<size_t>(shape.num_heads) * Layout::kHeadDim;
    pool = DeviceArray<uint16_t>(blocks.size() * static_cast<size_t>(kv.BlockElements()));
    q = DeviceArray<uint16_t>(rows * row_elements);
    out = DeviceArray<uint16_t>(rows * row_elements);
    FillNormalBf16(pool.data(), pool.count(), 1.0F, 1);
    FillNormalBf16(q.data(), q.count(), 1.0F, 2);
    kv.data = pool.data();
    tables = DeviceArray<uint32_t>(std::span<const uint32_t>(blocks));
    spans = DeviceArray<PrefillSpan>(std::span<const PrefillSpan>(host_spans));
    tiles = DeviceArray<PrefillTile>(std::span<const PrefillTile>(plan));
    work.args = {.q = q.data(),
                 .q_row_stride = static_cast<int64_t>(row_elements),
                 .kv = kv,
                 .tables = tables.data(),
                 .spans = spans.data(),
                 .tiles = tiles.data(),
                 .num_tiles = static_cast<int32_t>(plan.size()),
                 .num_heads = shape.num_heads,
                 .pack = cuda::PackFor(shape.num_heads, shape.kv_heads, Layout::kRows),
                 .scale = 1.0F / std::sqrt(static_cast<float>(Layout::kHeadDim)),
                 .out = out.data()};
    work.blocks = std::min(DescribeCard().multiprocessors, static_cast<int>(plan.size()));
    MapOperands(work, static_cast<int64_t>(rows));
  }

  size_t rows;
  DeviceArray<uint16_t> pool, q, out;
  DeviceArray<uint32_t> tables;
  DeviceArray<PrefillSpan> spans;
  DeviceArray<PrefillTile> tiles;
  Work work;
};

struct Variant {
  const char* name;
  bool take_turns, weigh_first;
};
constexpr Variant kVariants[] = {{"at will", false, false},
                                 {"at will, weights first", false, true},
                                 {"in turns", true, false},
                                 {"in turns, weights first", true, true}};

// All variants, and the card's matrix product beside them, in turn.
void MeasureShape(const Shape& shape, const Product& product) {
  const Prompts prompts(shape);
  std::vector<std::function<void(cudaStream_t)>> works;
  for (const Variant& variant : kVariants)
    works.push_back([&prompts, variant](cudaStream_t stream) {
      Work work = prompts.work;
      work.take_turns = variant.take_turns;
      work.weigh_first = variant.weigh_first;
      LaunchPrefill(work, stream);
    });
  works.push_back([&product](cudaStream_t stream) { product.Run(stream); });
  const std::vector<Timing> timings = MeasureInTurn(works);
  const double matrix_rate = product.Operations() / timings.back().median;
  std::printf("  %2d/%-2d heads, %d x %5d, block %3d; matrix product beside it %.0f TFLOP/s\n", shape.num_heads,
              shape.kv_heads, shape.batch, shape.length, shape.block_size, matrix_rate * 1e-12);
  for (size_t v = 0; v < std::size(kVariants); ++v) {
    const Timing& timing = timings[v];
    const double rate = Operations(shape) / timing.median;
    std::printf("    %-24s %9.1f us (%.1f to %.1f)  %5.1f TFLOP/s  %4.1f %% of it\n", kVariants[v].name,
                timing.median * 1e6, timing.min * 1e6, timing.max * 1e6, rate * 1e-12, 100 * rate / matrix_rate);
  }
  std::fflush(stdout);
}

void MeasureSpeed() {
  const Product product;
  for (const auto& [heads, kv_heads] : {std::pair{32, 8}, {40, 40}})
    for (const auto& [batch, length] : {std::pair{8, 2048}, {2, 8192}, {1, 32768}})
      for (const int block_size : {8, 16, 64}) MeasureShape({heads, kv_heads, batch, length, block_size}, product);
}

}  // namespace

bool RunPrefillAttention(const Options& options) {
  const bool right = CheckPrefill(options.seed);
  if (!right || options.check_only) return right;
  MeasureSpeed();
  return true;
}

}  // namespace quire::probe
