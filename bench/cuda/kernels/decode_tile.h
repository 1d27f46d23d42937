// What decode attention computes, whoever brings keys and values: a warp's arithmetic on 16 positions, and what becomes
// of the states of a block's warps.
//
// Tensor instructions with positions as rows: scores are products [16 positions, 8 heads] = K Qᵀ, results
// [16 dims, 8 heads] = Vᵀ Pᵀ. Keys and values are operands as they come in pieces of 16 bytes: the dimensions of K (and
// Q alike) and the rows of Vᵀ are taken in the order in which a lane's bytes come, which no sum can tell.
#pragma once

#include <cstdint>

#include "kernels/decode_units.h"
#include "simt/simt.h"

namespace quire::cuda {

// The states of a block's warps for one item: [warp, head, weighted values, maximum, sum] floats.
template <int kHeadDim, int kHeadTiles>
struct DecodeStates {
  static constexpr int kHeads = kHeadTiles * 8;
  static constexpr int kStateFloats = kHeadDim + 4;  // whole 16 bytes
  static constexpr int kWarpFloats = kHeads * kStateFloats;
  static constexpr int kItemFloats = kDecodeWarps * kWarpFloats;
};

// A warp's softmax over some of an item's positions, 16 at a time: keys_, then loaded_values_ are filled in, multiplied
// and free again. Lane (row, quad) = (lane / 4, lane % 4).
template <int kHeadDim, int kHeadTiles>
class DecodeTile {
 public:
  using States = DecodeStates<kHeadDim, kHeadTiles>;
  static constexpr int kChunks = kHeadDim / 32;  // of 32 dimensions: two steps of the product with Q
  static constexpr int kHalves = kHeadDim / 64;  // of 64 dimensions: four tiles of the product with P
  static_assert(kHeadDim % 64 == 0);
  using Queries = simt::Vec4[kHeadTiles][kChunks];

  QUIRE_DEVICE DecodeTile()
      : row_(simt::ThreadId() % simt::kWarpSize / 4),
        quad_(simt::ThreadId() % 4),
        warp_(simt::ThreadId() / simt::kWarpSize) {}

  // Maximum, sum and weighted values of each head, to this warp's part of an item's shared memory.
  QUIRE_DEVICE void Store(float* item) const {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int i = 0; i < 2; ++i) {
      float* const to = item + warp_ * States::kWarpFloats + (h * 8 + quad_ * 2 + i) * States::kStateFloats;
      if (row_ == 0) {
        to[kHeadDim] = maximum_[h][i];
        to[kHeadDim + 1] = sum_[h][i];
      }
      QUIRE_UNROLL
      for (int m = 0; m < kHalves * 4; m += 2) {
        const float(&even)[4] = values_[h][m];
        const float(&odd)[4] = values_[h][m + 1];
        simt::Store16(to + m / 4 * 64 + row_ * 8 + m % 4 * 2, {simt::AsBits(even[i]), simt::AsBits(even[2 + i]),
                                                               simt::AsBits(odd[i]), simt::AsBits(odd[2 + i])});
      }
    }
  }

