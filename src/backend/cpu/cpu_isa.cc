#include "backend/cpu/cpu_isa.h"

#include <cstring>

#include "backend/flush_denormals.h"
#include "backend/ref/ref_ops.h"
#include "base/rng.h"
#include "tensor/dtype.h"

namespace quire::cpu {
namespace {

// Multiplies one row by one panel of numbers whose sums cancel, so that any other order or rounding shows.
bool DotProductMatchesReference(const KernelTable& kernels) {
  constexpr int kDepthTested = 66;
  alignas(64) static uint16_t panel[kDepthTested * kPanel];
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
  alignas(64) char packed[kDepthTested * sizeof(float)];
  static float scratch[kLinearScratch];
  const FlushDenormalsScope flush;
  kernels.pack_rows_bf16(
      {.x = x, .x_stride = 0, .rows = 1, .k = kDepthTested, .begin = 0, .end = kDepthTested, .tile = packed});
  kernels.linear_bf16({.panel = reinterpret_cast<const char*>(panel),
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
                       .scratch = scratch});
  for (int n = 0; n < kPanel; ++n) {
    const float expected = ref::DotBf16(x, weights[n], kDepthTested);
    if (std::memcmp(&expected, &y[n], sizeof(float)) != 0) return false;
  }
  return true;
}

}  // namespace

std::vector<const KernelTable*> SupportedKernels() {
  std::vector<const KernelTable*> kernels;
#if defined(__x86_64__)
  // Asks the operating system's support of the registers, too.
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) {
    return kernels;
  }
  kernels.push_back(&avx2::kKernels);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
    return kernels;
  }
  kernels.push_back(&avx512::kKernels);
  if (__builtin_cpu_supports("avx512bf16") && DotProductMatchesReference(avx512bf16::kKernels)) {
    kernels.push_back(&avx512bf16::kKernels);
  }
#endif
  return kernels;
}

}  // namespace quire::cpu
