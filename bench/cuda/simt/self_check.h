// Kernels that show what an instruction does: run on the emulator by its test and on a card by the probe, against the
// same plain loops, so that the two implementations of simt.h are held to one meaning.
#pragma once

#include <cstdint>

#include "simt/simt.h"

namespace quire::simt {

// d [64, 128] = a [64, 64] b, by one warpgroup: tiles come by LoadTile. kTransposed: b [64, 128] with its columns
// contiguous, a from registers; else b as its transpose [128, 64], a from shared memory.
struct WarpgroupProductCheck {
  static constexpr int kThreads = 128;
  static constexpr SharedAddress kA = 0, kB = 8192, kBarrier = kB + 16384;
  static constexpr int kSharedBytes = kBarrier + 64;

  const TensorMap *a_map, *b_map;  // boxes [64, 64] of a; [128, 64] or, transposed, [64, 64] of b
  const uint16_t* a;
  float* d;
  uint32_t leading_bytes = 8192, stride_bytes = 1024;  // of b, transposed

#if !defined(__CUDACC__) || defined(QUIRE_SIMT_SM90)
  template <bool kTransposed>
  QUIRE_DEVICE void Run() const {
    Load<kTransposed>();
    const int lane = ThreadId() % 32, warp = ThreadId() / 32, g = lane / 4, t = lane % 4 * 2;
    uint32_t left[4][4];
    QUIRE_UNROLL
    for (int step = 0; step < 4; ++step) QUIRE_UNROLL
    for (int r = 0; r < 4; ++r) {
      const uint16_t* const at = a + (16 * warp + g + r % 2 * 8) * 64 + step * 16 + t + r / 2 * 8;
      left[step][r] = uint32_t{at[0]} | uint32_t{at[1]} << 16;
    }
    const SharedAddress base = AddressOf(SharedMemory());
    float sum[64];
    QUIRE_UNROLL
    for (int i = 0; i < 64; ++i) sum[i] = 0;
    PinRegisters(sum);
    ProductFence();
    QUIRE_UNROLL
    for (uint32_t step = 0; step < 4; ++step) {
      if (kTransposed)
        ProductRegisters(sum, left[step], SwizzledMatrix(base + kB + step * 2048, leading_bytes, stride_bytes));
      else
        ProductShared(sum, SwizzledMatrix(base + kA + step * 32, 0, 1024),
                      SwizzledMatrix(base + kB + step * 32, 0, 1024), step > 0);
    }
    ProductCommit();
    ProductWait<0>();
    PinRegisters(sum);
    QUIRE_UNROLL
    for (int i = 0; i < 64; ++i) d[(16 * warp + g + i % 4 / 2 * 8) * 128 + i / 4 * 8 + t + i % 2] = sum[i];
  }

 private:
  template <bool kTransposed>
  QUIRE_DEVICE void Load() const {
    const SharedAddress base = AddressOf(SharedMemory());
    if (ThreadId() == 0) {
      BarrierInit(base + kBarrier, 1);
      BarrierInitFence();
      BarrierExpect(base + kBarrier, 8192 + 16384);
      LoadTile(base + kA, a_map, base + kBarrier, 0, 0, 0, 0);
      LoadTile(base + kB, b_map, base + kBarrier, 0, 0, 0, 0);
      if (kTransposed) LoadTile(base + kB + 8192, b_map, base + kBarrier, 64, 0, 0, 0);
    }
    SyncThreads();
    BarrierWait(base + kBarrier, 0);
  }
#endif
};

// One warp: matrix i of `in` [4, 8, 8], loaded plain and transposed, and moved; each lane's pairs to out [3, 32, 4].
struct MatrixMoveCheck {
  static constexpr int kSharedBytes = 1024;
  const uint16_t* in;
  uint32_t* out;

  QUIRE_DEVICE void Run() const {
    auto* const shared = reinterpret_cast<uint16_t*>(SharedMemory());
    const int lane = ThreadId();
    for (int i = lane; i < 256; i += 32) shared[i] = in[i];
    SyncWarp();
    uint32_t plain[4], transposed[4];
    LoadMatrices(plain, AddressOf(shared + lane * 8));
    LoadMatricesTransposed(transposed, AddressOf(shared + lane * 8));
    for (int m = 0; m < 4; ++m) {
      out[(0 * 32 + lane) * 4 + m] = plain[m];
      out[(1 * 32 + lane) * 4 + m] = transposed[m];
      out[(2 * 32 + lane) * 4 + m] = TransposeMatrix(plain[m]);
    }
  }
};

// One warp: d [16, 8] = a [16, 16] b, b as its transpose [8, 16].
struct WarpProductCheck {
  const uint16_t *a, *b;
  float* d;

  QUIRE_DEVICE void Run() const {
    const int g = ThreadId() / 4, t = ThreadId() % 4 * 2;
    const uint16_t* const row = a + g * 16 + t;
    const uint32_t left[4] = {Pair(row), Pair(row + 8 * 16), Pair(row + 8), Pair(row + 8 * 16 + 8)};
    const uint32_t right[2] = {Pair(b + g * 16 + t), Pair(b + g * 16 + t + 8)};
    float sum[4] = {};
    Mma16x8x16(sum, left, right);
    for (int i = 0; i < 4; ++i) d[(g + i / 2 * 8) * 8 + t + i % 2] = sum[i];
  }

 private:
  static QUIRE_DEVICE uint32_t Pair(const uint16_t* at) { return uint32_t{at[0]} | uint32_t{at[1]} << 16; }
};

}  // namespace quire::simt
