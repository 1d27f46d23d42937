// Decode attention: against the host's oracle on small random shapes, then its share of the copy bandwidth.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "kernels/attention_oracle_testing.h"
#include "probe/decode_launch.h"
#include "probe/device.h"

namespace quire::probe {
namespace {

// Which kernel, with how many blocks on a multiprocessor.
enum class Feed : uint8_t { kLoads2, kLoads, kTma, kTmaAlone };

const char* NameOf(Feed feed) {
  constexpr const char* kNames[] = {"loads, two", "loads", "TMA", "TMA, alone"};
  return kNames[static_cast<size_t>(feed)];
}

// Those for this card.
std::vector<Feed> Feeds() {
  const Card card = DescribeCard();
  if (card.major == 9 && card.minor == 0) return {Feed::kLoads, Feed::kTma, Feed::kTmaAlone};
  return {Feed::kLoads};
}

void LaunchFed(Feed feed, const DecodeLaunch& work, cudaStream_t stream) {
  if (feed == Feed::kTma || feed == Feed::kTmaAlone)
    LaunchDecodeTma(work, stream, feed == Feed::kTma ? 2 : 1);
  else
    LaunchDecode(work, stream, feed == Feed::kLoads ? 3 : 2);
}

// --- Right values ---

// Queries without the rows between: [sequences, heads, head_dim].
std::vector<uint16_t> Queries(const cuda::PagedCase& paged) {
  std::vector<uint16_t> q;
  const auto row = static_cast<std::ptrdiff_t>(paged.shape.num_heads * paged.shape.head_dim);
  for (const cuda::PrefillSpan& span : paged.spans) {
    const auto begin = paged.q.begin() + span.first_row * paged.QRowStride();
    q.insert(q.end(), begin, begin + row);
  }
  return q;
}

// One decode step of the case's sequences `from` to `to` on the card.
std::vector<uint16_t> Decode(const cuda::PagedCase& paged, int32_t window, int32_t partition, Feed feed, int from,
                             int to, int most_blocks) {
  std::vector<int32_t> contexts, begins;
  for (int i = from; i < to; ++i) {
    contexts.push_back(paged.ContextLength(i));
    begins.push_back(paged.spans[static_cast<size_t>(i)].table_begin);
  }
  const DecodePlan plan = cuda::PlanDecode(contexts, begins, window, partition);
  const cuda::PagedShape& shape = paged.shape;
  const DecodeBatch batch(plan, shape.num_heads, shape.head_dim);
  const std::vector<uint16_t> host_q = Queries(paged);
  const size_t row = static_cast<size_t>(shape.num_heads * shape.head_dim);
  const DeviceArray<uint16_t> pool{std::span<const uint16_t>(paged.pool)}, q{std::span<const uint16_t>(host_q)};
  const DeviceArray<uint32_t> tables{std::span<const uint32_t>(paged.tables)};
  DeviceArray<uint16_t> out(static_cast<size_t>(to - from) * row);
  out.Poison();
  DecodeLaunch work;
  work.args = {.q = q.data() + static_cast<size_t>(from) * row,
               .tables = tables.data(),
               .num_heads = shape.num_heads,
               .scale = kLog2E / std::sqrt(static_cast<float>(shape.head_dim)),
               .out = out.data()};
  cuda::PagedKv cache = paged.Kv();
  cache.data = pool.data();
  work.args.SetCache(cache);
  work.most_blocks = most_blocks;
  batch.Fill(work);
  LaunchFed(feed, work, nullptr);
  Check(cudaDeviceSynchronize(), "decode attention");
  return out.Download();
}

bool CheckCase(const cuda::PagedCase& paged, int32_t window, int32_t partition, Feed feed) {
  const cuda::PagedShape& shape = paged.shape;
  const int count = static_cast<int>(paged.spans.size());
  const size_t head_dim = static_cast<size_t>(shape.head_dim), row = static_cast<size_t>(shape.num_heads) * head_dim;
  const std::vector<uint16_t> out = Decode(paged, window, partition, feed, 0, count, 0);
  const cuda::LogitRules rules = {.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)), .window = window};
  double worst = 0;
  bool same = true;
  for (int i = 0; i < count; ++i) {
    for (int head = 0; head < shape.num_heads; ++head) {
      const std::span<const uint16_t> actual(
          out.data() + static_cast<size_t>(i) * row + static_cast<size_t>(head) * head_dim, head_dim);
      const double error = cuda::RelativeError(actual, cuda::NaiveAttention(paged, rules, i, 0, head));
      worst = error <= worst ? worst : error;  // a NaN stays
    }
    const std::vector<uint16_t> alone = Decode(paged, window, partition, feed, i, i + 1, 3 + i);
    same = same && std::equal(alone.begin(), alone.end(), out.begin() + static_cast<std::ptrdiff_t>(i * row));
  }
  const bool right = worst < 1e-2 && same;
  std::printf(
      "  %-4s %-12s heads %2d/%-2d x %3d, block %3d, window %4d, partition %4d, %d sequences: error %.2e, alone %s\n",
      right ? "ok" : "FAIL", NameOf(feed), shape.num_heads, shape.kv_heads, shape.head_dim, shape.block_size, window,
      partition, count, worst, same ? "the same bits" : "OTHER BITS");
  std::fflush(stdout);
  return right;
}

