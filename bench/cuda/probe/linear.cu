// Products of a few tokens with weights: the kernel of dequant_linear.h against sums in double precision, and a decode
// step's products of a model of Llama-3-8B's shape against the card's bandwidth and cuBLASLt.
#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/dequant_linear_testing.h"
#include "probe/ceilings.h"
#include "probe/cublas_lt.h"
#include "probe/device.h"
#include "probe/linear_launch.h"
#include "probe/stream.h"

namespace quire::probe {
namespace {

constexpr WeightFormat kFormats[] = {WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4Group128,
                                     WeightFormat::kInt4Group32};

// What blocks that share k leave for each other, for layers of up to `n` rows whose blocks are no clusters.
class Scratch {
 public:
  static constexpr int kMaxSplits = 8;

  explicit Scratch(int n)
      : partial_(size_t{kMaxSplits} * cuda::kMaxTokens * static_cast<size_t>(n)),
        arrived_(static_cast<size_t>(n / cuda::kBlockRows) * 2) {
    Check(cudaMemset(arrived_.data(), 0, arrived_.bytes()), "cudaMemset");
  }
  float* partial() const { return partial_.data(); }
  int32_t* arrived() const { return arrived_.data(); }

 private:
  DeviceArray<float> partial_;
  DeviceArray<int32_t> arrived_;
};

// --- Checks ---

// A layer's weights on the card, as the host packed them.
struct PackedLayer {
  explicit PackedLayer(const cuda::LinearCase& layer)
      : weights(std::span<const uint32_t>(cuda::PackWeights(layer))),
        row_scales(std::span<const float>(layer.row_scales)) {
    if (!layer.group_scales.empty())
      group_scales = DeviceArray<uint16_t>(std::span<const uint16_t>(cuda::PackScales(layer)));
  }

