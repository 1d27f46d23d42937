#include "simt/emulator.h"

#include <fmt/format.h>

#include <array>
#include <deque>
#include <functional>
#include <utility>
#include <vector>

#include "simt/emulated_device.h"
#include "tensor/dtype.h"

namespace quire::simt {
namespace {

float Low(uint32_t pair) { return ToFloat(static_cast<Bf16>(pair & 0xFFFFU)); }
float High(uint32_t pair) { return ToFloat(static_cast<Bf16>(pair >> 16)); }
uint16_t Half(uint32_t pair, int which) { return static_cast<uint16_t>(which == 0 ? pair : pair >> 16); }

thread_local Device* device = nullptr;

// Drops all but the last `pending` groups after doing them, in order; the open group is not counted.
void Complete(std::deque<std::vector<std::function<void()>>>& groups, int pending) {
  while (static_cast<int>(groups.size()) - 1 > pending) {
    for (const auto& work : groups.front()) work();
    groups.pop_front();
  }
}

// Element (row of the contiguous side's other dimension) addresses under the 128-byte swizzle.
struct MatrixView {
  explicit MatrixView(uint64_t descriptor)
      : start(static_cast<uint32_t>(descriptor & 0x3FFFU) << 4),
        leading(static_cast<uint32_t>(descriptor >> 16 & 0x3FFFU) << 4),
        stride(static_cast<uint32_t>(descriptor >> 32 & 0x3FFFU) << 4) {}
  // `along` is the contiguous index, `across` the other.
  float At(int along, int across) const {
    const auto contiguous = static_cast<uint32_t>(along), other = static_cast<uint32_t>(across);
    uint32_t address = start + contiguous / 64 * leading + contiguous % 64 * 2 + other / 8 * stride + other % 8 * 128;
    address ^= (address >> 7 & 7U) << 4;
    uint16_t bits = 0;
    std::memcpy(&bits, device->Shared(address, 2), 2);
    return ToFloat(static_cast<Bf16>(bits));
  }
  uint32_t start, leading, stride;
};

struct ProductOperands {
  float* d;
  const uint32_t* a_registers;
  uint64_t a, b;
  bool accumulate;
};

// Rows 16 w to 16 w + 15 of the warpgroup's product, for the lanes of warp w.
void RunProduct(const std::array<ProductOperands, kWarpSize>& lanes, int warp_of_group) {
  const MatrixView a(lanes[0].a), b(lanes[0].b);
  const bool from_registers = lanes[0].a_registers != nullptr;
  std::array<std::array<float, 16>, 16> left = {};
  std::array<std::array<float, 16>, 128> right = {};
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k) {
      const auto lane = static_cast<size_t>(row) % 8 * 4 + static_cast<size_t>(k) % 8 / 2;
      const int index = row / 8 + k / 8 * 2;
      left[static_cast<size_t>(row)][static_cast<size_t>(k)] =
          !from_registers ? a.At(k, 16 * warp_of_group + row)
                          : (k % 2 == 0 ? Low : High)(lanes[lane].a_registers[index]);
    }
  for (int n = 0; n < 128; ++n)
    for (int k = 0; k < 16; ++k)
      right[static_cast<size_t>(n)][static_cast<size_t>(k)] = from_registers ? b.At(n, k) : b.At(k, n);
  for (size_t lane = 0; lane < kWarpSize; ++lane)
    for (size_t i = 0; i < 64; ++i) {
      const size_t row = lane / 4 + i % 4 / 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = lanes[lane].accumulate ? lanes[lane].d[i] : 0.0F;
      for (size_t k = 0; k < 16; ++k) sum += left[row][k] * right[column][k];
      lanes[lane].d[i] = sum;
    }
}

void EnqueueProduct(const char* instruction, ProductOperands operands) {
  const int warp_of_group = device->warp_of_group();
  device->Meet(instruction, &operands, [&](Warp& warp) {
    std::array<ProductOperands, kWarpSize> lanes = {};
    for (size_t i = 0; i < kWarpSize; ++i) lanes[i] = *static_cast<const ProductOperands*>(warp.operands[i]);
    if (warp.products.empty()) warp.products.emplace_back();
    warp.products.back().push_back([lanes, warp_of_group] { RunProduct(lanes, warp_of_group); });
  });
}

void LoadMatricesAs(const char* instruction, uint32_t (&r)[4], SharedAddress row, bool transposed) {
  struct Operands {
    uint32_t* r;
    SharedAddress row;
  } operands = {r, row};
  device->Meet(instruction, &operands, [&](Warp& warp) {
    uint16_t matrices[4][8][8];
    for (size_t i = 0; i < kWarpSize; ++i) {
      const SharedAddress address = static_cast<const Operands*>(warp.operands[i])->row;
      if (address % 16 != 0) device->Fail(fmt::format("{} of an address not aligned to 16: {}", instruction, address));
      std::memcpy(matrices[i / 8][i % 8], device->Shared(address, 16), 16);
    }
    for (size_t i = 0; i < kWarpSize; ++i)
      for (size_t m = 0; m < 4; ++m) {
        const size_t g = i / 4, t = i % 4 * 2;
        const uint16_t low = transposed ? matrices[m][t][g] : matrices[m][g][t];
        const uint16_t high = transposed ? matrices[m][t + 1][g] : matrices[m][g][t + 1];
        static_cast<const Operands*>(warp.operands[i])->r[m] = uint32_t{low} | uint32_t{high} << 16;
      }
  });
}

}  // namespace

