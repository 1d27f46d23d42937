// Decode attention over the paged KV cache: one query token per sequence, split over the context.
//
// A unit of work is one partition of one sequence's context, for one KV head and all query heads that share it, so that
// every key and value is read once. The partition's length is a function of the context's length alone
// (PartitionLength): what a sequence's answer is does not depend on who else is in the batch. Partitions leave their
// maximum, sum and weighted values in a workspace; the last of a sequence to end merges them in order of position.
//
// Tensor instructions with positions as rows: scores are Kᵀ-major products [16 positions, 8 heads] = K Qᵀ, results
// [16 dims, 8 heads] = Vᵀ Pᵀ. Keys and values go from global memory to registers by 16-byte loads and are operands as
// they are: the dimensions of K (and Q alike) and the rows of Vᵀ are taken in the order in which a lane's bytes come,
// which no sum can tell. No shared memory, no barrier in the loop; while keys are multiplied values are in flight, and
// the other way round. Bound by memory from one query head to eight per KV head: 16 products for 8 KiB of cache.
//
// Numerics: bf16 products with float sums; probabilities rounded to bf16 for the second product; tiles of 16 positions
// in order, interleaved over the warps of a block, whose states are merged in order of warp.
#pragma once

#include <cstdint>

#include "kernels/paged_kv.h"
#include "simt/simt.h"

namespace quire::cuda {

constexpr int kDecodeTile = 16;  // positions of one step of a warp
constexpr int kDecodeWarps = 4;  // per block
constexpr int kDecodeThreads = kDecodeWarps * simt::kWarpSize;
constexpr int kMaxPartition = 1024;  // 16 tiles a warp: a lane holds each half tile's block

// Positions per partition: short enough that one sequence fills a card, long enough that partial results are 2 % of
// what is read.
QUIRE_HOST_DEVICE constexpr int PartitionLength(int context) {
  return context <= 1024 ? 64 : context <= 4096 ? 128 : 256;
}

struct DecodeSequence {
  int32_t context = 0;         // positions, the query's own included; at least 1
  int32_t table_begin = 0;     // entries of `tables` from here hold the sequence's blocks
  int32_t partition = 0;       // positions per partition, a multiple of 64
  int32_t num_partitions = 0;  // of those from the window's start
  int32_t first_unit = 0;      // where its partial results begin
};

struct DecodeUnit {
  int32_t sequence = 0;  // -1: nothing to do (a graph's grid is padded)
  int32_t partition = 0;
};

struct DecodeArgs {
  const uint16_t* q = nullptr;  // [sequences, num_heads, head_dim] bf16
  PagedKv kv;
  const uint32_t* tables = nullptr;
  const DecodeSequence* sequences = nullptr;
  const DecodeUnit* units = nullptr;  // block x is unit x; block y is the KV head
  int32_t num_heads = 0;
  float scale = 0;
  int32_t window = 0;        // 0: all; else positions p with context - 1 - p < window
  float* partial = nullptr;  // [units, kv_heads, group, head_dim]
  float* maxima = nullptr;   // [units, kv_heads, group, 2]: maximum (base 2), sum
  int* arrived = nullptr;    // [sequences, kv_heads], zero before and after
  uint16_t* out = nullptr;   // [sequences, num_heads, head_dim] bf16
};

// Where a partition stands: positions [begin, end), of tiles aligned to 16 in the table's positions.
struct PartitionRange {
  int begin, end, tiles_begin;
};
QUIRE_HOST_DEVICE constexpr int WindowBegin(int context, int window) {
  return window > 0 && context > window ? context - window : 0;
}
QUIRE_HOST_DEVICE constexpr int NumPartitions(int context, int window, int partition) {
  const int first = WindowBegin(context, window) / partition;
  return simt::CeilDiv(context, partition) - first;
}
// Partitions are cut at multiples of their length, so that a window that moves does not move them.
QUIRE_HOST_DEVICE constexpr PartitionRange RangeOf(int context, int window, int partition, int index) {
  const int from = WindowBegin(context, window);
  const int start = (from / partition + index) * partition;
  const int begin = simt::Max(start, from);
  return {begin, simt::Min(start + partition, context), begin / kDecodeTile * kDecodeTile};
}

template <int kHeadDim>
constexpr int DecodeSharedBytes(int head_tiles) {
  return kDecodeWarps * head_tiles * 8 * (kHeadDim + 2) * static_cast<int>(sizeof(float));
}

// One warp's share of a unit: what it has read ahead, and the state of its softmax.
template <int kHeadDim, int kHeadTiles>
class DecodeWarp {
 public:
  static constexpr int kChunks = kHeadDim / 32;  // of 32 dimensions: two steps of the product with Q
  static constexpr int kHalves = kHeadDim / 64;  // of 64 dimensions: four tiles of the product with P
  static_assert(kHeadDim % 64 == 0);

