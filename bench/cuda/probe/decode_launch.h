// Launches of decode attention: the kernels' instances, and the plan of a batch on the card.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/decode_attention.h"
#include "kernels/decode_merge.h"
#include "kernels/decode_plan.h"
#include "probe/device.h"

namespace quire::probe {

using cuda::DecodeArgs;
using cuda::DecodePlan;
using cuda::DecodeSequence;
using cuda::DecodeUnit;

constexpr float kLog2E = 1.4426950408889634F;

template <int kHeadDim, int kHeadTiles, int kBlocksPerMultiprocessor>
__global__ void __launch_bounds__(cuda::kDecodeThreads, kBlocksPerMultiprocessor)
    DecodeKernel(const __grid_constant__ DecodeArgs args) {
  cuda::DecodeAttention<kHeadDim, kHeadTiles>(args);
}

template <int kHeadDim>
__global__ void __launch_bounds__(cuda::kDecodeThreads) MergeKernel(const __grid_constant__ DecodeArgs args) {
  cuda::MergePartitions<kHeadDim>(args);
}

struct DecodeLaunch {
  DecodeArgs args;
  int num_sequences = 0;
  bool merges = true;   // some sequence has more than one partition
  bool overlap = true;  // programmatic dependent launch
  int most_blocks = 0;  // of the persistent grid; 0: as many as are resident
};

inline void LaunchDecodeKernel(void (*kernel)(DecodeArgs), int blocks, int shared_bytes, const DecodeLaunch& work,
                               cudaStream_t stream) {
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes),
        "decode: shared memory");
  // Kernels that start before the one before them has ended must agree on how a multiprocessor's memory is divided: it
  // is divided anew only when nothing runs there, and blocks that found too little shared memory would stay away.
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
        "decode: carveout");
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(cuda::kDecodeThreads);
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = work.overlap ? 1 : 0;
  Check(cudaLaunchKernelEx(&config, kernel, work.args), "decode attention");
}

template <int kHeadDim, int kHeadTiles, int kBlocks>
void LaunchDecodeAs(const DecodeLaunch& work, cudaStream_t stream) {
  static const int multiprocessors = DescribeCard().multiprocessors;
  const int resident = work.most_blocks > 0 ? work.most_blocks : multiprocessors * kBlocks;
  LaunchDecodeKernel(DecodeKernel<kHeadDim, kHeadTiles, kBlocks>, std::min(resident, work.args.NumItems()),
                     cuda::DecodeLayout<kHeadDim, kHeadTiles>::kSharedBytes, work, stream);
  if (work.merges)
    LaunchDecodeKernel(MergeKernel<kHeadDim>, work.num_sequences * work.args.num_heads,
                       cuda::kMergeSharedBytes<kHeadDim>, work, stream);
}

inline void LaunchDecode(const DecodeLaunch& work, cudaStream_t stream, int blocks_per_multiprocessor = 3) {
  const int group = work.args.Group();
  const int head_dim = work.args.kv.head_dim;
  if (head_dim == 128 && group <= 8 && blocks_per_multiprocessor == 2) return LaunchDecodeAs<128, 1, 2>(work, stream);
  if (head_dim == 128 && group <= 8) return LaunchDecodeAs<128, 1, 3>(work, stream);
  if (head_dim == 128 && group <= 16) return LaunchDecodeAs<128, 2, 2>(work, stream);
  if (head_dim == 64 && group <= 8) return LaunchDecodeAs<64, 1, 4>(work, stream);
  if (head_dim == 64 && group <= 16) return LaunchDecodeAs<64, 2, 3>(work, stream);
  throw DeviceError("decode attention: no kernel for this head size and group");
}

// The plan of a batch and the workspace it needs, on the card.
struct DecodeBatch {
  DecodeBatch(const DecodePlan& plan, int num_heads, int head_dim)
      : sequences(std::span<const DecodeSequence>(plan.sequences)),
        units(std::span<const DecodeUnit>(plan.units)),
        partial(plan.units.size() * static_cast<size_t>(num_heads * head_dim)),
        maxima(plan.units.size() * static_cast<size_t>(num_heads) * 2) {
    partial.Poison();
    maxima.Poison();
  }
  void Fill(DecodeLaunch& work) const {
    work.args.sequences = sequences.data();
    work.args.units = units.data();
    work.args.num_units = static_cast<int32_t>(units.count());
    work.args.partial = partial.data();
    work.args.maxima = maxima.data();
    work.num_sequences = static_cast<int>(sequences.count());
    work.merges = units.count() > sequences.count();
  }
  DeviceArray<DecodeSequence> sequences;
  DeviceArray<DecodeUnit> units;
  DeviceArray<float> partial, maxima;
};

}  // namespace quire::probe