std::string Launch(const LaunchShape& shape, FunctionRef<void()> kernel) {
  Device launched(shape);
  Device* const outer = std::exchange(device, &launched);
  std::string error = launched.Run(kernel);
  device = outer;
  return error;
}

int ThreadId() { return device->thread(); }
int BlockX() { return device->block(0); }
int BlockY() { return device->block(1); }
int BlockZ() { return device->block(2); }
int GridX() { return device->shape().grid_x; }

char* SharedMemory() { return device->shared(); }
SharedAddress AddressOf(const void* shared) {
  return kSharedBase + static_cast<SharedAddress>(static_cast<const char*>(shared) - device->shared());
}

void SyncThreads() { device->Arrive(0, device->shape().threads, true); }
void SyncWarp() {
  device->Meet("SyncWarp", nullptr, [](Warp&) {});
}
void SyncSome(int barrier, int threads) { device->Arrive(barrier, threads, true); }
void ArriveSome(int barrier, int threads) { device->Arrive(barrier, threads, false); }

uint32_t Shuffle(uint32_t value, int lane) {
  struct Operands {
    uint32_t value;
    int lane;
    uint32_t result;
  } mine = {value, lane, 0};
  device->Meet("Shuffle", &mine, [](Warp& warp) {
    for (void* operand : warp.operands) {
      auto* to = static_cast<Operands*>(operand);
      to->result = static_cast<const Operands*>(warp.operands[static_cast<size_t>(to->lane & 31)])->value;
    }
  });
  return mine.result;
}
float ShuffleXor(float value, int mask) { return AsFloat(Shuffle(AsBits(value), device->lane() ^ mask)); }

uint32_t PackBf16(float low, float high) {
  return static_cast<uint32_t>(ToBf16(low)) | static_cast<uint32_t>(ToBf16(high)) << 16;
}

uint32_t PermuteBytes(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t both = uint64_t{b} << 32 | a;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t which = selector >> (4 * i) & 7U;
    result |= static_cast<uint32_t>(both >> (8 * which) & 0xFFU) << (8 * i);
  }
  return result;
}

uint32_t SubtractBf16x2(uint32_t a, uint32_t b) { return PackBf16(Low(a) - Low(b), High(a) - High(b)); }

void Mma16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  struct Operands {
    float* d;
    const uint32_t *a, *b;
  } mine = {d, a, b};
  device->Meet("Mma16x8x16", &mine, [](Warp& warp) {
    const auto lane = [&](size_t i) { return *static_cast<const Operands*>(warp.operands[i]); };
    std::array<std::array<float, 16>, 16> left = {};
    std::array<std::array<float, 16>, 8> right = {};
    for (size_t row = 0; row < 16; ++row)
      for (size_t k = 0; k < 16; ++k)
        left[row][k] = (k % 2 == 0 ? Low : High)(lane(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2]);
    for (size_t n = 0; n < 8; ++n)
      for (size_t k = 0; k < 16; ++k) right[n][k] = (k % 2 == 0 ? Low : High)(lane(n * 4 + k % 8 / 2).b[k / 8]);
    for (size_t i = 0; i < kWarpSize; ++i)
      for (size_t r = 0; r < 4; ++r) {
        float& sum = lane(i).d[r];
        for (size_t k = 0; k < 16; ++k) sum += left[i / 4 + r / 2 * 8][k] * right[i % 4 * 2 + r % 2][k];
      }
  });
}

