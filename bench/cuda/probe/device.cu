#include <algorithm>

#include "probe/device.h"
#include "probe/stream.h"

namespace quire::probe {
namespace {

constexpr int kThreads = 256;
constexpr size_t kMaxBlocks = 8192;

int BlocksFor(size_t items) {
  return static_cast<int>(std::clamp<size_t>((items + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

// The output of splitmix64 at a counter: every number is a pure function of seed and place.
__device__ uint64_t HashOf(uint64_t seed, uint64_t counter) {
  uint64_t z = (seed * 0xD1342543DE82EF95ULL) + (counter + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// Uniform strictly between 0 and 1: the middles of 2^23 intervals, each of which a float holds exactly.
__device__ float OpenUniform(uint32_t bits) { return (static_cast<float>(bits >> 9) + 0.5F) * 0x1p-23F; }

__device__ uint16_t Bf16Bits(float value) {
  const uint32_t bits = __float_as_uint(value);
  return static_cast<uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

// A pair of normal numbers from a pair of uniform ones (Box and Muller), neither of them zero.
__global__ void FillNormalKernel(uint16_t* data, size_t count, float scale, uint64_t seed) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t pair = size_t{blockIdx.x} * blockDim.x + threadIdx.x; 2 * pair < count; pair += stride) {
    const uint64_t bits = HashOf(seed, pair);
    const float radius = scale * sqrtf(-2.0F * logf(OpenUniform(static_cast<uint32_t>(bits))));
    float sine, cosine;
    sincospif(2.0F * OpenUniform(static_cast<uint32_t>(bits >> 32)), &sine, &cosine);
    data[2 * pair] = Bf16Bits(radius * cosine);
    if (2 * pair + 1 < count) data[2 * pair + 1] = Bf16Bits(radius * sine);
  }
}

__global__ void FillBytesKernel(uint8_t* data, size_t bytes, uint64_t seed) {
  const size_t stride = size_t{gridDim.x} * blockDim.x;
  for (size_t word = size_t{blockIdx.x} * blockDim.x + threadIdx.x; 8 * word < bytes; word += stride) {
    const uint64_t bits = HashOf(seed, word);
    if (8 * word + 8 <= bytes) {
      reinterpret_cast<uint64_t*>(data)[word] = bits;
      continue;
    }
    for (size_t i = 8 * word; i < bytes; ++i) data[i] = static_cast<uint8_t>(bits >> (8 * (i - 8 * word)));
  }
}

Timing Summarise(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return {.median = seconds[seconds.size() / 2], .min = seconds.front(), .max = seconds.back()};
}

double TimeOnce(const Stream& stream, const std::function<void()>& run) {
  Event begin, end;
  begin.Record(stream);
  run();
  end.Record(stream);
  return end.SecondsSince(begin);
}

// A card that was idle takes tens of milliseconds to raise its clocks.
void WarmUp(const Stream& stream, const std::function<void()>& run) {
  constexpr int kLeastRuns = 2;
  constexpr double kLeastSeconds = 0.04;
  double seconds = 0;
  for (int i = 0; i < kLeastRuns || seconds < kLeastSeconds; ++i) seconds += TimeOnce(stream, run);
}

// Times `run`, which does `calls` calls of the work measured.
Timing TimeRuns(const Stream& stream, const std::function<void()>& run, int samples, int calls) {
  WarmUp(stream, run);
  std::vector<double> seconds;
  for (int i = 0; i < samples; ++i) seconds.push_back(TimeOnce(stream, run) / calls);
  Check(cudaGetLastError(), "work that was measured");
  return Summarise(std::move(seconds));
}

}  // namespace

void Check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw DeviceError(std::string(what) + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")");
}

Card DescribeCard() {
  int count = 0;
  Check(cudaGetDeviceCount(&count), "there is no CUDA device to probe: cudaGetDeviceCount");
  if (count == 0) throw DeviceError("there is no CUDA device to probe: cudaGetDeviceCount found none");
  cudaDeviceProp properties;
  Check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  size_t free_bytes = 0, total_bytes = 0;
  Check(cudaMemGetInfo(&free_bytes, &total_bytes), "cudaMemGetInfo");
  return {.name = properties.name,
          .multiprocessors = properties.multiProcessorCount,
          .major = properties.major,
          .minor = properties.minor,
          .l2_bytes = static_cast<size_t>(properties.l2CacheSize),
          .memory_bytes = total_bytes,
          .free_bytes = free_bytes};
}

void FillNormalBf16(uint16_t* data, size_t count, float scale, uint64_t seed) {
  if (count == 0) return;
  FillNormalKernel<<<BlocksFor((count + 1) / 2), kThreads>>>(data, count, scale, seed);
  CheckLaunch("FillNormalKernel");
  Check(cudaDeviceSynchronize(), "FillNormalKernel");
}

void FillRandomBytes(void* data, size_t bytes, uint64_t seed) {
  if (bytes == 0) return;
  FillBytesKernel<<<BlocksFor((bytes + 7) / 8), kThreads>>>(static_cast<uint8_t*>(data), bytes, seed);
  CheckLaunch("FillBytesKernel");
  Check(cudaDeviceSynchronize(), "FillBytesKernel");
}

Graph::Graph(const Stream& stream, const std::function<void(cudaStream_t)>& work, int calls) {
  cudaGraph_t graph = nullptr;
  Check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    for (int i = 0; i < calls; ++i) work(stream.get());
  } catch (...) {
    cudaStreamEndCapture(stream.get(), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  Check(cudaStreamEndCapture(stream.get(), &graph), "cudaStreamEndCapture");
  const cudaError_t status = cudaGraphInstantiate(&handle_, graph, 0);
  cudaGraphDestroy(graph);
  Check(status, "cudaGraphInstantiate");
}

Timing Measure(const std::function<void(cudaStream_t)>& work, int samples, int calls) {
  Stream stream;
  const auto run = [&] {
    for (int i = 0; i < calls; ++i) work(stream.get());
  };
  return TimeRuns(stream, run, samples, calls);
}

std::vector<Timing> MeasureInTurn(const std::vector<std::function<void(cudaStream_t)>>& works, int samples) {
  Stream stream;
  std::vector<std::vector<double>> seconds(works.size());
  for (const auto& work : works) WarmUp(stream, [&] { work(stream.get()); });
  for (int i = 0; i < samples; ++i)
    for (size_t w = 0; w < works.size(); ++w) seconds[w].push_back(TimeOnce(stream, [&] { works[w](stream.get()); }));
  Check(cudaGetLastError(), "work that was measured");
  std::vector<Timing> timings;
  for (auto& all : seconds) timings.push_back(Summarise(std::move(all)));
  return timings;
}

Timing MeasureGraph(const std::function<void(cudaStream_t)>& work, int samples, int calls) {
  Stream stream;
  work(stream.get());
  stream.Wait();
  const Graph graph(stream, work, calls);
  return TimeRuns(
      stream, [&] { graph.Launch(stream); }, samples, calls);
}

}  // namespace quire::probe
