// Launches of decode attention by the copy engine, which exists for one target alone.
#include "kernels/decode_tma.h"
#include "probe/decode_launch.h"
#include "probe/tensor_map.h"

namespace quire::probe {
namespace {

template <int kHeadDim, int kHeadTiles, int kBlocks>
__global__ void __launch_bounds__(cuda::kDecodeTmaThreads, kBlocks)
    DecodeTmaKernel(const __grid_constant__ DecodeArgs args, const __grid_constant__ CUtensorMap cache) {
  cuda::DecodeTmaAttention<kHeadDim, kHeadTiles, kBlocks>(args, &cache);
}

template <int kHeadDim, int kHeadTiles, int kBlocks>
void Launch(const DecodeLaunch& work, cudaStream_t stream) {
  using Layout = cuda::DecodeTmaLayout<kHeadDim, kHeadTiles, kBlocks>;
  const cuda::PagedKv& kv = work.args.kv;
  const CUtensorMap cache =
      MapTensor<5>(kv.data, {{64, 8, Layout::kHalves, kv.block_size / 8, int64_t{2} * kv.kv_heads * kv.num_blocks},
                             {1, kHeadDim, 64, 8 * kHeadDim, kv.HeadElements()},
                             {64, 8, Layout::kHalves, Layout::BoxSlots(kv.block_size) / 8, 1}});
  constexpr int kCarveout = cudaSharedmemCarveoutMaxShared;
  LaunchDecodeKernel(DecodeTmaKernel<kHeadDim, kHeadTiles, kBlocks>,
                     {ResidentBlocks(work, kBlocks), cuda::kDecodeTmaThreads, Layout::kSharedBytes, kCarveout}, work,
                     stream, work.args, cache);
  LaunchMerge<kHeadDim>(work, kCarveout, stream);
}

}  // namespace

void LaunchDecodeTma(const DecodeLaunch& work, cudaStream_t stream, int blocks_per_multiprocessor) {
  const int group = work.args.Group(), head_dim = work.args.kv.head_dim;
  const bool alone = blocks_per_multiprocessor == 1;
  if (head_dim == 128 && group <= 8) return alone ? Launch<128, 1, 1>(work, stream) : Launch<128, 1, 2>(work, stream);
  if (head_dim == 128 && group <= 16) return Launch<128, 2, 1>(work, stream);
  if (head_dim == 64 && group <= 8) return Launch<64, 1, 2>(work, stream);
  if (head_dim == 64 && group <= 16) return Launch<64, 2, 2>(work, stream);
  throw DeviceError("decode attention: no kernel for this head size and group");
}

}  // namespace quire::probe
