// Prefill attention with the products of a warp: against the host's oracle, then its share of the card's matrix rate.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iterator>
#include <random>

#include "kernels/attention_oracle_testing.h"
#include "kernels/prefill_mma.h"
#include "probe/device.h"

namespace quire::probe {
namespace {

using cuda::LogitRules;
using cuda::LogitTransform;
using cuda::PagedCase;
using cuda::PagedShape;
using cuda::PrefillArgs;
using cuda::PrefillMmaShape;
using cuda::PrefillSpan;
using cuda::PrefillTile;

template <typename Shape, int kBlocksPerMultiprocessor>
__global__ void __launch_bounds__(Shape::kThreads, kBlocksPerMultiprocessor)
    PrefillMmaKernel(const __grid_constant__ PrefillArgs args) {
  cuda::PrefillMma<Shape>(args);
}

template <typename Shape, int kBlocksPerMultiprocessor>
void LaunchAs(const PrefillArgs& args, cudaStream_t stream) {
  auto* const kernel = PrefillMmaKernel<Shape, kBlocksPerMultiprocessor>;
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Shape::kSharedBytes),
        "prefill: shared memory");
  kernel<<<static_cast<unsigned>(args.num_tiles), Shape::kThreads, Shape::kSharedBytes, stream>>>(args);
  CheckLaunch("PrefillMmaKernel");
}

struct Variant {
  const char* name;
  int head_dim, tile_rows, shared_bytes;
  LogitTransform transform;
  void (*launch)(const PrefillArgs&, cudaStream_t);
};

template <typename Shape, int kBlocksPerMultiprocessor>
constexpr Variant MakeVariant(const char* name) {
  return {name,
          Shape::kHeadDim,
          Shape::kTileRows,
          Shape::kSharedBytes,
          Shape::kTransform,
          &LaunchAs<Shape, kBlocksPerMultiprocessor>};
}

const Variant kVariants[] = {
    MakeVariant<PrefillMmaShape<128, 2, 4>, 2>("128 rows, 4 stages"),
    MakeVariant<PrefillMmaShape<128, 2, 3>, 2>("128 rows, 3 stages"),
    MakeVariant<PrefillMmaShape<128, 1, 4>, 2>("64 rows, 4 stages"),
    MakeVariant<PrefillMmaShape<128, 1, 2>, 2>("64 rows, 2 stages"),
    MakeVariant<PrefillMmaShape<64, 2, 4>, 2>("128 rows, 4 stages"),
    MakeVariant<PrefillMmaShape<64, 1, 4>, 4>("64 rows, 4 stages"),
    MakeVariant<PrefillMmaShape<128, 2, 4, LogitTransform::kSoftCap>, 2>("soft cap"),
    MakeVariant<PrefillMmaShape<64, 2, 4, LogitTransform::kSoftCap>, 2>("soft cap"),
    MakeVariant<PrefillMmaShape<128, 1, 4, LogitTransform::kAlibi>, 2>("ALiBi"),
    MakeVariant<PrefillMmaShape<64, 1, 4, LogitTransform::kAlibi>, 3>("ALiBi"),
};

// What a case is on the card, but for the cache and the queries.
class DevicePlan {
 public:
  DevicePlan(const PagedCase& paged, int tile_rows)
      : tables_(std::span<const uint32_t>(paged.tables)),
        spans_(std::span<const PrefillSpan>(paged.spans)),
        tiles_(std::span<const PrefillTile>(
            cuda::PlanPrefill(paged.spans, paged.shape.num_heads, paged.shape.kv_heads, tile_rows))),
        out_(paged.OutputElements()),
        args_{.q_row_stride = paged.QRowStride(),
              .kv = paged.Kv(),
              .tables = tables_.data(),
              .spans = spans_.data(),
              .tiles = tiles_.data(),
              .num_tiles = static_cast<int32_t>(tiles_.count()),
              .num_heads = paged.shape.num_heads,
              .pack = cuda::PackFor(paged.shape.num_heads, paged.shape.kv_heads, tile_rows),
              .out = out_.data()} {
    out_.Poison();
  }

  PrefillArgs Args(const DeviceArray<uint16_t>& pool, const DeviceArray<uint16_t>& q, const LogitRules& rules) const {
    PrefillArgs args = args_;
    args.q = q.data();
    args.kv.data = pool.data();
    args.scale = rules.scale;
    args.window = rules.window;
    args.soft_cap = rules.soft_cap;
    args.slopes = rules.slopes;
    args.sinks = rules.sinks;
    return args;
  }
  const DeviceArray<uint16_t>& out() const { return out_; }

 private:
  DeviceArray<uint32_t> tables_;
  DeviceArray<PrefillSpan> spans_;
  DeviceArray<PrefillTile> tiles_;
  DeviceArray<uint16_t> out_;
  PrefillArgs args_;
};

// --- Checks ---

constexpr double kTolerance = 1e-2;

