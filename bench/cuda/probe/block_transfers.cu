// Blocks of the KV cache on the move: copied within the device's pool, swapped to host memory and back.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "kernels/block_copy.h"
#include "probe/ceilings.h"
#include "probe/stream.h"

namespace quire::probe {
namespace {

using cuda::BlockCopyArgs;
using cuda::BlockPair;

constexpr int64_t kKiB = 1024;
constexpr size_t kGiB = size_t{1} << 30;
constexpr int kScattered = 1000;

__global__ void __launch_bounds__(cuda::kBlockCopyThreads) BlockCopyKernel(BlockCopyArgs args) {
  cuda::CopyBlocks(args);
}

void LaunchBlockCopy(const BlockCopyArgs& args, cudaStream_t stream) {
  constexpr int64_t kMaxGrid = 4096;
  const int64_t grid = std::clamp<int64_t>(cuda::BlockCopyChunks(args), 1, kMaxGrid);
  BlockCopyKernel<<<static_cast<unsigned>(grid), cuda::kBlockCopyThreads, 0, stream>>>(args);
  CheckLaunch("BlockCopyKernel");
}

std::vector<uint32_t> Shuffled(uint32_t begin, uint32_t count, std::mt19937& random) {
  std::vector<uint32_t> blocks(count);
  std::iota(blocks.begin(), blocks.end(), begin);
  std::shuffle(blocks.begin(), blocks.end(), random);
  return blocks;
}

// Pairs all over a pool of 2 count blocks: random sources in its lower half, targets in its upper one.
std::vector<BlockPair> PairsWithin(uint32_t count, std::mt19937& random) {
  const std::vector<uint32_t> from = Shuffled(0, count, random), to = Shuffled(count, count, random);
  std::vector<BlockPair> pairs(count);
  for (uint32_t i = 0; i < count; ++i) pairs[i] = {from[i], to[i]};
  return pairs;
}

std::vector<BlockPair> PairsAcross(uint32_t count, std::mt19937& random) {
  const std::vector<uint32_t> from = Shuffled(0, count, random), to = Shuffled(0, count, random);
  std::vector<BlockPair> pairs(count);
  for (uint32_t i = 0; i < count; ++i) pairs[i] = {from[i], to[i]};
  return pairs;
}

// Pinned: the device reads and writes it at the same address.
class HostMemory {
 public:
  explicit HostMemory(size_t bytes) : bytes_(bytes) {
    Check(cudaHostAlloc(reinterpret_cast<void**>(&data_), bytes, cudaHostAllocDefault), "cudaHostAlloc");
    std::memset(data_, 0x5A, bytes);
  }
  ~HostMemory() { cudaFreeHost(data_); }
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  size_t bytes_;
};

double GigabytesPerSecond(int64_t bytes, const Timing& timing) {
  return static_cast<double>(bytes) / timing.median * 1e-9;
}

void MeasureWhole(const char* name, char* to, const char* from, size_t bytes) {
  const Timing timing = Measure([&](cudaStream_t stream) {
    Check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream), "cudaMemcpyAsync");
  });
  PrintLine("%s, one copy of %zu MiB: %.1f GB/s", name, bytes >> 20,
            GigabytesPerSecond(static_cast<int64_t>(bytes), timing));
}

void MeasureScattered(const char* name, char* to, const char* from, int64_t block_bytes, std::mt19937& random) {
  const std::vector<BlockPair> pairs = PairsAcross(kScattered, random);
  const DeviceArray<BlockPair> on_device{std::span<const BlockPair>(pairs)};
  const BlockCopyArgs args = {
      .from = from, .to = to, .pairs = on_device.data(), .num_pairs = kScattered, .block_bytes = block_bytes};
  const Timing one_by_one = Measure(
      [&](cudaStream_t stream) {
        for (const BlockPair& pair : pairs)
          Check(cudaMemcpyAsync(to + pair.to * block_bytes, from + pair.from * block_bytes,
                                static_cast<size_t>(block_bytes), cudaMemcpyDefault, stream),
                "cudaMemcpyAsync");
      },
      3);
  const Timing kernel = Measure([&](cudaStream_t stream) { LaunchBlockCopy(args, stream); }, 3);
  const int64_t bytes = kScattered * block_bytes;
  PrintLine("%s, %d blocks of %d KiB: %.1f GB/s one by one, %.1f GB/s by a kernel", name, kScattered,
            static_cast<int>(block_bytes / kKiB), GigabytesPerSecond(bytes, one_by_one),
            GigabytesPerSecond(bytes, kernel));
}

}  // namespace

