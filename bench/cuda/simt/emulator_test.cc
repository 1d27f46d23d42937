// The emulator against plain loops, and the mistakes that it must notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "simt/self_check.h"
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
  const std::vector<uint16_t> a = WholeNumbers(16 * 16, 1), b = WholeNumbers(8 * 16, 2);
  std::vector<float> d(16 * 8);
  EXPECT_EQ(Launch({.threads = 32}, [&] { WarpProductCheck{a.data(), b.data(), d.data()}.Run(); }), "");
  for (size_t row = 0; row < 16; ++row)
    for (size_t n = 0; n < 8; ++n) {
      float sum = 0;
      for (size_t k = 0; k < 16; ++k) sum += Value(a[row * 16 + k]) * Value(b[n * 16 + k]);
      EXPECT_EQ(d[row * 8 + n], sum) << row << ", " << n;
    }
}

TEST(Emulator, AMatrixIsTransposedByMoveAndByLoad) {
  const std::vector<uint16_t> in = WholeNumbers(4 * 64, 5);
  std::vector<uint32_t> out(3 * 32 * 4);
  EXPECT_EQ(Launch({.threads = 32, .shared_bytes = MatrixMoveCheck::kSharedBytes},
                   [&] {
                     MatrixMoveCheck{in.data(), out.data()}.Run();
                   }),
            "");
  for (size_t lane = 0; lane < 32; ++lane)
    for (size_t m = 0; m < 4; ++m) {
      const size_t g = lane / 4, t = lane % 4 * 2;
      const uint16_t* const matrix = in.data() + m * 64;
      EXPECT_EQ(out[lane * 4 + m], matrix[g * 8 + t] | uint32_t{matrix[g * 8 + t + 1]} << 16);
      EXPECT_EQ(out[(32 + lane) * 4 + m], matrix[t * 8 + g] | uint32_t{matrix[t * 8 + 8 + g]} << 16);
      EXPECT_EQ(out[(64 + lane) * 4 + m], out[(32 + lane) * 4 + m]);
    }
}

template <bool kTransposed>
void CheckWarpgroupProduct() {
  const std::vector<uint16_t> a = WholeNumbers(64 * 64, 3), b = WholeNumbers(128 * 64, 4);
  std::vector<float> d(64 * 128);
  const TensorMap a_map = {
      .base = a.data(), .dims = {64, 64, 1, 1, 1}, .strides = {1, 64, 0, 0, 0}, .box = {64, 64, 1, 1, 1}};
  TensorMap b_map = {
      .base = b.data(), .dims = {64, 128, 1, 1, 1}, .strides = {1, 64, 0, 0, 0}, .box = {64, 128, 1, 1, 1}};
  if (kTransposed)
    b_map = {.base = b.data(), .dims = {128, 64, 1, 1, 1}, .strides = {1, 128, 0, 0, 0}, .box = {64, 64, 1, 1, 1}};
  const WarpgroupProductCheck check = {&a_map, &b_map, a.data(), d.data()};
  ASSERT_EQ(Launch({.threads = check.kThreads, .shared_bytes = check.kSharedBytes}, [&] { check.Run<kTransposed>(); }),
            "");
  for (size_t row = 0; row < 64; ++row)
    for (size_t n = 0; n < 128; ++n) {
      float sum = 0;
      for (size_t k = 0; k < 64; ++k)
        sum += Value(a[row * 64 + k]) * Value(kTransposed ? b[k * 128 + n] : b[n * 64 + k]);
      ASSERT_EQ(d[row * 128 + n], sum) << row << ", " << n;
    }
}

TEST(Emulator, AWarpgroupMultipliesSharedTiles) { CheckWarpgroupProduct<false>(); }
TEST(Emulator, AWarpgroupMultipliesRegistersByATransposedTile) { CheckWarpgroupProduct<true>(); }

TEST(Emulator, WhatIsCopiedIsThereOnlyAfterTheWait) {
  const std::vector<uint32_t> global = {1, 2, 3, 4};
  EXPECT_EQ(Launch({.threads = 32, .shared_bytes = 512},
                   [&] {
                     char* const mine = SharedMemory() + ThreadId() * 16;
                     CopyAsync(AddressOf(mine), global.data(), ThreadId() != 5);
                     CopyAsyncCommit();
                     const auto* there = reinterpret_cast<const uint32_t*>(mine);
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
                     const SharedAddress full = AddressOf(SharedMemory()), empty = full + 8;
                     auto* value = reinterpret_cast<int*>(SharedMemory() + 32);
                     if (ThreadId() == 0) {
                       BarrierInit(full, 1);
                       BarrierInit(empty, 1);
                     }
                     SyncThreads();
                     for (uint32_t i = 0; i < 5; ++i) {
                       if (ThreadId() == 0) {
                         BarrierWait(empty, (i & 1U) ^ 1U);
                         *value = static_cast<int>(i);
                         BarrierArrive(full);
                       } else if (ThreadId() == 32) {
                         BarrierWait(full, i & 1U);
                         seen.push_back(*value);
                         BarrierArrive(empty);
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
  EXPECT_THAT(
      Launch({.threads = 32, .shared_bytes = 64}, [] { CopyAsync(AddressOf(SharedMemory()) + 64, nullptr, false); }),
      ::testing::HasSubstr("shared memory at 1088"));
  // What lies before the block's window is the system's.
  EXPECT_THAT(Launch({.threads = 32, .shared_bytes = 2048}, [] { CopyAsync(0, nullptr, false); }),
              ::testing::HasSubstr("shared memory at 0"));
  EXPECT_THAT(Launch({.threads = 32, .shared_bytes = 64}, [] { BarrierWait(AddressOf(SharedMemory()), 0); }),
              ::testing::HasSubstr("no barrier at 1024"));
}

}  // namespace
}  // namespace quire::simt