 protected:
  QUIRE_DEVICE void Reset() {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      maximum_[h][0] = maximum_[h][1] = kMinusInfinity;
      sum_[h][0] = sum_[h][1] = 0;
      QUIRE_UNROLL
      for (int m = 0; m < kHalves * 4; ++m) QUIRE_UNROLL
      for (int r = 0; r < 4; ++r) values_[h][m][r] = 0;
    }
  }

  QUIRE_DEVICE void LoadQueries(const uint16_t* q, int group, Queries& query) const {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int head = h * 8 + row_;
      query[h][c] = head < group ? simt::Load16(q + head * kHeadDim + c * 32 + quad_ * 8) : simt::Vec4{0, 0, 0, 0};
    }
  }

  QUIRE_DEVICE void Score(float (&scores)[kHeadTiles][4]) {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      QUIRE_UNROLL
      for (int r = 0; r < 4; ++r) scores[h][r] = 0;
      QUIRE_UNROLL
      for (int c = 0; c < kChunks; ++c) {
        const simt::Vec4 &low = keys_[0][c], &high = keys_[1][c], &q = query_[h][c];
        const uint32_t first[4] = {low.x, high.x, low.y, high.y}, first_q[2] = {q.x, q.y};
        simt::Mma16x8x16(scores[h], first, first_q);
        const uint32_t second[4] = {low.z, high.z, low.w, high.w}, second_q[2] = {q.z, q.w};
        simt::Mma16x8x16(scores[h], second, second_q);
      }
    }
  }

  // Softmax over the tile for heads 2 quad, 2 quad + 1 of each head tile; weights [16 positions, 8 heads] become the
  // right operand of the next product.
  QUIRE_DEVICE void Weigh(bool low_valid, bool high_valid, const float (&scores)[kHeadTiles][4], float scale,
                          uint32_t (&weights)[kHeadTiles][2]) {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      float p[4];
      QUIRE_UNROLL
      for (int head = 0; head < 2; ++head) {
        const float low = low_valid ? scores[h][head] * scale : kMinusInfinity;
        const float high = high_valid ? scores[h][2 + head] * scale : kMinusInfinity;
        const float maximum = Rescale(h, head, MaxOverRows(simt::Max(low, high)));
        p[head] = simt::Exp2(low - maximum);
        p[2 + head] = simt::Exp2(high - maximum);
        sum_[h][head] += p[head] + p[2 + head];
      }
      weights[h][0] = simt::TransposeMatrix(simt::PackBf16(p[0], p[1]));
      weights[h][1] = simt::TransposeMatrix(simt::PackBf16(p[2], p[3]));
    }
  }

  // Raises a head's maximum to at least `seen`, rescaling what was summed below the old one.
  QUIRE_DEVICE float Rescale(int h, int head, float seen) {
    const float maximum = simt::Max(maximum_[h][head], seen);
    const float factor = simt::Exp2(maximum_[h][head] - maximum);
    maximum_[h][head] = maximum;
    sum_[h][head] *= factor;
    QUIRE_UNROLL
    for (int m = 0; m < kHalves * 4; ++m) {
      values_[h][m][head] *= factor;
      values_[h][m][2 + head] *= factor;
    }
    return maximum;
  }

  QUIRE_DEVICE void Accumulate(const uint32_t (&weights)[kHeadTiles][2]) {
    QUIRE_UNROLL
    for (int half = 0; half < kHalves; ++half) {
      const simt::Vec4 &even_low = loaded_values_[0][0][half], &odd_low = loaded_values_[0][1][half];
      const simt::Vec4 &even_high = loaded_values_[1][0][half], &odd_high = loaded_values_[1][1][half];
      AccumulatePair(half * 4 + 0, even_low.x, odd_low.x, even_high.x, odd_high.x, weights);
      AccumulatePair(half * 4 + 1, even_low.y, odd_low.y, even_high.y, odd_high.y, weights);
      AccumulatePair(half * 4 + 2, even_low.z, odd_low.z, even_high.z, odd_high.z, weights);
      AccumulatePair(half * 4 + 3, even_low.w, odd_low.w, even_high.w, odd_high.w, weights);
    }
  }

  // Two dimensions of four positions: pairs of positions of one dimension each are what the product wants.
  QUIRE_DEVICE void AccumulatePair(int tile, uint32_t even_low, uint32_t odd_low, uint32_t even_high, uint32_t odd_high,
                                   const uint32_t (&weights)[kHeadTiles][2]) {
    constexpr uint32_t kLowHalves = 0x5410, kHighHalves = 0x7632;
    const uint32_t transposed[4] = {
        simt::PermuteBytes(even_low, odd_low, kLowHalves), simt::PermuteBytes(even_low, odd_low, kHighHalves),
        simt::PermuteBytes(even_high, odd_high, kLowHalves), simt::PermuteBytes(even_high, odd_high, kHighHalves)};
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) simt::Mma16x8x16(values_[h][tile], transposed, weights[h]);
  }

  static QUIRE_DEVICE float MaxOverRows(float value) {
    value = simt::Max(value, simt::ShuffleXor(value, 4));
    value = simt::Max(value, simt::ShuffleXor(value, 8));
    return simt::Max(value, simt::ShuffleXor(value, 16));
  }
  QUIRE_DEVICE void SumOverRows() {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int head = 0; head < 2; ++head) {
      float& sum = sum_[h][head];
      sum += simt::ShuffleXor(sum, 4);
      sum += simt::ShuffleXor(sum, 8);
      sum += simt::ShuffleXor(sum, 16);
    }
  }

  static constexpr float kMinusInfinity = -__builtin_huge_valf();

  const int row_, quad_, warp_;
  Queries query_;
  // Dimensions 32 c + 8 quad to + 7 of keys `row` and `row + 8`.
  simt::Vec4 keys_[2][kChunks];
  // Dimensions 64 h + 8 row to + 7 of values 2 quad, 2 quad + 1, and of both plus 8: [plus 8][odd][h].
  simt::Vec4 loaded_values_[2][2][kHalves];
  float maximum_[kHeadTiles][2];
  float sum_[kHeadTiles][2];
  float values_[kHeadTiles][kHalves * 4][4];
};

