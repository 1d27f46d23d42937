// What a step pays per kernel and per graph, whatever the kernels do.
#include <algorithm>
#include <chrono>

#include "probe/ceilings.h"
#include "probe/stream.h"
#include "simt/simt.h"

namespace quire::probe {
namespace {

constexpr int kChain = 1000;
constexpr int kSmallThreads = 128;

// Waits for the kernel before it, as every kernel of a step must, and does nothing.
__global__ void EmptyKernel() {
  simt::DependencyLaunch();
  simt::DependencyWait();
}

// 16 bytes a thread, read from what the kernel before it wrote: the least a kernel of a step does.
__global__ void __launch_bounds__(kSmallThreads) SmallKernel(simt::Vec4* data) {
  simt::DependencyLaunch();
  simt::DependencyWait();
  simt::Vec4* mine = data + blockIdx.x * kSmallThreads + threadIdx.x;
  simt::Vec4 v = simt::Load16(mine);
  ++v.x;
  simt::Store16(mine, v);
}

template <typename... Parameters, typename... Values>
void Launch(void (*kernel)(Parameters...), int grid, int threads, bool overlap, cudaStream_t stream, Values... values) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  Check(cudaLaunchKernelEx(&config, kernel, values...), "launch");
}

void LaunchEmpty(cudaStream_t stream) { Launch(EmptyKernel, 1, 32, false, stream); }

// Overlapping launches need sm_90.
void MeasureChains(const Card& card) {
  const DeviceArray<simt::Vec4> data(static_cast<size_t>(card.multiprocessors) * kSmallThreads);
  Check(cudaMemset(data.data(), 0, data.bytes()), "cudaMemset");
  for (const bool overlap : {false, true}) {
    if (overlap && card.major < 9) continue;
    const char* how = overlap ? "programmatic dependent launch" : "plain edges";
    const Timing empty =
        MeasureGraph([&](cudaStream_t stream) { Launch(EmptyKernel, 1, 32, overlap, stream); }, 7, kChain);
    PrintLine("graph of %d empty kernels, %s: %.2f us a kernel", kChain, how, empty.median * 1e6);
    const Timing small = MeasureGraph(
        [&](cudaStream_t stream) {
          Launch(SmallKernel, card.multiprocessors, kSmallThreads, overlap, stream, data.data());
        },
        7, kChain);
    PrintLine("graph of %d small kernels of %d CTAs, %s: %.2f us a kernel", kChain, card.multiprocessors, how,
              small.median * 1e6);
  }
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Host times: of the launch call alone, and until the graph has ended.
void MeasureGraphLaunch(int kernels, int samples) {
  using Clock = std::chrono::steady_clock;
  const Stream stream;
  LaunchEmpty(stream.get());
  stream.Wait();
  const Graph graph(stream, LaunchEmpty, kernels);
  std::vector<double> launched, ended;
  for (int i = 0; i < samples; ++i) {
    const Clock::time_point begin = Clock::now();
    graph.Launch(stream);
    launched.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
    stream.Wait();
    ended.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  PrintLine("cudaGraphLaunch of %d empty kernels: %.2f us on the host, %.2f us to the end", kernels,
            Median(launched) * 1e6, Median(ended) * 1e6);
}

}  // namespace

void MeasureLaunchCosts(const Card& card) {
  MeasureChains(card);
  MeasureGraphLaunch(0, 201);
  MeasureGraphLaunch(1, 201);
  MeasureGraphLaunch(kChain, 51);
}

}  // namespace quire::probe