  DeviceArray<uint32_t> weights;
  DeviceArray<float> row_scales;
  DeviceArray<uint16_t> group_scales;
};

// y [m, n] of the second of two launches: the first must leave the scratch as it found it.
std::vector<uint16_t> Multiply(const cuda::LinearCase& layer, const PackedLayer& packed, const DeviceArray<uint16_t>& x,
                               int m, bool cluster) {
  DeviceArray<uint16_t> y(static_cast<size_t>(m) * static_cast<size_t>(layer.n));
  const Scratch scratch(layer.n);
  const LinearArgs args = {.weights = packed.weights.data(),
                           .group_scales = packed.group_scales.data(),
                           .row_scales = packed.row_scales.data(),
                           .x = x.data(),
                           .y = y.data(),
                           .partial = scratch.partial(),
                           .arrived = scratch.arrived(),
                           .m = m,
                           .n = layer.n,
                           .k = layer.k,
                           .x_pitch = layer.k,
                           .splits = cuda::LinearSplits(layer.n, layer.k),
                           .ahead_bytes = kLinearAheadBytes};
  const LinearKernel kernel = PrepareLinear(layer.format, m, args.splits, cluster);
  const Stream stream;
  LaunchLinear(kernel, args, false, stream.get());
  stream.Wait();
  y.Poison();
  LaunchLinear(kernel, args, false, stream.get());
  stream.Wait();
  return y.Download();
}

const char* TeamName(bool cluster) { return cluster ? "cluster" : "grid"; }

// All tokens of all batches against the host, and every batch, in clusters and not, against the largest, bit by bit.
bool CheckLayer(WeightFormat format, int n, int k, uint64_t seed) {
  const cuda::LinearCase layer = cuda::RandomCase(format, n, k, static_cast<uint32_t>(seed));
  const PackedLayer packed(layer);
  const std::vector<uint16_t> tokens = cuda::RandomTokens(cuda::kMaxTokens, k, static_cast<uint32_t>(seed) + 1);
  const DeviceArray<uint16_t> x{std::span<const uint16_t>(tokens)};
  const std::vector<uint16_t> all = Multiply(layer, packed, x, cuda::kMaxTokens, false);
  bool passed = true;
  if (const auto mismatch = cuda::FirstMismatch(layer, tokens, all, cuda::kMaxTokens)) {
    PrintLine("  %s m %d: %s", cuda::FormatName(format), cuda::kMaxTokens, mismatch->c_str());
    passed = false;
  }
  for (const int m : {1, 3, 8, 16, 33, 64})
    for (const bool cluster : {true, false}) {
      const std::vector<uint16_t> y = Multiply(layer, packed, x, m, cluster);
      if (std::equal(y.begin(), y.end(), all.begin())) continue;
      PrintLine("  %s m %d, %s: bits depend on the batch or the cluster", cuda::FormatName(format), m,
                TeamName(cluster));
      if (const auto mismatch = cuda::FirstMismatch(layer, tokens, y, m)) PrintLine("    %s", mismatch->c_str());
      passed = false;
    }
  PrintLine("linear %-9s n %5d k %5d splits %d: against double precision, m 1 to 64, and bits of every m: %s",
            cuda::FormatName(format), n, k, cuda::LinearSplits(n, k), passed ? "ok" : "FAILED");
  return passed;
}

// A chain in which every product's y is the next one's x, started early and not: a kernel that reads before its
// predecessor has written, or overwrites what another still reads, gives other bits.
bool CheckChain(int m, bool cluster, uint64_t seed) {
  constexpr int kN = 4096, kProducts = 16;
  constexpr auto kFormat = WeightFormat::kInt4Group128;
  const DeviceArray<uint32_t> weights(size_t{kN} * kN / 8 * kProducts);
  const DeviceArray<uint16_t> scales(size_t{kN} * kN / 128 * kProducts);
  FillRandomBytes(weights.data(), weights.bytes(), seed);
  FillNormalBf16(scales.data(), scales.count(), 0.0034F, seed + 1);  // 1 / (sqrt(4096) 4.6): y is as large as x
  const DeviceArray<uint16_t> a(size_t{cuda::kMaxTokens} * kN), b(size_t{cuda::kMaxTokens} * kN);
  const Scratch scratch(kN);
  const int splits = cuda::LinearSplits(kN, kN);
  const LinearKernel kernel = PrepareLinear(kFormat, m, splits, cluster);
  const auto run = [&](bool programmatic, cudaStream_t stream) {
    for (int i = 0; i < kProducts; ++i)
      LaunchLinear(kernel,
                   {.weights = weights.data() + size_t{kN} * kN / 8 * static_cast<size_t>(i),
                    .group_scales = scales.data() + size_t{kN} * kN / 128 * static_cast<size_t>(i),
                    .x = i % 2 == 0 ? a.data() : b.data(),
                    .y = i % 2 == 0 ? b.data() : a.data(),
                    .partial = scratch.partial(),
                    .arrived = scratch.arrived(),
                    .m = m,
                    .n = kN,
                    .k = kN,
                    .x_pitch = kN,
                    .splits = splits,
                    .ahead_bytes = kLinearAheadBytes},
                   programmatic, stream);
  };
  const Stream stream;
  std::array<std::vector<uint16_t>, 2> results;
  for (const bool programmatic : {false, true}) {
    FillNormalBf16(a.data(), a.count(), 1, seed + 2);
    run(programmatic, stream.get());
    stream.Wait();
    results[programmatic] = a.Download(0, static_cast<size_t>(m) * kN);
  }
  const bool finite =
      std::all_of(results[0].begin(), results[0].end(), [](uint16_t bits) { return (bits & 0x7F80U) != 0x7F80U; });
  const bool passed = finite && results[0] == results[1];
  PrintLine("linear chain of %d, m %d, %s: same bits with early starts: %s", kProducts, m, TeamName(cluster),
            passed ? "ok" : "FAILED");
  return passed;
}

bool CheckAll(uint64_t seed) {
  bool passed = true;
  for (const WeightFormat format : kFormats) {
    passed = CheckLayer(format, 256, 640, seed) && passed;
    passed = CheckLayer(format, 384, 2048, seed + 10) && passed;
    passed = CheckLayer(format, 512, 4096, seed + 20) && passed;
    passed = CheckLayer(format, 256, 7168, seed + 30) && passed;
  }
  for (const int m : {1, 16, 64})
    for (const bool cluster : {true, false}) passed = CheckChain(m, cluster, seed + 40) && passed;
  return passed;
}

// --- A model ---

struct Layer {
  const char* name;
  int n, k;
};
constexpr int kNumLayers = 32;
constexpr Layer kLayers[] = {{"qkv", 6144, 4096}, {"o", 4096, 4096}, {"gate_up", 28672, 4096}, {"down", 4096, 14336}};
constexpr Layer kHead = {"head", 128256, 4096};
constexpr int kLongestK = 14336;

int64_t Weights(const Layer& layer) { return int64_t{layer.n} * layer.k; }
int64_t WeightsOfLayers() {
  int64_t sum = 0;
  for (const Layer& layer : kLayers) sum += Weights(layer);
  return sum;
}

double WeightBytes(WeightFormat format, int64_t weights) {
  const int group = cuda::GroupSize(format);
  const double bits = cuda::WeightBits(format) + (group == 0 ? 0.0 : 16.0 / group);
  return static_cast<double>(weights) * bits / 8;
}

// Operands of every product of a step. All formats share the memory of their weights, which are random in each; every
// layer has its own, so that none is still in the cache. Tokens are random too and not the products of the layers
// before: values cannot grow, and a kernel waits for its predecessor all the same.
class Model {
 public:
  explicit Model(uint64_t seed)
      : weights_(static_cast<size_t>(WeightsOfLayers()) * kNumLayers),
        scales_(weights_.count() / 32),
        head_(static_cast<size_t>(Weights(kHead))),
        row_scales_(static_cast<size_t>(kHead.n)),
        x_(size_t{cuda::kMaxTokens} * kLongestK),
        y_(size_t{cuda::kMaxTokens} * static_cast<size_t>(kHead.n)),
        scratch_(kHead.n) {
    FillNormalBf16(weights_.data(), weights_.count(), 0.02F, seed);
    FillNormalBf16(head_.data(), head_.count(), 0.02F, seed + 1);
    FillNormalBf16(scales_.data(), scales_.count(), 0.01F, seed + 2);
    FillNormalBf16(x_.data(), x_.count(), 1, seed + 3);
    row_scales_.Upload(std::vector<float>(row_scales_.count(), 0.001F));
  }