// Merges the warps' states of an item in order of warp, and stores what is a result or a part of one. A warp takes
// every fourth head of the group, a lane four dimensions.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void StoreItem(const DecodeArgs& args, const DecodeUnit& unit, int item, const float* states) {
  using Layout = DecodeStates<kHeadDim, kHeadTiles>;
  const int lane = simt::ThreadId() % simt::kWarpSize, group = args.Group();
  if (lane * 4 >= kHeadDim) return;
  for (int head = simt::ThreadId() / simt::kWarpSize; head < group; head += kDecodeWarps) {
    const float* const state = states + head * Layout::kStateFloats;
    float maximum = state[kHeadDim], sum = 0, value[4] = {};
    QUIRE_UNROLL
    for (int w = 1; w < kDecodeWarps; ++w) maximum = simt::Max(maximum, state[w * Layout::kWarpFloats + kHeadDim]);
    QUIRE_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) {
      const float* const part = state + w * Layout::kWarpFloats;
      const float factor = simt::Exp2(part[kHeadDim] - maximum);
      const simt::Vec4 v = simt::Load16(part + lane * 4);
      sum += factor * part[kHeadDim + 1];
      value[0] += factor * simt::AsFloat(v.x);
      value[1] += factor * simt::AsFloat(v.y);
      value[2] += factor * simt::AsFloat(v.z);
      value[3] += factor * simt::AsFloat(v.w);
    }
    const int query_head = item % args.kv.kv_heads * group + head;
    if (unit.num_partitions == 1) {
      const float scale = 1 / sum;
      auto* const out = reinterpret_cast<uint32_t*>(
          args.out + (int64_t{unit.sequence} * args.num_heads + query_head) * kHeadDim + lane * 4);
      out[0] = simt::PackBf16(value[0] * scale, value[1] * scale);
      out[1] = simt::PackBf16(value[2] * scale, value[3] * scale);
      continue;
    }
    const int64_t at = int64_t{item / args.kv.kv_heads} * args.num_heads + query_head;
    simt::Store16(args.partial + at * kHeadDim + lane * 4,
                  {simt::AsBits(value[0]), simt::AsBits(value[1]), simt::AsBits(value[2]), simt::AsBits(value[3])});
    if (lane < 2) args.maxima[at * 2 + lane] = lane == 0 ? maximum : sum;
  }
}

}  // namespace quire::cuda
