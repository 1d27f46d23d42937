// The kernels for the tile unit (AMX) with bf16 products, and AVX-512 for everything else. Compiled for these
// instruction sets: everything but the exported table has internal linkage, so that no code of this file can replace
// code for older CPUs.
#include <immintrin.h>

#include "backend/cpu/kernel_table.h"

#define KERNELS quire::cpu::amx

namespace quire::cpu::amx {
namespace {

// For products with float32 weights; as in avx512.cc.
constexpr int64_t kDepth = 128;
constexpr int64_t kUnpackTiles = 7;
constexpr int64_t kStreamBytes = 8192;

// Each of these uses those before it.
// clang-format off
#include "backend/cpu/kernels/vector_avx512.inl"
#include "backend/cpu/kernels/elementwise.inl"
#include "backend/cpu/kernels/linear.inl"
#include "backend/cpu/kernels/linear_amx.inl"
#include "backend/cpu/kernels/attention.inl"
#include "backend/cpu/kernels/table.inl"
// clang-format on

}  // namespace

extern constinit const KernelTable kKernels = TableOf("amx", Bf16Order::kTiles);

}  // namespace quire::cpu::amx