  QUIRE_DEVICE DecodeWarp(const DecodeArgs& args, const PartitionRange& range, const uint32_t* table, int kv_head)
      : range_(range),
        head_(args.kv.data + args.kv.Offset(0, 0, kv_head, 0)),
        block_elements_(static_cast<uint32_t>(args.kv.BlockElements())),
        value_offset_(static_cast<uint32_t>(args.kv.kv_heads * args.kv.HeadElements())),
        block_size_(args.kv.block_size),
        scale_(args.scale * kLog2E) {
    const int lane = simt::ThreadId() % simt::kWarpSize;
    row_ = lane / 4;
    quad_ = lane % 4;
    warp_ = simt::ThreadId() / simt::kWarpSize;
    const int all = simt::CeilDiv(range.end - range.tiles_begin, kDecodeTile);
    num_tiles_ = all > warp_ ? simt::CeilDiv(all - warp_, kDecodeWarps) : 0;
    // Lane 2 i + h keeps the block of half h of tile i. A window may have given back what lies before it.
    const int position = TileBegin(lane / 2) + lane % 2 * 8;
    block_ = position < range.end && position + 8 > range.begin ? table[position / args.kv.block_size] : 0;
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      maximum_[h][0] = maximum_[h][1] = kMinusInfinity;
      sum_[h][0] = sum_[h][1] = 0;
      QUIRE_UNROLL
      for (int m = 0; m < kHalves * 4; ++m) QUIRE_UNROLL
      for (int r = 0; r < 4; ++r) values_[h][m][r] = 0;
    }
  }

