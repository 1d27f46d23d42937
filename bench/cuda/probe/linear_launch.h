// Launches of products by dequant_linear.h: how one is cut into blocks, and the kernel that a cut and a number of
// tokens are given to.
#pragma once

#include <cuda_runtime.h>

#include "kernels/linear_layout.h"
#include "probe/device.h"

namespace quire::probe {

using cuda::LinearArgs;
using cuda::WeightFormat;

// What a warp asks L2 for past its ring.
constexpr int kLinearAheadBytes = 0;

struct LinearKernel {
  void (*function)(LinearArgs) = nullptr;
  int shared_bytes = 0;
  bool is_cluster = false;
};

// The kernel for so many tokens and splits. `cluster`: blocks that share k read each other's shared memory, where there
// are at most cuda::kMaxTeam of them and the driver takes clusters that start early in a graph.
LinearKernel PrepareLinear(WeightFormat format, int m, int splits, bool cluster = true);

// `programmatic`: may begin before the kernel before it has ended.
void LaunchLinear(const LinearKernel& kernel, LinearArgs args, bool programmatic, cudaStream_t stream);

// Clusters of so many blocks that the card holds at once.
int MostClusters(const LinearKernel& kernel, int blocks);

}  // namespace quire::probe