  // Codes of all values: bf16 numbers would make fewer bits switch.
  void FillCodes(uint64_t seed) { FillRandomBytes(weights_.data(), weights_.bytes() / 2, seed); }

  // Operands of a layer whose first weight is number `first` of the model's.
  LinearArgs Args(WeightFormat format, const Layer& layer, int64_t first, int m) const {
    const int group = cuda::GroupSize(format);
    return {.weights = reinterpret_cast<const char*>(weights_.data()) + first * cuda::WeightBits(format) / 8,
            .group_scales = group == 0 ? nullptr : scales_.data() + first / group,
            .row_scales = row_scales_.data(),
            .x = x_.data(),
            .y = y_.data(),
            .partial = scratch_.partial(),
            .arrived = scratch_.arrived(),
            .m = m,
            .n = layer.n,
            .k = layer.k,
            .x_pitch = layer.k,
            .splits = cuda::LinearSplits(layer.n, layer.k),
            .ahead_bytes = kLinearAheadBytes};
  }
  LinearArgs HeadArgs(int m) const {
    LinearArgs args = Args(WeightFormat::kBf16, kHead, 0, m);
    args.weights = head_.data();
    return args;
  }

 private:
  DeviceArray<uint16_t> weights_, scales_, head_;
  DeviceArray<float> row_scales_;
  DeviceArray<uint16_t> x_, y_;
  Scratch scratch_;
};

// Visits (layer, its first weight) in the order of a step, or only those of one kind.
template <typename Visit>
void ForLayers(const Layer* only, Visit visit) {
  int64_t first = 0;
  for (int i = 0; i < kNumLayers; ++i)
    for (const Layer& layer : kLayers) {
      if (only == nullptr || only == &layer) visit(layer, first);
      first += Weights(layer);
    }
}

struct Ours {
  WeightFormat format;
  int m;
  bool cluster = true;
  bool programmatic = true;
  int splits = 0;  // 0: LinearSplits
  int ahead_bytes = kLinearAheadBytes;
};

// In one graph, whose own launch costs as much as a small layer or two.
int CallsOf(const Layer* only) { return only == nullptr ? 2 : 4; }

double TimeLayers(const Model& model, const Ours& how, const Layer* only) {
  const auto launch = [&](WeightFormat format, LinearArgs args, cudaStream_t stream) {
    if (how.splits != 0) args.splits = how.splits;
    args.ahead_bytes = how.ahead_bytes;
    LaunchLinear(PrepareLinear(format, how.m, args.splits, how.cluster), args, how.programmatic, stream);
  };
  const auto work = [&](cudaStream_t stream) {
    ForLayers(only, [&](const Layer& layer, int64_t first) {
      launch(how.format, model.Args(how.format, layer, first, how.m), stream);
    });
    if (only == nullptr) launch(WeightFormat::kBf16, model.HeadArgs(how.m), stream);
  };
  return MeasureGraph(work, 5, CallsOf(only)).median;
}

double TimeCublas(CublasLt& library, const Model& model, int m, const Layer* only) {
  const auto multiply = [&](const LinearArgs& args, cudaStream_t stream) {
    library.Linear(args.x, static_cast<const uint16_t*>(args.weights), args.y, args.m, args.n, args.k, stream);
  };
  const auto work = [&](cudaStream_t stream) {
    ForLayers(only, [&](const Layer& layer, int64_t first) {
      multiply(model.Args(WeightFormat::kBf16, layer, first, m), stream);
    });
    if (only == nullptr) multiply(model.HeadArgs(m), stream);
  };
  return MeasureGraph(work, 5, CallsOf(only)).median;
}

// --- Tables ---

class Tables {
 public:
  Tables(const Model& model, CublasLt* library, double bandwidth)
      : model_(model), library_(library), bandwidth_(bandwidth) {}