// The greatest error of `count` random (row, head) pairs, and of each span's last row. NaN counts as infinite.
double SampledError(const PagedCase& paged, const LogitRules& rules, const std::vector<uint16_t>& out, int count,
                    uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto head_dim = static_cast<size_t>(paged.shape.head_dim);
  double greatest = 0;
  const auto check = [&](int span, int token) {
    const int head = static_cast<int>(random() % static_cast<uint64_t>(paged.shape.num_heads));
    const size_t row = static_cast<size_t>(paged.spans[static_cast<size_t>(span)].first_row + token);
    const uint16_t* actual =
        out.data() + (row * static_cast<size_t>(paged.shape.num_heads) + static_cast<size_t>(head)) * head_dim;
    const double error = cuda::RelativeError({actual, head_dim}, cuda::NaiveAttention(paged, rules, span, token, head));
    greatest = std::max(greatest, std::isnan(error) ? INFINITY : error);
  };
  for (size_t i = 0; i < paged.spans.size(); ++i) check(static_cast<int>(i), paged.spans[i].num_rows - 1);
  for (int i = 0; i < count; ++i) {
    const auto span = static_cast<size_t>(random() % paged.spans.size());
    check(static_cast<int>(span), static_cast<int>(random() % static_cast<uint64_t>(paged.spans[span].num_rows)));
  }
  return greatest;
}

bool RowsOfNoSpanAreUntouched(const PagedCase& paged, const std::vector<uint16_t>& out) {
  const auto width = static_cast<size_t>(paged.shape.num_heads * paged.shape.head_dim);
  std::vector<bool> in_a_span(static_cast<size_t>(paged.num_rows));
  for (const PrefillSpan& span : paged.spans) std::fill_n(in_a_span.begin() + span.first_row, span.num_rows, true);
  for (size_t i = 0; i < out.size(); ++i)
    if (!in_a_span[i / width] && out[i] != 0xFFFF) return false;
  return true;
}

PagedShape RandomShape(int head_dim, std::mt19937_64& random) {
  constexpr int kGroups[] = {1, 2, 4, 7, 8};
  const int kv_heads = 1 + static_cast<int>(random() % 3);
  PagedShape shape = {.num_heads = kv_heads * kGroups[random() % std::size(kGroups)],
                      .kv_heads = kv_heads,
                      .head_dim = head_dim,
                      .block_size = 8 << random() % 6,
                      .q_row_padding = static_cast<int>(random() % 3) * 64,
                      .seed = static_cast<uint32_t>(random())};
  for (int i = 0; i < 4; ++i)
    shape.spans.push_back({.first_position = static_cast<int>(random() % 400),
                           .num_rows = i == 0 ? 1 : 1 + static_cast<int>(random() % 250)});
  return shape;
}

bool CheckVariant(const Variant& variant, std::mt19937_64& random) {
  constexpr int kRounds = 6;
  double greatest = 0;
  bool untouched = true;
  for (int round = 0; round < kRounds; ++round) {
    const PagedCase paged = cuda::MakePagedCase(RandomShape(variant.head_dim, random));
    std::vector<float> of_heads(static_cast<size_t>(paged.shape.num_heads));
    for (float& value : of_heads) value = static_cast<float>(random() % 100) * 0.01F;
    const DeviceArray<float> device_of_heads{std::span<const float>(of_heads)};
    const DeviceArray<uint16_t> pool{std::span<const uint16_t>(paged.pool)}, q{std::span<const uint16_t>(paged.q)};

    LogitRules rules = {.scale = 1 / std::sqrt(static_cast<float>(variant.head_dim)),
                        .window = round % 2 == 0 ? 0 : 1 + static_cast<int>(random() % 300)};
    if (variant.transform == LogitTransform::kSoftCap) rules.soft_cap = 2.0F;
    LogitRules device_rules = rules;
    if (variant.transform == LogitTransform::kAlibi) {
      rules.slopes = of_heads.data();
      device_rules.slopes = device_of_heads.data();
    }
    if (round >= 4) {
      rules.sinks = of_heads.data();
      device_rules.sinks = device_of_heads.data();
    }

    const DevicePlan plan(paged, variant.tile_rows);
    variant.launch(plan.Args(pool, q, device_rules), nullptr);
    Check(cudaDeviceSynchronize(), "PrefillMmaKernel");
    const std::vector<uint16_t> out = plan.out().Download();
    greatest = std::max(greatest, SampledError(paged, rules, out, 200, random()));
    untouched = untouched && RowsOfNoSpanAreUntouched(paged, out);
  }
  const bool right = greatest < kTolerance && untouched;
  std::printf("  check hd %3d %-20s greatest error %.2e%s: %s\n", variant.head_dim, variant.name, greatest,
              untouched ? "" : ", wrote rows of no span", right ? "ok" : "WRONG");
  std::fflush(stdout);
  return right;
}

// --- Speed ---

struct Setting {
  int num_heads, kv_heads, head_dim, length, batch, block_size;
  int window = 0;
};