uint32_t TransposeMatrix(uint32_t fragment) {
  struct Operands {
    uint32_t value, result;
  } mine = {fragment, 0};
  device->Meet("TransposeMatrix", &mine, [](Warp& warp) {
    const auto at = [&](size_t row, size_t column) {
      const uint32_t pair = static_cast<const Operands*>(warp.operands[row * 4 + column / 2])->value;
      return uint32_t{Half(pair, static_cast<int>(column % 2))};
    };
    for (size_t i = 0; i < kWarpSize; ++i) {
      const size_t g = i / 4, t = i % 4 * 2;
      static_cast<Operands*>(warp.operands[i])->result = at(t, g) | at(t + 1, g) << 16;
    }
  });
  return mine.result;
}

void LoadMatrices(uint32_t (&r)[4], SharedAddress row) { LoadMatricesAs("LoadMatrices", r, row, false); }
void LoadMatricesTransposed(uint32_t (&r)[4], SharedAddress row) {
  LoadMatricesAs("LoadMatricesTransposed", r, row, true);
}

void CopyAsync(SharedAddress to, const void* from, bool valid) {
  char* const target = device->Shared(to, 16);
  if (to % 16 != 0) device->Fail(fmt::format("CopyAsync to an address not aligned to 16: {}", to));
  device->current().copies.back().push_back([target, from, valid] {
    if (valid)
      std::memcpy(target, from, 16);
    else
      std::memset(target, 0, 16);
  });
}
void CopyAsyncCommit() { device->current().copies.emplace_back(); }
void CopyAsyncWaitFor(int pending) { Complete(device->current().copies, pending); }

void BarrierInit(SharedAddress barrier, int arrivals) {
  device->Shared(barrier, 8);
  device->InitCounting(barrier, arrivals);
}
void BarrierExpect(SharedAddress barrier, uint32_t bytes) {
  CountingBarrier& counting = device->Counting(barrier);
  counting.bytes += bytes;
  BarrierArrive(barrier);
}
void BarrierArrive(SharedAddress barrier) {
  CountingBarrier& counting = device->Counting(barrier);
  if (counting.missing == 0) device->Fail(fmt::format("one arrival too many at barrier {}", barrier));
  --counting.missing;
  device->EndPhaseIfComplete(counting);
  // Who waited for this may go on first: what was handed over too soon is gone when this thread goes on.
  device->YieldForAWhile();
}
void BarrierWait(SharedAddress barrier, uint32_t parity) {
  CountingBarrier& counting = device->Counting(barrier);
  while ((counting.phase & 1U) == parity) device->Yield();
}
void LoadTile(SharedAddress to, const TensorMap* map, SharedAddress barrier, int c0, int c1, int c2, int c3, int c4) {
  if (to % 128 != 0 || map->box[0] != 64) device->Fail(fmt::format("a tile of {} columns at {}", map->box[0], to));
  device->Enqueue({to, map, barrier, {c0, c1, c2, c3, c4}});
}

void ProductShared(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  EnqueueProduct("ProductShared", {d, nullptr, a, b, accumulate});
}
void ProductRegisters(float (&d)[64], const uint32_t (&a)[4], uint64_t b_transposed) {
  EnqueueProduct("ProductRegisters", {d, a, 0, b_transposed, true});
}
void ProductCommit() {
  device->Meet("ProductCommit", nullptr, [](Warp& warp) {
    if (warp.products.empty()) warp.products.emplace_back();
    warp.products.emplace_back();
  });
}
void ProductWaitFor(int pending) {
  device->Meet("ProductWait", nullptr, [&](Warp& warp) { Complete(warp.products, pending); });
}

}  // namespace quire::simt