  void Steps(WeightFormat format) const {
    for (const int m : {1, 4, 8, 16, 32, 64}) {
      Step(format, m, TimeLayers(model_, {format, m}, nullptr), cuda::FormatName(format));
      for (const Variant& variant : Variants(format, m))
        Step(format, m, TimeLayers(model_, variant.how, nullptr), ("  " + variant.name).c_str());
      if (format == WeightFormat::kBf16 && library_ != nullptr)
        Step(format, m, TimeCublas(*library_, model_, m, nullptr), "bf16 cuBLASLt");
    }
  }

  void Kinds(WeightFormat format) const {
    for (const int m : {1, 16, 64}) {
      Kinds(cuda::FormatName(format), format, m, [&](const Layer* layer) {
        return TimeLayers(model_, {format, m}, layer);
      });
      if (format == WeightFormat::kBf16 && library_ != nullptr)
        Kinds("bf16 cuBLASLt", format, m, [&](const Layer* layer) { return TimeCublas(*library_, model_, m, layer); });
    }
  }

  // Other splits than the layer's own, of which these are the reasons, in clusters and not.
  void Splits(WeightFormat format) const {
    const LinearKernel narrow = PrepareLinear(format, 1, 4);
    PrintLine("  clusters at once of 2, 4, 7, 8 blocks (m 1): %d, %d, %d, %d", MostClusters(narrow, 2),
              MostClusters(narrow, 4), MostClusters(narrow, 7), MostClusters(narrow, 8));
    for (const Layer& layer : kLayers)
      for (const bool cluster : {true, false}) {
        if (!cluster && layer.n > 8192) continue;
        std::string line;
        for (const int splits : {1, 2, 4, 7, 8})
          if (layer.k % (splits * cuda::kSplitSlices * cuda::kUnit) == 0)
            line += "  " + std::to_string(splits) + ": " +
                    Microseconds(
                        TimeLayers(model_, {.format = format, .m = 1, .cluster = cluster, .splits = splits}, &layer) /
                        kNumLayers);
        PrintLine("  %-10s m 1 %-8s us by splits (own: %d), %s%s", cuda::FormatName(format), layer.name,
                  cuda::LinearSplits(layer.n, layer.k), TeamName(cluster), line.c_str());
      }
  }

