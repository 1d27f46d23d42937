// Launches of the kernels of elementwise.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/elementwise.h"
#include "probe/device.h"

namespace quire::probe {

template <int kThreads, int kVecs>
__global__ void __launch_bounds__(kThreads) RmsNormKernel(const __grid_constant__ cuda::RmsNormArgs args) {
  cuda::RmsNorm<kThreads, kVecs>(args);
}
template <int kHeadDim>
__global__ void __launch_bounds__(cuda::kRowThreads) RopeKernel(const __grid_constant__ cuda::RopeArgs args) {
  cuda::RopeAndWrite<kHeadDim>(args);
}
// Templates for the sake of their linkage: a header may hold them.
template <typename Args>
__global__ void __launch_bounds__(cuda::kRowThreads) EmbeddingKernel(const __grid_constant__ Args args) {
  cuda::GatherEmbedding(args);
}
template <typename Args>
__global__ void __launch_bounds__(cuda::kRowThreads) ActivationKernel(const __grid_constant__ Args args) {
  cuda::GatedActivation(args);
}
template <typename Args>
__global__ void __launch_bounds__(cuda::kArgMaxThreads) ArgMaxKernel(const __grid_constant__ Args args) {
  cuda::ArgMax(args);
}

// Where, and whether kernels may begin before their predecessors have ended.
struct LaunchOn {
  cudaStream_t stream = nullptr;
  bool overlap = true;
};

struct RowGrid {
  int x = 1, y = 1, threads = cuda::kRowThreads, shared_bytes = 0;
};

template <typename Args>
void LaunchRows(void (*kernel)(Args), const RowGrid& grid, const Args& args, const LaunchOn& on) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
  config.stream = on.stream;
  config.attrs = &attribute;
  config.numAttrs = on.overlap ? 1 : 0;
  Check(cudaLaunchKernelEx(&config, kernel, args), "a kernel between products");
}

inline void LaunchEmbedding(const cuda::EmbeddingArgs& args, int rows, const LaunchOn& on) {
  LaunchRows(&EmbeddingKernel<cuda::EmbeddingArgs>, {.x = cuda::VecBlocks(args.features, cuda::kRowThreads), .y = rows},
             args, on);
}

template <int kThreads, int kVecs>
void LaunchNormAs(const cuda::RmsNormArgs& args, int rows, const LaunchOn& on) {
  LaunchRows(&RmsNormKernel<kThreads, kVecs>,
             {.x = rows, .threads = kThreads, .shared_bytes = cuda::kRmsNormSharedBytes<kThreads>}, args, on);
}
// `threads`: 256, 512 or 1,024. Features: up to 4,096, or 8,192 with 1,024 threads.
inline void LaunchNorm(const cuda::RmsNormArgs& args, int rows, int threads, const LaunchOn& on) {
  if (args.features > (threads == 1024 ? 8192 : 4096)) throw DeviceError("norm: no kernel for so many features");
  if (threads == 256) return LaunchNormAs<256, 2>(args, rows, on);
  if (threads == 512) return LaunchNormAs<512, 1>(args, rows, on);
  LaunchNormAs<1024, 1>(args, rows, on);
}

template <int kHeadDim>
void LaunchRope(const cuda::RopeArgs& args, int rows, const LaunchOn& on) {
  LaunchRows(&RopeKernel<kHeadDim>, {.x = cuda::RopeBlocks<kHeadDim>(args.num_heads, args.kv.kv_heads), .y = rows},
             args, on);
}

inline void LaunchActivation(const cuda::ActivationArgs& args, int rows, const LaunchOn& on) {
  LaunchRows(&ActivationKernel<cuda::ActivationArgs>,
             {.x = cuda::VecBlocks(args.features, cuda::kRowThreads), .y = rows}, args, on);
}

inline void LaunchArgMax(const cuda::ArgMaxArgs& args, int rows, const LaunchOn& on) {
  LaunchRows(&ArgMaxKernel<cuda::ArgMaxArgs>,
             {.x = args.parts, .y = rows, .threads = cuda::kArgMaxThreads, .shared_bytes = cuda::kArgMaxSharedBytes},
             args, on);
}

// All of them against plain loops.
bool CheckElementwise(uint64_t seed);

}  // namespace quire::probe
