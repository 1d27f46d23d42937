// The linear layers of a decoder of Llama-3.2-1B's shape, all layers distinct so that weights stream from memory:
// tokens/s at several batch sizes, and the share of what the machine allows at that moment:
// max(weight bytes / read bandwidth, operations / peak).
//
//   bench_linear [--isa NAME] [--threads N] [--layers N] [--repeats N] [--format bf16|f32] [--rows 1,8,512]
//
// Other processes and the host change bandwidth and clock from moment to moment: each pass stands between two probes,
// its share is taken against their mean, passes whose probes differ by more than a quarter are dropped, and medians are
// printed.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "backend/backend.h"
#include "backend/backend_factory.h"
#include "base/rng.h"
#include "probes.h"
#include "tensor/buffer.h"

namespace quire::bench {
namespace {

struct Options {
  std::string isa = SupportedCpuIsas().back();
  int threads = static_cast<int>(std::thread::hardware_concurrency());
  int layers = 16;
  int repeats = 5;
  DType format = DType::kBf16;
  std::vector<int64_t> rows = {1, 4, 8, 16, 32, 64, 512};
};

std::vector<int64_t> ParseList(const std::string& text) {
  std::vector<int64_t> values;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    values.push_back(std::atoll(text.substr(begin, end - begin).c_str()));
    begin = end + 1;
  }
  return values;
}

bool ParseOptions(int argc, char** argv, Options& options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string name = argv[i], value = argv[i + 1];
    if (name == "--isa")
      options.isa = value == "auto" ? SupportedCpuIsas().back() : value;
    else if (name == "--threads")
      options.threads = std::atoi(value.c_str());
    else if (name == "--layers")
      options.layers = std::atoi(value.c_str());
    else if (name == "--repeats")
      options.repeats = std::atoi(value.c_str());
    else if (name == "--format")
      options.format = value == "f32" ? DType::kF32 : DType::kBf16;
    else if (name == "--rows")
      options.rows = ParseList(value);
    else
      return false;
  }
  return argc % 2 == 1;
}

struct Shape {
  const char* name;
  int64_t out_features, in_features;
};
constexpr Shape kLayer[] = {{"qkv", 3072, 2048}, {"o", 2048, 2048}, {"gate_up", 16384, 2048}, {"down", 2048, 8192}};
constexpr Shape kHead = {"head", 32768, 2048};
constexpr int64_t kMaxWidth = 32768;

// Weights, operands and the backend they run on.
class Stack {
 public:
  static Stack Make(const Options& options) {
    auto backend = MakeCpuBackend({.num_threads = options.threads, .isa = options.isa});
    if (!backend.ok()) {
      fmt::print(stderr, "{}\n", backend.error().message);
      std::exit(2);
    }
    return Stack(std::move(backend).value(), options);
  }

  double weight_bytes() const { return weight_bytes_; }
  double flops_per_row() const { return flops_per_row_; }
  std::string name() const { return backend_->name(); }

  void Pass(int64_t rows) {
    for (const auto& weight : weights_) {
      const Tensor x(x_.data(), DType::kF32, {rows, weight->in_features()}, Place::kDevice);
      const Tensor y(y_.data(), DType::kF32, {rows, weight->out_features()}, Place::kDevice);
      backend_->Linear({.batch = batch_.get(), .x = x, .weight = weight.get(), .y = y});
    }
  }

 private:
  Stack(std::unique_ptr<Backend> backend, const Options& options) : backend_(std::move(backend)) {
    const int64_t max_rows = *std::max_element(options.rows.begin(), options.rows.end());
    const auto values = static_cast<size_t>(max_rows * kMaxWidth);
    x_ = AllocateOrExit(values * sizeof(float));
    y_ = AllocateOrExit(values * sizeof(float));
    batch_ = backend_->NewBatch({.max_rows = max_rows, .max_features = kMaxWidth}).value();
    FillRandom(static_cast<float*>(x_.data()), values);
    Buffer source = AllocateOrExit(static_cast<size_t>(kHead.out_features * kHead.in_features) * sizeof(float));
    FillRandom(static_cast<float*>(source.data()), source.bytes() / sizeof(float));
    for (int layer = 0; layer < options.layers; ++layer) {
      for (const Shape& shape : kLayer) AddWeight(shape, options.format, source);
    }
    AddWeight(kHead, options.format, source);
  }

  static Buffer AllocateOrExit(size_t bytes) {
    auto buffer = Buffer::Allocate(bytes);
    if (!buffer.ok()) std::exit(2);
    return std::move(buffer).value();
  }