 private:
  struct Variant {
    std::string name;
    Ours how;
  };
  // What is to be decided between, beside the default.
  static std::vector<Variant> Variants(WeightFormat format, int m) {
    std::vector<Variant> variants;
    const auto add = [&](const char* name, auto change) {
      Ours how = {format, m};
      change(how);
      variants.push_back({name, how});
    };
    if (m == 1 || m == 16) add("meet in global memory", [](Ours& how) { how.cluster = false; });
    if (m == 1) {
      add("no early start", [](Ours& how) { how.programmatic = false; });
      add("8 KiB ahead", [](Ours& how) { how.ahead_bytes = 8192; });
    }
    return variants;
  }

  static std::string Microseconds(double seconds) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", seconds * 1e6);
    return text;
  }

  void Step(WeightFormat format, int m, double seconds, const char* name) const {
    const double bytes =
        WeightBytes(format, WeightsOfLayers() * kNumLayers) + WeightBytes(WeightFormat::kBf16, Weights(kHead));
    PrintLine("  %-24s m %2d  %7.3f ms  %8.0f tokens/s  %5.1f %% of bandwidth", name, m, seconds * 1e3, m / seconds,
              100 * bytes / seconds / bandwidth_);
  }

  void Kinds(const char* name, WeightFormat format, int m, const std::function<double(const Layer*)>& time) const {
    std::string line;
    for (const Layer& layer : kLayers) {
      const double seconds = time(&layer) / kNumLayers;
      char text[64];
      std::snprintf(text, sizeof text, "  %s %.2f (%.0f %%)", layer.name, seconds * 1e6,
                    100 * WeightBytes(format, Weights(layer)) / seconds / bandwidth_);
      line += text;
    }
    PrintLine("  %-14s m %2d us of a layer (share of bandwidth):%s", name, m, line.c_str());
  }

  const Model& model_;
  CublasLt* library_;
  double bandwidth_;
};

}  // namespace

bool RunLinear(const Options& options) {
  const bool passed = CheckAll(options.seed);
  if (options.check_only) return passed;
  const double bandwidth = options.copy_bandwidth > 0 ? options.copy_bandwidth : MeasureCopyBandwidth();
  const std::unique_ptr<CublasLt> library = CublasLt::Open();
  Model model(options.seed);
  const Tables tables(model, library.get(), bandwidth);
  PrintLine("a decode step's products: %d layers of Llama-3-8B's shape and a bf16 head; bandwidth %.3f TB/s",
            kNumLayers, bandwidth * 1e-12);
  for (const WeightFormat format : kFormats) {
    if (format == WeightFormat::kInt8) model.FillCodes(options.seed + 4);
    tables.Steps(format);
    tables.Kinds(format);
  }
  tables.Splits(WeightFormat::kInt4Group128);
  return passed;
}

}  // namespace quire::probe