PagedShape ShapeOf(const Setting& setting) {
  return {.num_heads = setting.num_heads,
          .kv_heads = setting.kv_heads,
          .head_dim = setting.head_dim,
          .block_size = setting.block_size,
          .spans = std::vector<cuda::SpanShape>(static_cast<size_t>(setting.batch), {0, setting.length}),
          .num_spare_blocks = 0,
          .gaps_of_rows = false};
}

// Of both products, over the positions that rows see.
double Flops(const Setting& setting) {
  const double length = setting.length, seen = setting.window > 0 ? std::min(setting.window, setting.length) : length;
  const double pairs = seen * (seen + 1) / 2 + (length - seen) * seen;
  return 4.0 * setting.num_heads * setting.head_dim * pairs * setting.batch;
}

// Times a variant and checks a few of its rows.
bool MeasureSpeed(const Variant& variant, const Setting& setting, double matrix_rate) {
  PagedCase paged = cuda::LayOutPagedCase(ShapeOf(setting));
  DeviceArray<uint16_t> pool(static_cast<size_t>(paged.num_blocks * paged.Kv().BlockElements()));
  DeviceArray<uint16_t> q(static_cast<size_t>(paged.num_rows * paged.QRowStride()));
  FillNormalBf16(pool.data(), pool.count(), 1, 1);
  FillNormalBf16(q.data(), q.count(), 1, 2);

  const LogitRules rules = {.scale = 1 / std::sqrt(static_cast<float>(setting.head_dim)),
                            .window = setting.window,
                            .soft_cap = variant.transform == LogitTransform::kSoftCap ? 50.0F : 0.0F};
  const DevicePlan plan(paged, variant.tile_rows);
  const PrefillArgs args = plan.Args(pool, q, rules);
  const Timing timing = Measure([&](cudaStream_t stream) { variant.launch(args, stream); }, 5);

  paged.pool = pool.Download();
  paged.q = q.Download();
  const double error = SampledError(paged, rules, plan.out().Download(), 8, 3);
  const double rate = Flops(setting) / timing.median;
  std::printf("  %2d/%-2d hd %3d  %5d x %d  block %2d  window %4d  %-20s %9.3f ms  %6.1f TFLOP/s", setting.num_heads,
              setting.kv_heads, setting.head_dim, setting.length, setting.batch, setting.block_size, setting.window,
              variant.name, timing.median * 1e3, rate * 1e-12);
  if (matrix_rate > 0) std::printf("  %5.1f %% of the matrix rate", 100 * rate / matrix_rate);
  std::printf("  error %.1e%s\n", error, error < kTolerance ? "" : " WRONG");
  std::fflush(stdout);
  return error < kTolerance;
}

int Attribute(cudaDeviceAttr attribute) {
  int value = 0;
  Check(cudaDeviceGetAttribute(&value, attribute, 0), "cudaDeviceGetAttribute");
  return value;
}

// The variant for a card: the first without a transform of which two blocks share a multiprocessor.
const Variant& DefaultVariant(int head_dim) {
  constexpr int kReservedBytes = 1024;  // by the system, of every block
  const int shared_bytes = Attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  for (const Variant& variant : kVariants)
    if (variant.head_dim == head_dim && variant.transform == LogitTransform::kNone &&
        2 * (variant.shared_bytes + kReservedBytes) <= shared_bytes)
      return variant;
  throw DeviceError("prefill attention: too little shared memory for any variant");
}

bool Launchable(const Variant& variant) {
  return variant.shared_bytes <= Attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
}

bool MeasureAll(double matrix_rate) {
  bool right = true;
  for (const auto& [num_heads, kv_heads] : {std::pair{32, 8}, std::pair{40, 40}})
    for (const auto& [length, batch] : {std::pair{2048, 8}, std::pair{8192, 2}, std::pair{32768, 1}})
      for (const int block_size : {16, 64})
        right &= MeasureSpeed(DefaultVariant(128), {num_heads, kv_heads, 128, length, batch, block_size}, matrix_rate);
  const Setting windowed = {
      .num_heads = 32, .kv_heads = 8, .head_dim = 128, .length = 8192, .batch = 2, .block_size = 16, .window = 1024};
  right &= MeasureSpeed(DefaultVariant(128), windowed, matrix_rate);
  for (const Variant& variant : kVariants)
    if (Launchable(variant) && variant.transform != LogitTransform::kAlibi)
      right &= MeasureSpeed(variant, {32, 8, variant.head_dim, 8192, 2, 16}, matrix_rate);
  return right;
}

}  // namespace

bool RunPrefillMma(const Options& options) {
  std::mt19937_64 random(options.seed);
  bool right = true;
  for (const Variant& variant : kVariants)
    if (Launchable(variant)) right &= CheckVariant(variant, random);
  if (!right || options.check_only) return right;
  return MeasureAll(options.matrix_rate > 0 ? options.matrix_rate : MeasureMatrixRate());
}

}  // namespace quire::probe
