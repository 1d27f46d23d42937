// Launches of products by dequant_linear.h: how one is cut into blocks, and the kernel that a cut and a number of
// tokens are given to.
#pragma once

#include <cuda_runtime.h>

#include "kernels/linear_layout.h"
#include "probe/device.h"

namespace quire::probe {

using cuda::LinearArgs;
using cuda::WeightFormat;

// What a warp asks L2 for past its ring: what the rings of small layers do not hold of int4 and int8.
constexpr int kLinearAheadBytes = 8192;

// How a product is cut into blocks and how they meet.
struct Cut {
  bool wide = false;    // 256 rows
  bool cluster = true;  // where it has at most 8 blocks
  bool halves = false;  // more than 32 tokens in two blocks
};
const char* NameOf(const Cut& cut);
// Tokens are read once for every 256 rows rather than 128. Where dequantising costs as much as the products, 64 tokens
// leave too few registers for two blocks on a multiprocessor, and two of 32 are better.
constexpr Cut DefaultCut(WeightFormat format, int m) {
  return {.wide = m > 8, .halves = m > 32 && format != WeightFormat::kBf16};
}

struct LinearKernel {
  void (*function)(LinearArgs) = nullptr;
  int shared_bytes = 0, block_rows = 0, blocks_of_split = 0;
  int token_blocks_log2 = 0;
  bool is_cluster = false;
};

// The kernel for these sizes, cut as wanted where they allow it, and the driver takes clusters that start early in a
// graph. Up to 16 tokens, blocks that are wide only if they then are no cluster are narrow: meeting in global memory
// takes longer than reading the tokens.
LinearKernel PrepareLinear(WeightFormat format, int m, int n, int splits, Cut cut);

// `programmatic`: may begin before the kernel before it has ended.
void LaunchLinear(const LinearKernel& kernel, LinearArgs args, bool programmatic, cudaStream_t stream);

// Clusters of so many blocks that the card holds at once.
int MostClusters(const LinearKernel& kernel, int blocks);

}  // namespace quire::probe
