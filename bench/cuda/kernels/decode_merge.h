// The second kernel of decode attention: merges the partitions of sequences that have several.
#pragma once

#include <cstdint>

#include "kernels/decode_units.h"
#include "simt/simt.h"

namespace quire::cuda {

// One block merges one head of one sequence. Warp w takes partitions w, w + 4, ... in order.
// REQUIRES: kDecodeThreads threads, MergeSharedBytes of shared memory, a block for each head of each sequence.
template <int kHeadDim>
constexpr int kMergeSharedBytes = kDecodeWarps*(kHeadDim + 4) * static_cast<int>(sizeof(float));

template <int kHeadDim>
QUIRE_DEVICE void MergePartitions(const DecodeArgs& args) {
  simt::DependencyWait();
  simt::DependencyLaunch();
  const int index = simt::BlockX() / args.num_heads, head = simt::BlockX() % args.num_heads;
  const DecodeSequence sequence = args.sequences[index];
  if (sequence.num_partitions <= 1) return;
  const int lane = simt::ThreadId() % simt::kWarpSize, warp = simt::ThreadId() / simt::kWarpSize;
  const int64_t first = int64_t{sequence.first_unit} * args.num_heads + head;
  const float* const maxima = args.maxima + first * 2;
  const int64_t stride = args.num_heads;

  float maximum = -__builtin_huge_valf();
  for (int p = lane; p < sequence.num_partitions; p += simt::kWarpSize)
    maximum = simt::Max(maximum, maxima[p * stride * 2]);
  QUIRE_UNROLL
  for (int mask = 1; mask < simt::kWarpSize; mask *= 2) maximum = simt::Max(maximum, simt::ShuffleXor(maximum, mask));

  auto* const shared = reinterpret_cast<float*>(simt::SharedMemory());
  if (lane * 4 < kHeadDim) {
    const float* const partial = args.partial + first * kHeadDim + lane * 4;
    float sum = 0, value[4] = {};
    QUIRE_UNROLL_BY_8
    for (int p = warp; p < sequence.num_partitions; p += kDecodeWarps) {
      const simt::Vec4 v = simt::Load16(partial + p * stride * kHeadDim);
      const float factor = simt::Exp2(maxima[p * stride * 2] - maximum);
      sum += factor * maxima[p * stride * 2 + 1];
      value[0] += factor * simt::AsFloat(v.x);
      value[1] += factor * simt::AsFloat(v.y);
      value[2] += factor * simt::AsFloat(v.z);
      value[3] += factor * simt::AsFloat(v.w);
    }
    float* const mine = shared + warp * (kHeadDim + 4);
    simt::Store16(mine + lane * 4,
                  {simt::AsBits(value[0]), simt::AsBits(value[1]), simt::AsBits(value[2]), simt::AsBits(value[3])});
    if (lane == 0) mine[kHeadDim] = sum;
  }
  simt::SyncThreads();
  for (int dim = simt::ThreadId() * 2; dim < kHeadDim; dim += kDecodeThreads * 2) {
    float sum = 0, low = 0, high = 0;
    QUIRE_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float* const part = shared + w * (kHeadDim + 4);
      sum += part[kHeadDim];
      low += part[dim];
      high += part[dim + 1];
    }
    *reinterpret_cast<uint32_t*>(args.out + (int64_t{index} * args.num_heads + head) * kHeadDim + dim) =
        simt::PackBf16(low / sum, high / sum);
  }
}

}  // namespace quire::cuda
