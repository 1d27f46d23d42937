// The emulator against plain loops, and the mistakes that it must notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "simt/simt.h"
#include "tensor/dtype.h"

namespace quire::simt {
namespace {

uint16_t Bits(float value) { return static_cast<uint16_t>(ToBf16(value)); }
float Value(uint16_t bits) { return ToFloat(static_cast<Bf16>(bits)); }

// [rows, columns] of small whole numbers: sums are exact in any order.
std::vector<uint16_t> WholeNumbers(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint16_t> values(count);
  for (uint16_t& value : values) value = Bits(static_cast<float>(static_cast<int>(random() % 9) - 4));
  return values;
}

TEST(Emulator, AWarpsProductEqualsPlainLoops) {
  const std::vector<uint16_t> a = WholeNumbers(16 * 16, 1), b = WholeNumbers(8 * 16, 2);  // b transposed: [n, k]
  std::vector<float> d(16 * 8);
  const auto pair = [](const uint16_t* at) { return uint32_t{at[0]} | uint32_t{at[1]} << 16; };
  EXPECT_EQ(Launch({.threads = 32},
                   [&] {
                     const int g = ThreadId() / 4, t = ThreadId() % 4 * 2;
                     const uint16_t* row = a.data() + g * 16 + t;
                     const uint32_t left[4] = {pair(row), pair(row + 8 * 16), pair(row + 8), pair(row + 8 * 16 + 8)};
                     const uint32_t right[2] = {pair(b.data() + g * 16 + t), pair(b.data() + g * 16 + t + 8)};
                     float sum[4] = {1, 1, 1, 1};
                     Mma16x8x16(sum, left, right);
                     for (int i = 0; i < 4; ++i) d[static_cast<size_t>((g + i / 2 * 8) * 8 + t + i % 2)] = sum[i];
                   }),
            "");
  for (size_t row = 0; row < 16; ++row)
    for (size_t n = 0; n < 8; ++n) {
      float sum = 1;
      for (size_t k = 0; k < 16; ++k) sum += Value(a[row * 16 + k]) * Value(b[n * 16 + k]);
      EXPECT_EQ(d[row * 8 + n], sum) << row << ", " << n;
    }
}

TEST(Emulator, AMatrixIsTransposedByMoveAndByLoad) {
  EXPECT_EQ(Launch({.threads = 32, .shared_bytes = 1024},
                   [] {
                     auto* matrix = reinterpret_cast<uint16_t*>(SharedMemory());
                     const int lane = ThreadId(), g = lane / 4, t = lane % 4 * 2;
                     for (int i = lane; i < 64; i += 32) matrix[i] = static_cast<uint16_t>(i);
                     SyncWarp();
                     uint32_t plain[4], transposed[4];
                     const SharedAddress row = AddressOf(matrix + lane % 8 * 8);
                     LoadMatrices(plain, row);
                     LoadMatricesTransposed(transposed, row);
                     EXPECT_EQ(plain[3], static_cast<uint32_t>(g * 8 + t) | static_cast<uint32_t>(g * 8 + t + 1) << 16);
                     EXPECT_EQ(transposed[0], static_cast<uint32_t>(t * 8 + g) | static_cast<uint32_t>(t * 8 + 8 + g)
                                                                                     << 16);
                     EXPECT_EQ(TransposeMatrix(plain[0]), transposed[0]);
                   }),
            "");
}

// Tiles [rows, 64] of both operands come by LoadTile; `mn` says whether b is [k, n] (n contiguous) or [n, k].
void CheckWarpgroupProduct(bool mn) {
  const std::vector<uint16_t> a = WholeNumbers(64 * 64, 3), b = WholeNumbers(128 * 128, 4);
  std::vector<float> d(64 * 128);
  const TensorMap a_map = {.base = a.data(), .dims = {64, 64, 1, 1}, .strides = {1, 64, 0, 0}, .box = {64, 64, 1, 1}};
  const TensorMap b_map = {
      .base = b.data(), .dims = {128, 128, 1, 1}, .strides = {1, 128, 0, 0}, .box = {64, mn ? 64 : 128, 1, 1}};
  const auto kernel = [&] {
    constexpr SharedAddress kA = 0, kB = 8192, kBarrier = kB + 32768;
    if (ThreadId() == 0) {
      BarrierInit(kBarrier, 1);
      BarrierExpect(kBarrier, 8192 + 16384);
      LoadTile(kA, &a_map, kBarrier, 0, 0, 0, 0);
      LoadTile(kB, &b_map, kBarrier, 0, 0, 0, 0);
      if (mn) LoadTile(kB + 8192, &b_map, kBarrier, 64, 0, 0, 0);
    }
    SyncThreads();
    BarrierWait(kBarrier, 0);
    float sum[64];
    uint32_t left[4][4];
    const int lane = ThreadId() % 32, warp = ThreadId() / 32, g = lane / 4, t = lane % 4 * 2;
    for (int step = 0; step < 4; ++step) {
      for (int r = 0; r < 4; ++r) {
        const uint16_t* at = a.data() + (16 * warp + g + r % 2 * 8) * 64 + step * 16 + t + r / 2 * 8;
        left[step][r] = uint32_t{at[0]} | uint32_t{at[1]} << 16;
      }
      const auto k = static_cast<uint32_t>(step);
      if (mn) {
        if (step == 0)
          for (float& value : sum) value = 0;
        ProductRegisters(sum, left[step], SwizzledMatrix(kB + k * 2048, 8192, 1024));
      } else {
        ProductShared(sum, SwizzledMatrix(kA + k * 32, 0, 1024), SwizzledMatrix(kB + k * 32, 0, 1024), step > 0);
      }
    }
    ProductCommit();
    ProductWait<0>();
    for (int i = 0; i < 64; ++i)
      d[static_cast<size_t>((16 * warp + g + i % 4 / 2 * 8) * 128 + i / 4 * 8 + t + i % 2)] = sum[i];
  };
  ASSERT_EQ(Launch({.threads = 128, .shared_bytes = 8192 + 32768 + 64}, kernel), "");
  for (size_t row = 0; row < 64; ++row)
    for (size_t n = 0; n < 128; ++n) {
      float sum = 0;
      for (size_t k = 0; k < 64; ++k) sum += Value(a[row * 64 + k]) * Value(mn ? b[k * 128 + n] : b[n * 128 + k]);
      ASSERT_EQ(d[row * 128 + n], sum) << row << ", " << n;
    }
}

TEST(Emulator, AWarpgroupMultipliesSharedTiles) { CheckWarpgroupProduct(false); }
TEST(Emulator, AWarpgroupMultipliesRegistersByATransposedTile) { CheckWarpgroupProduct(true); }

TEST(Emulator, WhatIsCopiedIsThereOnlyAfterTheWait) {
  const std::vector<uint32_t> global = {1, 2, 3, 4};
  EXPECT_EQ(Launch({.threads = 32, .shared_bytes = 512},
                   [&] {
                     const SharedAddress mine = static_cast<SharedAddress>(ThreadId()) * 16;
                     CopyAsync(mine, global.data(), ThreadId() != 5);
                     CopyAsyncCommit();
                     const auto* there = reinterpret_cast<const uint32_t*>(SharedMemory() + mine);
                     EXPECT_EQ(there[2], 0xFFFFFFFFU);
                     CopyAsyncWait<0>();
                     EXPECT_EQ(there[2], ThreadId() == 5 ? 0U : 3U);
                   }),
            "");
}

TEST(Emulator, PhasesOfABarrierHandABufferBackAndForth) {
  std::vector<int> seen;
  EXPECT_EQ(Launch({.threads = 64, .shared_bytes = 64, .seed = 7},
                   [&] {
                     constexpr SharedAddress kFull = 0, kEmpty = 8;
                     auto* value = reinterpret_cast<int*>(SharedMemory() + 32);
                     if (ThreadId() == 0) {
                       BarrierInit(kFull, 1);
                       BarrierInit(kEmpty, 1);
                     }
                     SyncThreads();
                     for (uint32_t i = 0; i < 5; ++i) {
                       if (ThreadId() == 0) {
                         BarrierWait(kEmpty, (i & 1U) ^ 1U);
                         *value = static_cast<int>(i);
                         BarrierArrive(kFull);
                       } else if (ThreadId() == 32) {
                         BarrierWait(kFull, i & 1U);
                         seen.push_back(*value);
                         BarrierArrive(kEmpty);
                       }
                     }
                   }),
            "");
  EXPECT_EQ(seen, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Emulator, EveryBlockOfTheGridRuns) {
  std::vector<int> counts(2 * 3 * 4);
  EXPECT_EQ(Launch({.grid_x = 2, .grid_y = 3, .grid_z = 4, .threads = 64},
                   [&] {
                     AtomicAdd(&counts[static_cast<size_t>((BlockZ() * 3 + BlockY()) * 2 + BlockX())], 1);
                     SyncThreads();
                   }),
            "");
  EXPECT_EQ(counts, std::vector<int>(24, 64));
}

TEST(Emulator, MistakesAreNamed) {
  EXPECT_THAT(Launch({.threads = 32}, [] { ThreadId() == 3 ? SyncWarp() : void(Shuffle(0, 0)); }),
              ::testing::HasSubstr("while its warp is at"));
  EXPECT_THAT(Launch({.threads = 32},
                     [] {
                       if (ThreadId() < 31) SyncWarp();
                     }),
              ::testing::HasSubstr("nobody can go on"));
  EXPECT_THAT(Launch({.threads = 32, .shared_bytes = 64}, [] { CopyAsync(64, nullptr, false); }),
              ::testing::HasSubstr("shared memory at 64"));
  EXPECT_THAT(Launch({.threads = 32, .shared_bytes = 64}, [] { BarrierWait(0, 0); }),
              ::testing::HasSubstr("no barrier at 0"));
}

}  // namespace
}  // namespace quire::simt
