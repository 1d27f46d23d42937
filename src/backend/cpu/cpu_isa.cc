#include "backend/cpu/cpu_isa.h"

#include <bit>
#include <vector>

#include "backend/cpu/cpu_features.h"
#include "backend/flush_denormals.h"
#include "backend/ref/ref_ops.h"
#include "base/log.h"
#include "base/rng.h"
#include "tensor/dtype.h"

namespace quire::cpu {
namespace {

// Multiplies one row by one panel of numbers whose sums cancel, so that any other order or rounding shows.
bool DotProductMatchesReference(const KernelTable& kernels) {
  constexpr int kDepthTested = 66;
  alignas(64) uint16_t panel[kDepthTested * kPanel];
  float weights[kPanel][kDepthTested], x[kDepthTested], y[kPanel];
  const auto draw = [](uint32_t i, uint32_t j) {
    return static_cast<float>(UniformDouble({.seed = 1, .stream = i, .position = j}, 0) - 0.5);
  };
  for (uint32_t k = 0; k < kDepthTested; ++k) {
    x[k] = draw(kPanel, k) * (k % 7 == 0 ? 1000.0F : 1.0F);
    for (uint32_t n = 0; n < kPanel; ++n) {
      const Bf16 w = ToBf16(draw(n, k));
      weights[n][k] = ToFloat(w);
      panel[(k / 2 * kPanel + n) * 2 + k % 2] = static_cast<uint16_t>(w);
    }
  }
  alignas(64) char packed[2 * kDepthTested * sizeof(float)];  // padded to whole tiles
  std::vector<float> scratch(kLinearScratch);
  const auto dot = kernels.bf16_order == Bf16Order::kTiles ? ref::DotBf16Tiles : ref::DotBf16Pairs;
  const FlushDenormalsScope flush;
  kernels.bf16.pack_rows(
      {.x = x, .x_stride = 0, .rows = 1, .tile_rows = 1, .begin = 0, .end = kDepthTested, .tile = packed});
  kernels.bf16.multiply({.panel = reinterpret_cast<const char*>(panel),
                         .panel_bytes = sizeof(panel),
                         .num_panels = 1,
                         .k = kDepthTested,
                         .x = packed,
                         .num_tiles = 1,
                         .first_row = {0, 1},
                         .bias = nullptr,
                         .y = y,
                         .y_stride = kPanel,
                         .columns = kPanel,
                         .accumulate = false,
                         .scratch = scratch.data()});
  for (int n = 0; n < kPanel; ++n) {
    const float expected = dot(x, weights[n], kDepthTested);
    if (std::bit_cast<uint32_t>(expected) == std::bit_cast<uint32_t>(y[n])) continue;
    LogWarning("instructions_unused set={} reason={}", kernels.name,
               LogValue("this CPU rounds their dot products in a way of its own"));
    return false;
  }
  return true;
}

std::vector<const KernelTable*> FindKernels() {
  std::vector<const KernelTable*> kernels;
#if defined(__x86_64__)
  // Asks the operating system's support of the registers, too.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !HasHalfConversions()) {
    return kernels;
  }
  kernels.push_back(&avx2::kKernels);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return kernels;
  }
  kernels.push_back(&avx512::kKernels);
  if (!HasBf16DotProducts()) return kernels;
  if (DotProductMatchesReference(avx512bf16::kKernels)) {
    // Intel's cores do a quarter as many dot products of pairs as fused multiply-adds in a cycle, AMD's as many.
    kernels.insert(kernels.end() - (__builtin_cpu_is("intel") ? 1 : 0), &avx512bf16::kKernels);
  }
  if (HasTileUnit() && DotProductMatchesReference(amx::kKernels)) kernels.push_back(&amx::kKernels);
#endif
  return kernels;
}

}  // namespace

const std::vector<const KernelTable*>& SupportedKernels() {
  static const std::vector<const KernelTable*> kernels = FindKernels();
  return kernels;
}

}  // namespace quire::cpu