bool CheckDecode(uint64_t seed) {
  std::mt19937 random(static_cast<uint32_t>(seed));
  const auto among = [&](std::initializer_list<int> values) { return values.begin()[random() % values.size()]; };
  bool right = true;
  for (int i = 0; i < 12; ++i) {
    cuda::PagedShape shape = {
        .kv_heads = among({1, 2, 3}), .head_dim = among({128, 128, 64}), .seed = static_cast<uint32_t>(random())};
    shape.num_heads = shape.kv_heads * among({1, 4, 7, 8, 12});
    shape.block_size = among({8, 16, 32, 64, 256});
    for (int s = 0; s < 5; ++s) shape.spans.push_back({static_cast<int>(random() % (s == 0 ? 4000 : 300)), 1});
    const cuda::PagedCase paged = MakePagedCase(shape);
    const int window = among({0, 0, 50, 600}), partition = among({0, 64, 256, 1024});
    for (const Feed feed : Feeds()) right = CheckCase(paged, window, partition, feed) && right;
  }
  return right;
}

// --- Speed ---

struct Shape {
  int num_heads, kv_heads, head_dim, batch, context, block_size;
};

struct Pool {
  explicit Pool(size_t elements) : data(elements) { FillNormalBf16(data.data(), elements, 1.0F, 1); }
  DeviceArray<uint16_t> data;
};

struct SpeedOptions {
  int32_t partition = 0;
  Feed feed = Feeds().size() > 1 ? Feed::kTma : Feed::kLoads;
  bool overlap = true;
  int32_t window = 0;
};

// Seconds per call; each call of a round reads other blocks, scattered over the pool, so that none is still in a cache.
double TimeDecode(const Shape& shape, const Pool& pool, const SpeedOptions& options) {
  const size_t block_elements = size_t{2} * static_cast<size_t>(shape.kv_heads * shape.block_size * shape.head_dim);
  const size_t num_blocks = pool.data.count() / block_elements;
  const size_t per_sequence = static_cast<size_t>(simt::CeilDiv(shape.context, shape.block_size));
  const size_t per_call = per_sequence * static_cast<size_t>(shape.batch);
  const int rounds = static_cast<int>(std::min<size_t>(16, num_blocks / per_call));
  if (rounds == 0) throw DeviceError("decode attention: the pool is too small for this shape");
  std::vector<uint32_t> blocks(num_blocks);
  std::iota(blocks.begin(), blocks.end(), 0U);
  std::shuffle(blocks.begin(), blocks.end(), std::mt19937(7));
  const DeviceArray<uint32_t> tables{std::span<const uint32_t>(blocks)};
  std::vector<int32_t> contexts(static_cast<size_t>(shape.batch), shape.context), begins(contexts.size());
  for (size_t i = 0; i < begins.size(); ++i) begins[i] = static_cast<int32_t>(i * per_sequence);
  const DecodePlan plan = cuda::PlanDecode(contexts, begins, options.window, options.partition);
  const DecodeBatch batch(plan, shape.num_heads, shape.head_dim);
  const size_t q_elements = static_cast<size_t>(shape.batch * shape.num_heads * shape.head_dim);
  DeviceArray<uint16_t> q(q_elements), out(q_elements);
  FillNormalBf16(q.data(), q_elements, 1.0F, 2);
  DecodeLaunch work;
  work.args = {.q = q.data(),
               .num_heads = shape.num_heads,
               .scale = kLog2E / std::sqrt(static_cast<float>(shape.head_dim)),
               .out = out.data()};
  work.args.SetCache(
      {pool.data.data(), static_cast<int32_t>(num_blocks), shape.kv_heads, shape.block_size, shape.head_dim});
  batch.Fill(work);
  work.overlap = options.overlap;
  int call = 0;
  const Timing timing = MeasureGraph(
      [&](cudaStream_t stream) {
        work.args.tables = tables.data() + static_cast<size_t>(call++ % rounds) * per_call;
        LaunchFed(options.feed, work, stream);
      },
      7, rounds);
  return timing.median;
}