  static void FillRandom(float* values, size_t n) {
    for (size_t i = 0; i < n; i += 4) {
      const auto bits = Philox({.position = static_cast<uint32_t>(i)}, 0);
      for (size_t j = 0; j < 4; ++j) values[i + j] = static_cast<float>(bits[j]) * 0x1p-32F - 0.5F;
    }
  }

  void AddWeight(const Shape& shape, DType format, Buffer& source) {
    const TensorMatrix matrix(Tensor(source.data(), DType::kF32, {shape.out_features, shape.in_features}));
    const MatrixPart parts[] = {WholeOf(matrix)};
    weights_.push_back(backend_->PackLinear(parts, format, HostMemory()).value());
    weight_bytes_ += static_cast<double>(weights_.back()->bytes());
    flops_per_row_ += 2.0 * static_cast<double>(shape.out_features * shape.in_features);
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Batch> batch_;
  Buffer x_, y_;
  std::vector<std::unique_ptr<PackedLinear>> weights_;
  double weight_bytes_ = 0, flops_per_row_ = 0;
};

struct Rates {
  double bandwidth, flops;
};

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Benchmark {
 public:
  explicit Benchmark(const Options& options)
      : options_(options),
        team_(*ThreadTeam::Start(options.threads)),
        memory_(*Buffer::Allocate(size_t{384} << 20)),
        stack_(Stack::Make(options)) {
    std::memset(memory_.data(), 1, memory_.bytes());
  }

  void Run() {
    fmt::print("{} on {} threads, {} weights of {:.2f} GB\n", stack_.name(), options_.threads,
               DTypeName(options_.format), stack_.weight_bytes() * 1e-9);
    const PeakRates peak = ProbePeak(team_, options_.isa);
    fmt::print("peak now: {:.0f} GFLOP/s float32, {:.0f} GFLOP/s bf16 products; reads {:.1f} GB/s\n",
               peak.f32_flops * 1e-9, peak.bf16_flops * 1e-9, Probe().bandwidth * 1e-9);
    fmt::print("{:>5} {:>10} {:>8} {:>9} {:>10} {:>10} {:>7}\n", "rows", "tokens/s", "GB/s", "GFLOP/s", "of memory",
               "of compute", "share");
    for (const int64_t rows : options_.rows) RunRows(rows);
  }

 private:
  Rates Probe() {
    const std::span<const char> memory(static_cast<const char*>(memory_.data()), memory_.bytes());
    const PeakRates peak = ProbePeak(team_, options_.isa);
    return {ProbeReadBandwidth(team_, memory), options_.format == DType::kF32 ? peak.f32_flops : peak.bf16_flops};
  }

  static bool Differ(double a, double b) { return std::max(a, b) > 1.25 * std::min(a, b); }

  void RunRows(int64_t rows) {
    stack_.Pass(rows);
    const double bytes = stack_.weight_bytes(), flops = stack_.flops_per_row() * static_cast<double>(rows);
    std::vector<double> seconds, of_memory, of_compute, shares;
    int dropped = 0;
    Rates before = Probe();
    while (static_cast<int>(seconds.size()) < options_.repeats && dropped < 3 * options_.repeats) {
      const double start = Now();
      stack_.Pass(rows);
      const double elapsed = Now() - start;
      const Rates after = Probe();
      const double memory = bytes / ((before.bandwidth + after.bandwidth) / 2);
      const double compute = flops / ((before.flops + after.flops) / 2);
      const bool unsteady =
          memory > compute ? Differ(before.bandwidth, after.bandwidth) : Differ(before.flops, after.flops);
      before = after;
      if (unsteady) {
        ++dropped;
        continue;
      }
      seconds.push_back(elapsed);
      of_memory.push_back(100 * memory / elapsed);
      of_compute.push_back(100 * compute / elapsed);
      shares.push_back(std::max(of_memory.back(), of_compute.back()));
    }
    const double t = Median(seconds);
    fmt::print("{:>5} {:>10.1f} {:>8.1f} {:>9.1f} {:>9.0f}% {:>9.0f}% {:>6.0f}%  ({} passes, {} dropped)\n", rows,
               static_cast<double>(rows) / t, bytes / t * 1e-9, flops / t * 1e-9, Median(of_memory), Median(of_compute),
               Median(shares), seconds.size(), dropped);
    std::fflush(stdout);
  }

  Options options_;
  ThreadTeam team_;
  Buffer memory_;
  Stack stack_;
};

}  // namespace
}  // namespace quire::bench

int main(int argc, char** argv) {
  quire::bench::Options options;
  if (!quire::bench::ParseOptions(argc, argv, options)) {
    fmt::print(stderr,
               "usage: bench_linear [--isa NAME] [--threads N] [--layers N] [--repeats N] "
               "[--format bf16|f32] [--rows 1,8,512]\n");
    return 2;
  }
  quire::bench::Benchmark(options).Run();
}
