#include "kernels/decode_attention.h"
#include "probe/decode_launch.h"

namespace quire::probe {
namespace {

template <int kHeadDim, int kHeadTiles, int kBlocksPerMultiprocessor>
__global__ void __launch_bounds__(cuda::kDecodeThreads, kBlocksPerMultiprocessor)
    DecodeKernel(const __grid_constant__ DecodeArgs args) {
  cuda::DecodeAttention<kHeadDim, kHeadTiles>(args);
}

// By loads to registers, for cards older than the copy engine, which have no early starts either. Their L1 cache, where
// what is under way has its place, is what shared memory leaves, as the driver divides it.
template <int kHeadDim, int kHeadTiles, int kBlocks>
void LaunchDecodeAs(DecodeLaunch work, cudaStream_t stream) {
  work.overlap = false;
  constexpr int kSharedBytes = cuda::DecodeLayout<kHeadDim, kHeadTiles>::kSharedBytes;
  LaunchDecodeKernel(DecodeKernel<kHeadDim, kHeadTiles, kBlocks>,
                     {ResidentBlocks(work, kBlocks), cuda::kDecodeThreads, kSharedBytes, cudaSharedmemCarveoutDefault},
                     work, stream, work.args);
  LaunchMerge<kHeadDim>(work, cudaSharedmemCarveoutDefault, stream);
}

}  // namespace

void LaunchDecode(const DecodeLaunch& work, cudaStream_t stream, int blocks_per_multiprocessor) {
  const int group = work.args.Group();
  const int head_dim = work.args.kv.head_dim;
  if (head_dim == 128 && group <= 8 && blocks_per_multiprocessor == 2) return LaunchDecodeAs<128, 1, 2>(work, stream);
  if (head_dim == 128 && group <= 8) return LaunchDecodeAs<128, 1, 3>(work, stream);
  if (head_dim == 128 && group <= 16) return LaunchDecodeAs<128, 2, 2>(work, stream);
  if (head_dim == 64 && group <= 8) return LaunchDecodeAs<64, 1, 4>(work, stream);
  if (head_dim == 64 && group <= 16) return LaunchDecodeAs<64, 2, 3>(work, stream);
  throw DeviceError("decode attention: no kernel for this head size and group");
}

}  // namespace quire::probe
