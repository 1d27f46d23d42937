// The instructions of simt.h on a host: one fibre per thread of a block, blocks one after the other.
//
// Instructions of a warp (shuffles, products, matrix loads) meet: the last lane to arrive does the work for all, and a
// lane that arrives at another instruction is an error, as is a block in which nobody can go on. Work that a GPU does
// in the background is done as late as the kernel allows: copies of CopyAsync and products of a warpgroup when they are
// waited for, tiles of LoadTile at a random moment. So a kernel that reads too soon or overwrites too soon fails here.
//
// Not thread-safe: one Launch at a time per host thread.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/function_ref.h"
#include "simt/types.h"

namespace quire::simt {

// --- The host's side ---

struct LaunchShape {
  int grid_x = 1, grid_y = 1, grid_z = 1;
  int threads = kWarpSize;  // per block, a multiple of a warp
  size_t shared_bytes = 0;  // filled with bytes of 0xFF (NaN) before each block
  uint64_t seed = 1;        // of the order in which threads run and tiles arrive
};

// Runs `kernel` as every thread of the grid. Empty, or what went wrong: a divergence, a deadlock, an access outside of
// shared memory.
std::string Launch(const LaunchShape& shape, FunctionRef<void()> kernel);

// A view of up to five dimensions for LoadTile, as cuTensorMapEncodeTiled makes it for bf16 with the 128-byte swizzle.
struct TensorMap {
  const uint16_t* base = nullptr;
  int64_t dims[5] = {1, 1, 1, 1, 1};     // the contiguous dimension first
  int64_t strides[5] = {1, 0, 0, 0, 0};  // in elements
  int32_t box[5] = {1, 1, 1, 1, 1};      // box[0] is 64: 128 bytes
};

// --- The device's side ---

int ThreadId();  // within the block
int BlockX();
int BlockY();
int BlockZ();
int GridX();

char* SharedMemory();  // the block's window, aligned to 1,024 bytes; its address is not 0
SharedAddress AddressOf(const void* shared);

void SyncThreads();
void SyncWarp();
// A barrier of `threads` threads under a number (1 to 15): who waits, and who only arrives.
void SyncSome(int barrier, int threads);
void ArriveSome(int barrier, int threads);

uint32_t Shuffle(uint32_t value, int lane);
float ShuffleXor(float value, int mask);

inline int AtomicAdd(int* address, int value) {
  const int old = *address;
  *address += value;
  return old;
}
inline void MemoryFence() {}

// A point that no instruction which `value` depends on is moved below. REQUIRES: value >= 0.
inline void ComputeBefore(float) {}

inline float AsFloat(uint32_t bits) { return std::bit_cast<float>(bits); }
inline uint32_t AsBits(float value) { return std::bit_cast<uint32_t>(value); }
inline float FusedMultiplyAdd(float a, float b, float c) { return std::fma(a, b, c); }
inline float Exp2(float x) { return std::exp2(x); }
inline float Reciprocal(float x) { return 1 / x; }        // to about one unit in the last place
inline float Rsqrt(float x) { return 1 / std::sqrt(x); }  // to about two
uint32_t PackBf16(float low, float high);
uint32_t PermuteBytes(uint32_t a, uint32_t b, uint32_t selector);
inline uint32_t MaskOr(uint32_t a, uint32_t mask, uint32_t base) { return (a & mask) | base; }
uint32_t SubtractBf16x2(uint32_t a, uint32_t b);

inline Vec4 Load16(const void* pointer) {
  Vec4 v;
  std::memcpy(&v, pointer, sizeof v);
  return v;
}
inline Vec4 LoadStreaming(const void* global) { return Load16(global); }
// What another block stored before a MemoryFence.
inline Vec4 LoadCoherent16(const void* global) { return Load16(global); }
inline Float2 LoadCoherent8(const float* global) { return {global[0], global[1]}; }
inline void Store16(void* pointer, const Vec4& v) { std::memcpy(pointer, &v, sizeof v); }

// d [16, 8] += a [16, 16] b [16, 8]: bf16 pairs, float sums. Lane l holds, with g = l / 4 and t = l % 4:
// a: rows g, g + 8 of columns 2t, 2t + 1, then the same of columns 2t + 8, 2t + 9; b: rows 2t, 2t + 1 of column g, then
// rows 2t + 8, 2t + 9; d: columns 2t, 2t + 1 of row g, then of row g + 8.
void Mma16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
// A matrix [8, 8] of 16-bit values, lane l with columns 2t, 2t + 1 of row g: its transpose, held likewise.
uint32_t TransposeMatrix(uint32_t fragment);
// Four matrices [8, 8] of 16-bit values; lanes 8i to 8i + 7 name the rows (16 bytes each) of matrix i.
void LoadMatrices(uint32_t (&r)[4], SharedAddress row);
void LoadMatricesTransposed(uint32_t (&r)[4], SharedAddress row);

// 16 bytes from global to shared memory, or zeros; there once the group is waited for.
void CopyAsync(SharedAddress to, const void* from, bool valid);
void CopyAsyncCommit();
void CopyAsyncWaitFor(int pending);
template <int kPending>
void CopyAsyncWait() {
  CopyAsyncWaitFor(kPending);
}

// A kernel may begin before the one it depends on has ended: between them stands DependencyWait.
inline void DependencyWait() {}
inline void DependencyLaunch() {}

// Barriers in shared memory that count arrivals and bytes (mbarrier). A phase ends when all `arrivals` came and all
// expected bytes are there; BarrierWait waits for the end of the phase of this parity.
void BarrierInit(SharedAddress barrier, int arrivals);
inline void BarrierInitFence() {}
void BarrierExpect(SharedAddress barrier, uint32_t bytes);  // and arrives
void BarrierArrive(SharedAddress barrier);
void BarrierWait(SharedAddress barrier, uint32_t parity);
// The map's box at these coordinates to shared memory, zeros outside of the map; counts its bytes at the barrier.
void LoadTile(SharedAddress to, const TensorMap* map, SharedAddress barrier, int c0, int c1, int c2, int c3,
              int c4 = 0);
// What this thread stored to shared memory is seen by copies and products that begin after the next barrier.
inline void SharedWriteFence() {}
inline void PrefetchTensorMap(const TensorMap*) {}

// Products of a warpgroup, of which every warp computes its 16 rows: d [64, 128] (+)= a [64, 16] b [16, 128]; b as its
// transpose [128, 16] with 16 contiguous. Done once waited for; until then neither operands nor d may be touched.
void ProductShared(float (&d)[64], uint64_t a, uint64_t b, bool accumulate);
// d += a b with a from registers (as Mma16x8x16's a) and b [16, 128] with 128 contiguous.
void ProductRegisters(float (&d)[64], const uint32_t (&a)[4], uint64_t b_transposed);
inline void ProductFence() {}
void ProductCommit();
void ProductWaitFor(int pending);
template <int kPending>
void ProductWait() {
  ProductWaitFor(kPending);
}
template <int kRegisters>
void GrowRegisters() {}
template <int kRegisters>
void ShrinkRegisters() {}
template <int kCount>
void PinRegisters(float (&)[kCount]) {}

}  // namespace quire::simt
