// The kernels for AVX-512 with BF16 dot products. Compiled for that instruction set: everything but the exported table
// has internal linkage, so that no code of this file can replace code for older CPUs.
#include <immintrin.h>

#include "backend/cpu/kernel_table.h"

#define QUIRE_NATIVE_BF16
#define KERNELS quire::cpu::avx512bf16

namespace quire::cpu::avx512bf16 {
namespace {

constexpr bool kNativeBf16 = true;
constexpr int64_t kBf16BytesPerValue = 2;
// Depth over K between two spills of partial sums: a strip of weights and a tile of activations stay near.
constexpr int64_t kDepth = 512;
// Row tiles from which on it pays to widen the weights once, in cache, instead of in every tile.
constexpr int64_t kUnpackTiles = 3;
// Weights that a single tile works on at a time, and how far ahead of them it asks for more.
constexpr int64_t kStreamBytes = 8192;

// Each of these uses those before it.
// clang-format off
#include "backend/cpu/kernels/vector_avx512.inl"
#include "backend/cpu/kernels/elementwise.inl"
#include "backend/cpu/kernels/linear.inl"
#include "backend/cpu/kernels/linear_bf16.inl"
#include "backend/cpu/kernels/attention.inl"
#include "backend/cpu/kernels/table.inl"
// clang-format on

}  // namespace

extern constinit const KernelTable kKernels = TableOf("avx512bf16", Bf16Order::kPairs);

}  // namespace quire::cpu::avx512bf16