double CacheBytes(const Shape& shape) {
  return 4.0 * shape.kv_heads * shape.head_dim * static_cast<double>(shape.batch) * shape.context;
}

void PrintSpeed(const char* what, const Shape& shape, double seconds, double bandwidth) {
  const double rate = CacheBytes(shape) / seconds;
  std::printf("  %-28s %2d/%-2d hd %3d  batch %3d  context %5d  block %3d: %9.1f us  %6.0f GB/s  %5.1f %% of copy\n",
              what, shape.num_heads, shape.kv_heads, shape.head_dim, shape.batch, shape.context, shape.block_size,
              seconds * 1e6, rate / 1e9, 100 * rate / bandwidth);
  std::fflush(stdout);
}

void MeasureSpeed(double bandwidth) {
  const Pool pool(size_t{128} * 32768 * 2 * 8 * 128);
  for (const int context : {1024, 8192, 32768})
    for (const int batch : {1, 16, 128})
      for (const int block_size : {16, 64}) {
        const Shape shape = {32, 8, 128, batch, context, block_size};
        for (const Feed feed : Feeds())
          PrintSpeed(NameOf(feed), shape, TimeDecode(shape, pool, {.feed = feed}), bandwidth);
      }
  for (const int block_size : {8, 32, 128, 256}) {
    const Shape shape = {32, 8, 128, 16, 8192, block_size};
    PrintSpeed("block size", shape, TimeDecode(shape, pool, {}), bandwidth);
  }
  for (const Shape& shape :
       {Shape{40, 40, 128, 16, 8192, 16}, Shape{64, 8, 128, 16, 8192, 16}, Shape{28, 4, 128, 16, 8192, 16},
        Shape{32, 2, 128, 16, 8192, 16}, Shape{32, 8, 64, 16, 8192, 16}})
    for (const Feed feed : Feeds()) PrintSpeed(NameOf(feed), shape, TimeDecode(shape, pool, {.feed = feed}), bandwidth);
  for (const auto& [batch, context] :
       {std::pair{1, 1024}, {1, 8192}, {1, 32768}, {16, 1024}, {16, 8192}, {128, 1024}, {128, 8192}})
    for (const int partition : {64, 128, 256, 512, 1024}) {
      if (partition > context) continue;
      const Shape shape = {32, 8, 128, batch, context, 16};
      char what[32];
      std::snprintf(what, sizeof what, "partition %d", partition);
      PrintSpeed(what, shape, TimeDecode(shape, pool, {.partition = partition}), bandwidth);
    }
  const Shape middle = {32, 8, 128, 16, 8192, 16};
  PrintSpeed(NameOf(Feed::kLoads2), middle, TimeDecode(middle, pool, {.feed = Feed::kLoads2}), bandwidth);
  for (const int context : {1024, 8192}) {
    const Shape shape = {32, 8, 128, 1, context, 16};
    PrintSpeed("launches not overlapped", shape, TimeDecode(shape, pool, {.overlap = false}), bandwidth);
  }
}

}  // namespace

bool RunDecodeAttention(const Options& options) {
  const bool right = CheckDecode(options.seed);
  if (!right || options.check_only) return right;
  const double bandwidth = options.copy_bandwidth > 0 ? options.copy_bandwidth : MeasureCopyBandwidth();
  MeasureSpeed(bandwidth);
  return true;
}

}  // namespace quire::probe