  QUIRE_DEVICE void LoadQueries(const uint16_t* q, int group) {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int head = h * 8 + row_;
      query_[h][c] = head < group ? simt::Load16(q + head * kHeadDim + c * 32 + quad_ * 8) : simt::Vec4{0, 0, 0, 0};
    }
  }

  QUIRE_DEVICE void Run() {
    if (num_tiles_ == 0) return;
    LoadKeys(0);
    LoadValues(0);
    for (int i = 0; i < num_tiles_; ++i) {
      float scores[kHeadTiles][4];
      Score(scores);
      if (i + 1 < num_tiles_) LoadKeys(i + 1);
      uint32_t weights[kHeadTiles][2];
      Weigh(i, scores, weights);
      Accumulate(weights);
      if (i + 1 < num_tiles_) LoadValues(i + 1);
    }
    SumOverRows();
  }

  // Maximum, sum and weighted values of each head, to shared memory: [heads, kHeadDim + 2].
  QUIRE_DEVICE void Store(float* shared) const {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int i = 0; i < 2; ++i) {
      float* const to = shared + (h * 8 + quad_ * 2 + i) * (kHeadDim + 2);
      if (row_ == 0) {
        to[kHeadDim] = maximum_[h][i];
        to[kHeadDim + 1] = sum_[h][i];
      }
      QUIRE_UNROLL
      for (int m = 0; m < kHalves * 4; ++m) {
        const int dim = m / 4 * 64 + row_ * 8 + m % 4 * 2;
        to[dim] = values_[h][m][i];
        to[dim + 1] = values_[h][m][2 + i];
      }
    }
  }

 private:
  QUIRE_DEVICE int TileBegin(int i) const { return range_.tiles_begin + (i * kDecodeWarps + warp_) * kDecodeTile; }

  // Where the key or value of a position begins, given its block.
  QUIRE_DEVICE const uint16_t* Row(int value, uint32_t block, int position) const {
    const auto slot = static_cast<uint32_t>(position & (block_size_ - 1));
    return head_ + uint64_t{block} * block_elements_ + (static_cast<uint32_t>(value) * value_offset_ + slot * kHeadDim);
  }
  QUIRE_DEVICE bool Holds(int position) const { return position >= range_.begin && position < range_.end; }

  // Lane (row, quad): dimensions 32 c + 8 quad to + 7 of keys `row` and `row + 8`. What is no position of the sequence
  // lies in some block all the same, and spoils no score but its own, which is not used.
  QUIRE_DEVICE void LoadKeys(int i) {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t block = simt::Shuffle(block_, 2 * i + half);
      const int position = TileBegin(i) + half * 8 + row_;
      const uint16_t* const key = Row(0, block, position) + quad_ * 8;
      QUIRE_UNROLL
      for (int c = 0; c < kChunks; ++c) keys_[half][c] = simt::LoadStreaming(key + c * 32);
    }
  }

  // Lane (row, quad): dimensions 64 h + 8 row to + 7 of values 2 quad, 2 quad + 1, and of both plus 8. A weight of zero
  // does not take away a NaN: what is no position of the sequence is never multiplied.
  QUIRE_DEVICE void LoadValues(int i) {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t block = simt::Shuffle(block_, 2 * i + half);
      const int position = TileBegin(i) + half * 8 + quad_ * 2;
      const uint16_t* const value = Row(1, block, position) + row_ * 8;
      QUIRE_UNROLL
      for (int odd = 0; odd < 2; ++odd) {
        const bool valid = Holds(position + odd);
        QUIRE_UNROLL
        for (int h = 0; h < kHalves; ++h)
          loaded_values_[half][odd][h] =
              valid ? simt::LoadStreaming(value + odd * kHeadDim + h * 64) : simt::Vec4{0, 0, 0, 0};
      }
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
  QUIRE_DEVICE void Weigh(int i, const float (&scores)[kHeadTiles][4], uint32_t (&weights)[kHeadTiles][2]) {
    const int first = TileBegin(i) + row_;
    const bool low_valid = first >= range_.begin && first < range_.end;
    const bool high_valid = first + 8 >= range_.begin && first + 8 < range_.end;
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      float p[4];
      QUIRE_UNROLL
      for (int head = 0; head < 2; ++head) {
        const float low = low_valid ? scores[h][head] * scale_ : kMinusInfinity;
        const float high = high_valid ? scores[h][2 + head] * scale_ : kMinusInfinity;
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

  static constexpr float kLog2E = 1.4426950408889634F;
  static constexpr float kMinusInfinity = -__builtin_huge_valf();

  PartitionRange range_;
  const uint16_t* head_;     // this KV head's keys in block 0
  uint32_t block_elements_;  // from one block to the next
  uint32_t value_offset_;    // from a block's keys to its values
  int block_size_;
  float scale_;  // of scores, to base 2
  int row_ = 0, quad_ = 0, warp_ = 0, num_tiles_ = 0;
  uint32_t block_ = 0;
  simt::Vec4 query_[kHeadTiles][kChunks];
  simt::Vec4 keys_[2][kChunks];
  simt::Vec4 loaded_values_[2][2][kHalves];
  float maximum_[kHeadTiles][2];
  float sum_[kHeadTiles][2];
  float values_[kHeadTiles][kHalves * 4][4];
};

// The states of a block's warps, merged in order of warp: what one unit found for one head.
template <int kHeadDim>
class MergedWarps {
 public:
  QUIRE_DEVICE MergedWarps(const float* shared, int heads, int head) : state_(shared + head * (kHeadDim + 2)) {
    stride_ = heads * (kHeadDim + 2);
    maximum_ = state_[kHeadDim];
    for (int w = 1; w < kDecodeWarps; ++w) maximum_ = simt::Max(maximum_, state_[w * stride_ + kHeadDim]);
    sum_ = 0;
    QUIRE_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) {
      factor_[w] = simt::Exp2(state_[w * stride_ + kHeadDim] - maximum_);
      sum_ += factor_[w] * state_[w * stride_ + kHeadDim + 1];
    }
  }
  QUIRE_DEVICE float maximum() const { return maximum_; }
  QUIRE_DEVICE float sum() const { return sum_; }
  QUIRE_DEVICE float Value(int dim) const {
    float value = 0;
    QUIRE_UNROLL
    for (int w = 0; w < kDecodeWarps; ++w) value += factor_[w] * state_[w * stride_ + dim];
    return value;
  }

 private:
  const float* state_;
  int stride_;
  float maximum_, sum_;
  float factor_[kDecodeWarps];
};

// Merges a sequence's partitions for one KV head, in order of position. Four dimensions of a head per thread.
template <int kHeadDim>
QUIRE_DEVICE void MergePartitions(const DecodeArgs& args, const DecodeSequence& sequence, int index, int kv_head) {
  const int group = args.num_heads / args.kv.kv_heads;
  const int64_t first = int64_t{sequence.first_unit} * args.kv.kv_heads + kv_head;
  const int64_t stride = int64_t{args.kv.kv_heads} * group;  // heads from one partition to the next
  for (int item = simt::ThreadId(); item < group * (kHeadDim / 4); item += kDecodeThreads) {
    const int head = item / (kHeadDim / 4), dim = item % (kHeadDim / 4) * 4;
    const float* const maxima = args.maxima + (first * group + head) * 2;
    const float* const partial = args.partial + (first * group + head) * kHeadDim + dim;
    float maximum = -__builtin_huge_valf();
    for (int p = 0; p < sequence.num_partitions; ++p)
      maximum = simt::Max(maximum, simt::LoadCoherent8(maxima + p * stride * 2).x);
    float sum = 0, value[4] = {};
    QUIRE_UNROLL_BY_8
    for (int p = 0; p < sequence.num_partitions; ++p) {
      const simt::Float2 state = simt::LoadCoherent8(maxima + p * stride * 2);
      const simt::Vec4 v = simt::LoadCoherent16(partial + p * stride * kHeadDim);
      const float factor = simt::Exp2(state.x - maximum);
      sum += factor * state.y;
      value[0] += factor * simt::AsFloat(v.x);
      value[1] += factor * simt::AsFloat(v.y);
      value[2] += factor * simt::AsFloat(v.z);
      value[3] += factor * simt::AsFloat(v.w);
    }
    const float scale = 1 / sum;
    auto* const out = reinterpret_cast<uint32_t*>(
        args.out + (int64_t{index} * args.num_heads + kv_head * group + head) * kHeadDim + dim);
    out[0] = simt::PackBf16(value[0] * scale, value[1] * scale);
    out[1] = simt::PackBf16(value[2] * scale, value[3] * scale);
  }
}

// What a unit found goes to the output if it was the only one, else to the workspace.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void StoreUnit(const DecodeArgs& args, const DecodeSequence& sequence, const DecodeUnit& unit, int kv_head,
                            const float* shared) {
  const int group = args.num_heads / args.kv.kv_heads;
  const int64_t slot = (int64_t{sequence.first_unit + unit.partition} * args.kv.kv_heads + kv_head) * group;
  for (int item = simt::ThreadId(); item < group * (kHeadDim / 2); item += kDecodeThreads) {
    const int head = item / (kHeadDim / 2), dim = item % (kHeadDim / 2) * 2;
    const MergedWarps<kHeadDim> merged(shared, kHeadTiles * 8, head);
    const float low = merged.Value(dim), high = merged.Value(dim + 1);
    if (sequence.num_partitions == 1) {
      auto* const out = reinterpret_cast<uint32_t*>(
          args.out + (int64_t{unit.sequence} * args.num_heads + kv_head * group + head) * kHeadDim + dim);
      *out = simt::PackBf16(low / merged.sum(), high / merged.sum());
    } else {
      float* const partial = args.partial + (slot + head) * kHeadDim + dim;
      partial[0] = low;
      partial[1] = high;
      if (dim == 0) {
        args.maxima[(slot + head) * 2] = merged.maximum();
        args.maxima[(slot + head) * 2 + 1] = merged.sum();
      }
    }
  }
}

