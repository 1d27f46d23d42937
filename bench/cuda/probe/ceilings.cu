#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "probe/ceilings.h"
#include "probe/cublas_lt.h"
#include "probe/stream.h"
#include "simt/simt.h"
#include "tensor/dtype.h"

namespace quire::probe {
namespace {

constexpr size_t kGiB = size_t{1} << 30;
constexpr int kReadThreads = 512;
constexpr int kReadLoads = 8;

// Reads all of `data`, eight loads of 16 bytes under way per thread. The sum depends on every word, so that no load can
// be left out; random data make it almost never the one value that is stored.
__global__ void __launch_bounds__(kReadThreads) ReadKernel(const simt::Vec4* data, size_t count, uint32_t* never) {
  const size_t stride = size_t{gridDim.x} * kReadThreads;
  uint32_t sum = 0;
  for (size_t at = size_t{blockIdx.x} * kReadThreads + threadIdx.x; at < count; at += kReadLoads * stride) {
    simt::Vec4 held[kReadLoads] = {};
    QUIRE_UNROLL
    for (int i = 0; i < kReadLoads; ++i)
      if (at + i * stride < count) held[i] = simt::LoadStreaming(data + at + i * stride);
    QUIRE_UNROLL
    for (int i = 0; i < kReadLoads; ++i) sum ^= held[i].x ^ held[i].y ^ held[i].z ^ held[i].w;
  }
  if (sum == 0x5EED5EEDU) *never = sum;
}

// FLOP/s of y[M, N] = x[M, K] w[N, K]^T.
double ProductRate(CublasLt& library, int64_t m, int64_t n, int64_t k, int calls) {
  const DeviceArray<uint16_t> x(static_cast<size_t>(m * k)), w(static_cast<size_t>(n * k)),
      y(static_cast<size_t>(m * n));
  FillNormalBf16(x.data(), x.count(), 1, 1);
  FillNormalBf16(w.data(), w.count(), 1, 2);
  const Timing timing =
      Measure([&](cudaStream_t stream) { library.Linear(x.data(), w.data(), y.data(), m, n, k, stream); }, 7, calls);
  return 2 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / timing.median;
}

void MeasureReads(const Card& card) {
  const DeviceArray<char> data(8 * kGiB);
  const DeviceArray<uint32_t> never(1);
  FillRandomBytes(data.data(), data.bytes(), 3);
  for (const int blocks_per_multiprocessor : {1, 2, 4}) {
    const Timing timing = Measure([&](cudaStream_t stream) {
      ReadKernel<<<card.multiprocessors * blocks_per_multiprocessor, kReadThreads, 0, stream>>>(
          reinterpret_cast<const simt::Vec4*>(data.data()), data.bytes() / sizeof(simt::Vec4), never.data());
      CheckLaunch("ReadKernel");
    });
    PrintLine("read only, %d x %d threads a multiprocessor: %.3f TB/s", blocks_per_multiprocessor, kReadThreads,
              static_cast<double>(data.bytes()) / timing.median * 1e-12);
  }
}

double MeasureProducts() {
  const std::unique_ptr<CublasLt> library = CublasLt::Open();
  if (library == nullptr) {
    PrintLine("cuBLASLt: not found; QUIRE_CUBLASLT names it, or LD_LIBRARY_PATH its folder");
    return 0;
  }
  const double rate = ProductRate(*library, 8192, 8192, 8192, 20);
  PrintLine("cuBLASLt bf16 [8192, 8192] x [8192, 8192]: %.0f TFLOP/s", rate * 1e-12);
  for (const int64_t m : {256, 64}) {
    const double narrow = ProductRate(*library, m, 8192, 8192, 100);
    const double bytes_per_flop = 1 / static_cast<double>(m);  // of the weights
    PrintLine("cuBLASLt bf16 [%d, 8192] x [8192, 8192]: %.0f TFLOP/s, weights at %.2f TB/s", static_cast<int>(m),
              narrow * 1e-12, narrow * bytes_per_flop * 1e-12);
  }
  return rate;
}

bool Report(bool passed, const char* what) {
  PrintLine("check %s: %s", what, passed ? "ok" : "FAILED");
  return passed;
}

// Mean 0, variance 1, no zeros, and the same numbers for the same seed.
bool CheckFill(const Options& options) {
  const DeviceArray<uint16_t> first(1000001), second(1000001);
  FillNormalBf16(first.data(), first.count(), 1, options.seed);
  FillNormalBf16(second.data(), second.count(), 1, options.seed);
  const std::vector<uint16_t> numbers = first.Download();
  double sum = 0, squares = 0;
  for (const uint16_t bits : numbers) {
    const double value = ToFloat(static_cast<Bf16>(bits));
    sum += value;
    squares += value * value;
    if (value == 0) return Report(false, "normal numbers: one is zero");
  }
  const double count = static_cast<double>(numbers.size());
  return Report(std::abs(sum / count) < 0.01 && std::abs(squares / count - 1) < 0.02 && numbers == second.Download(),
                "normal numbers");
}

bool CheckProduct(const Options& options) {
  constexpr int64_t kM = 33, kN = 48, kK = 64;
  const std::unique_ptr<CublasLt> library = CublasLt::Open();
  if (library == nullptr) return true;
  const DeviceArray<uint16_t> x(kM * kK), w(kN * kK), y(kM * kN);
  FillNormalBf16(x.data(), x.count(), 1, options.seed);
  FillNormalBf16(w.data(), w.count(), 1, options.seed + 1);
  const Stream stream;
  library->Linear(x.data(), w.data(), y.data(), kM, kN, kK, stream.get());
  stream.Wait();
  const std::vector<uint16_t> a = x.Download(), b = w.Download(), c = y.Download();
  const auto value = [](uint16_t bits) { return double{ToFloat(static_cast<Bf16>(bits))}; };
  double worst = 0;
  for (int64_t m = 0; m < kM; ++m)
    for (int64_t n = 0; n < kN; ++n) {
      double sum = 0;
      for (int64_t k = 0; k < kK; ++k) sum += value(a[m * kK + k]) * value(b[n * kK + k]);
      worst = std::max(worst, std::abs(sum - value(c[m * kN + n])) / (1 + std::abs(sum)));
    }
  return Report(worst < 0.01, "cuBLASLt's product");
}

}  // namespace

void PrintLine(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vprintf(format, arguments);
  va_end(arguments);
  std::putchar('\n');
  std::fflush(stdout);
}

double MeasureCopyBandwidth() {
  const DeviceArray<char> from(4 * kGiB), to(4 * kGiB);
  FillRandomBytes(from.data(), from.bytes(), 4);
  const Timing timing = Measure(
      [&](cudaStream_t stream) {
        Check(cudaMemcpyAsync(to.data(), from.data(), from.bytes(), cudaMemcpyDeviceToDevice, stream), "copy");
      },
      7, 2);
  return 2 * static_cast<double>(from.bytes()) / timing.median;
}

double MeasureMatrixRate() {
  const std::unique_ptr<CublasLt> library = CublasLt::Open();
  return library == nullptr ? 0 : ProductRate(*library, 8192, 8192, 8192, 20);
}

bool RunCeilings(const Options& options) {
  const Card card = DescribeCard();
  double copy_bandwidth = 0, matrix_rate = 0;
  bool passed = true;
  // One section that fails does not keep the others from running.
  const auto section = [&](const char* name, const std::function<bool()>& run) {
    try {
      passed = run() && passed;
    } catch (const DeviceError& error) {
      PrintLine("%s: %s", name, error.what());
      passed = false;
    }
  };
  const auto measured = [&](const char* name, const std::function<void()>& run) {
    section(name, [&] { return run(), true; });
  };
  section("normal numbers", [&] { return CheckFill(options); });
  section("cuBLASLt", [&] { return CheckProduct(options); });
  section("block copy", [&] { return Report(CheckBlockCopy(options), "block copy"); });
  if (options.check_only) return passed;
  measured("copy", [&] {
    copy_bandwidth = MeasureCopyBandwidth();
    PrintLine("copy on the device, read and written: %.3f TB/s", copy_bandwidth * 1e-12);
  });
  measured("cuBLASLt", [&] { matrix_rate = MeasureProducts(); });
  PrintLine("copy_bandwidth=%.6e matrix_rate=%.6e", copy_bandwidth, matrix_rate);
  measured("reads", [&] { MeasureReads(card); });
  measured("launches", [&] { MeasureLaunchCosts(card); });
  measured("block copy", [&] { MeasureBlockCopy(copy_bandwidth); });
  measured("host memory", [&] { MeasureHostTransfers(options); });
  return passed;
}

}  // namespace quire::probe
