// Launches of decode attention: the kernels' instances, and the plan of a batch on the card.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/decode_merge.h"
#include "kernels/decode_plan.h"
#include "kernels/decode_units.h"
#include "probe/device.h"

namespace quire::probe {

using cuda::DecodeArgs;
using cuda::DecodePlan;
using cuda::DecodeSequence;
using cuda::DecodeUnit;

constexpr float kLog2E = 1.4426950408889634F;

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

// How a kernel of decode attention is launched. Kernels that start before the one before them has ended must agree on
// how a multiprocessor's memory is divided: it is divided anew only when nothing runs there, and blocks that found too
// little shared memory would stay away until then.
struct DecodeConfig {
  int blocks, threads, shared_bytes;
  int carveout;  // shared memory of a multiprocessor: percent, or a cudaSharedCarveout
};
template <typename... Parameters, typename... Arguments>
void LaunchDecodeKernel(void (*kernel)(Parameters...), const DecodeConfig& how, const DecodeLaunch& work,
                        cudaStream_t stream, const Arguments&... arguments) {
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, how.shared_bytes),
        "decode: shared memory");
  Check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, how.carveout), "decode: carveout");
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(how.blocks));
  config.blockDim = dim3(static_cast<unsigned>(how.threads));
  config.dynamicSmemBytes = static_cast<size_t>(how.shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = work.overlap ? 1 : 0;
  Check(cudaLaunchKernelEx(&config, kernel, arguments...), "decode attention");
}

template <int kHeadDim>
void LaunchMerge(const DecodeLaunch& work, int carveout, cudaStream_t stream) {
  if (work.merges)
    LaunchDecodeKernel(
        MergeKernel<kHeadDim>,
        {work.num_sequences * work.args.num_heads, cuda::kDecodeThreads, cuda::kMergeSharedBytes<kHeadDim>, carveout},
        work, stream, work.args);
}

inline int ResidentBlocks(const DecodeLaunch& work, int of_multiprocessor) {
  static const int multiprocessors = DescribeCard().multiprocessors;
  const int resident = work.most_blocks > 0 ? work.most_blocks : multiprocessors * of_multiprocessor;
  return std::min(resident, work.args.NumItems());
}

// By loads to registers, for cards older than the copy engine, which have no early starts either.
void LaunchDecode(const DecodeLaunch& work, cudaStream_t stream, int blocks_per_multiprocessor = 3);

// By the copy engine, for sm_90. `blocks_per_multiprocessor`: 1 or 2.
void LaunchDecodeTma(const DecodeLaunch& work, cudaStream_t stream, int blocks_per_multiprocessor = 2);

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