// The first half of a unit's work: every warp's state to shared memory.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void AttendUnit(const DecodeArgs& args, const DecodeUnit& unit, int kv_head, float* shared) {
  const DecodeSequence sequence = args.sequences[unit.sequence];
  const int group = args.num_heads / args.kv.kv_heads;
  DecodeWarp<kHeadDim, kHeadTiles> warp(args,
                                        RangeOf(sequence.context, args.window, sequence.partition, unit.partition),
                                        args.tables + sequence.table_begin, kv_head);
  warp.LoadQueries(args.q + (int64_t{unit.sequence} * args.num_heads + kv_head * group) * kHeadDim, group);
  warp.Run();
  warp.Store(shared + simt::ThreadId() / simt::kWarpSize * kHeadTiles * 8 * (kHeadDim + 2));
}

// Whether this block is the last of its sequence's and KV head's to have stored: it sees what all others stored.
QUIRE_DEVICE bool IsLast(int* arrived, int num_partitions, int* shared) {
  simt::MemoryFence();
  simt::SyncThreads();
  if (simt::ThreadId() == 0) {
    *shared = simt::AtomicAdd(arrived, 1);
    if (*shared + 1 == num_partitions) *arrived = 0;
  }
  simt::SyncThreads();
  if (*shared + 1 != num_partitions) return false;
  simt::MemoryFence();
  return true;
}

// REQUIRES: kDecodeThreads threads, DecodeSharedBytes of shared memory, at most 8 kHeadTiles query heads per KV head.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void DecodeAttention(const DecodeArgs& args) {
  simt::DependencyWait();
  const DecodeUnit unit = args.units[simt::BlockX()];
  if (unit.sequence < 0) return;
  const int kv_head = simt::BlockY();
  auto* const shared = reinterpret_cast<float*>(simt::SharedMemory());
  AttendUnit<kHeadDim, kHeadTiles>(args, unit, kv_head, shared);
  simt::DependencyLaunch();
  simt::SyncThreads();
  // Read again, and not kept in registers through the loop.
  const DecodeUnit again = args.units[simt::BlockX()];
  const DecodeSequence sequence = args.sequences[again.sequence];
  StoreUnit<kHeadDim, kHeadTiles>(args, sequence, again, kv_head, shared);
  if (sequence.num_partitions == 1) return;
  int* const arrived = args.arrived + again.sequence * args.kv.kv_heads + kv_head;
  if (IsLast(arrived, sequence.num_partitions, reinterpret_cast<int*>(shared)))
    MergePartitions<kHeadDim>(args, sequence, again.sequence, kv_head);
}

}  // namespace quire::cuda
