// The kernels for AVX2, FMA and F16C. Compiled for that instruction set: everything but the exported table has internal
// linkage, so that no code of this file can replace code for older CPUs.
#include <immintrin.h>

#include "backend/cpu/kernel_table.h"

#define KERNELS quire::cpu::avx2

namespace quire::cpu::avx2 {
namespace {

constexpr bool kNativeBf16 = false;
constexpr int64_t kBf16BytesPerValue = 4;
// Depth over K between two spills of partial sums: a strip of widened weights and a tile of activations take half of a
// 48 KB cache, so that a neighbour on the core costs little.
constexpr int64_t kDepth = 128;
// Row tiles from which on it pays to widen the weights once, in cache, instead of in every tile.
constexpr int64_t kUnpackTiles = 7;
// Weights that a single tile works on at a time, and how far ahead of them it asks for more.
constexpr int64_t kStreamBytes = 8192;

// Each of these uses those before it.
// clang-format off
#include "backend/cpu/kernels/vector_avx2.inl"
#include "backend/cpu/kernels/elementwise.inl"
#include "backend/cpu/kernels/linear.inl"
#include "backend/cpu/kernels/linear_bf16.inl"
#include "backend/cpu/kernels/attention.inl"
#include "backend/cpu/kernels/table.inl"
// clang-format on

}  // namespace

extern constinit const KernelTable kKernels = TableOf("avx2", Bf16Order::kPairs);

}  // namespace quire::cpu::avx2