bool CheckBlockCopy(const Options& options) {
  std::mt19937 random(static_cast<uint32_t>(options.seed));
  for (const int64_t block_bytes : {int64_t{16}, int64_t{16400}, 64 * kKiB}) {
    constexpr uint32_t kPairs = 37;
    const std::vector<BlockPair> pairs = PairsWithin(kPairs, random);
    const DeviceArray<BlockPair> on_device{std::span<const BlockPair>(pairs)};
    const DeviceArray<char> pool(2 * kPairs * static_cast<size_t>(block_bytes));
    FillRandomBytes(pool.data(), pool.bytes(), options.seed);
    std::vector<char> expected = pool.Download();
    for (const BlockPair& pair : pairs)
      std::memcpy(expected.data() + pair.to * block_bytes, expected.data() + pair.from * block_bytes,
                  static_cast<size_t>(block_bytes));
    LaunchBlockCopy({.from = pool.data(),
                     .to = pool.data(),
                     .pairs = on_device.data(),
                     .num_pairs = kPairs,
                     .block_bytes = block_bytes},
                    nullptr);
    Check(cudaDeviceSynchronize(), "BlockCopyKernel");
    if (pool.Download() != expected) return false;
  }
  return true;
}

void MeasureBlockCopy(double copy_bandwidth) {
  std::mt19937 random(5);
  const DeviceArray<char> pool(4 * kGiB);
  FillRandomBytes(pool.data(), pool.bytes(), 5);
  const auto measure = [&](int64_t block_bytes, uint32_t count, int calls) {
    const std::vector<BlockPair> pairs = PairsWithin(count, random);
    const DeviceArray<BlockPair> on_device{std::span<const BlockPair>(pairs)};
    const BlockCopyArgs args = {.from = pool.data(),
                                .to = pool.data(),
                                .pairs = on_device.data(),
                                .num_pairs = static_cast<int32_t>(count),
                                .block_bytes = block_bytes};
    const Timing timing = MeasureGraph([&](cudaStream_t stream) { LaunchBlockCopy(args, stream); }, 7, calls);
    const double rate = 2 * static_cast<double>(count) * static_cast<double>(block_bytes) / timing.median;
    PrintLine("block copy, %u blocks of %d KiB: %.1f us, %.3f TB/s, %.0f%% of a plain copy", count,
              static_cast<int>(block_bytes / kKiB), timing.median * 1e6, rate * 1e-12, 100 * rate / copy_bandwidth);
  };
  for (const int64_t block_bytes : {16 * kKiB, 32 * kKiB, 64 * kKiB, 128 * kKiB})
    measure(block_bytes, static_cast<uint32_t>(pool.bytes() / 2 / static_cast<size_t>(block_bytes)), 2);
  for (const uint32_t count : {8U, 64U, 512U}) measure(64 * kKiB, count, 20);
}

void MeasureHostTransfers(const Options& options) {
  constexpr int64_t kLargest = 512 * kKiB;
  std::mt19937 random(static_cast<uint32_t>(options.seed));
  const HostMemory host(kScattered * static_cast<size_t>(kLargest));
  const DeviceArray<char> device(host.bytes());
  FillRandomBytes(device.data(), device.bytes(), 6);
  constexpr size_t kWhole = size_t{256} << 20;
  MeasureWhole("host to device", device.data(), host.data(), kWhole);
  MeasureWhole("device to host", host.data(), device.data(), kWhole);
  for (const int64_t block_bytes : {64 * kKiB, kLargest}) {
    MeasureScattered("host to device", device.data(), host.data(), block_bytes, random);
    MeasureScattered("device to host", host.data(), device.data(), block_bytes, random);
  }
}

}  // namespace quire::probe
