// Decode attention over the paged KV cache: one query token per sequence, split over the context.
//
// A unit of work is one partition of one sequence's context; an item is a unit for one KV head and all query heads that
// share it, so that every key and value is read once. The partition's length is a function of the context's length
// alone (PartitionLength): what a sequence's answer is does not depend on who else is in the batch. Partitions leave
// their maximum, sum and weighted values in a workspace, which a second kernel merges in order of position.
//
// Blocks of threads are persistent: each takes every so many-th item. What an item needs before its first key can be
// asked for (its record, its block numbers, its queries) is read while the one before is computed, and its first keys
// and values are on their way before the results of that one are stored.
//
// Tensor instructions with positions as rows: scores are products [16 positions, 8 heads] = K Qᵀ, results
// [16 dims, 8 heads] = Vᵀ Pᵀ. Keys and values go from global memory to registers by 16-byte loads and are operands as
// they are: the dimensions of K (and Q alike) and the rows of Vᵀ are taken in the order in which a lane's bytes come,
// which no sum can tell. While keys are multiplied values are in flight, and the other way round. Bound by memory from
// one query head to eight per KV head: 16 products for 8 KiB of cache.
//
// Numerics: bf16 products with float sums; probabilities rounded to bf16 for the second product; tiles of 16 positions
// in order, interleaved over the warps of a block, whose states are merged in order of warp; partitions interleaved
// over the warps of the merging block in order, these in order of warp.
#pragma once

#include <cstdint>

#include "kernels/decode_units.h"
#include "simt/simt.h"

namespace quire::cuda {

// Shared memory of the attention kernel: the states of all warps for three items in turn, four records a warp (of the
// item that is stored, the one computed, the next, the one after), and the barrier at which states are complete.
template <int kHeadDim, int kHeadTiles>
struct DecodeLayout {
  static constexpr int kHeads = kHeadTiles * 8;
  static constexpr int kStateFloats = kHeadDim + 4;  // weighted values, maximum, sum; whole 16 bytes
  static constexpr int kWarpFloats = kHeads * kStateFloats;
  static constexpr int kItemFloats = kDecodeWarps * kWarpFloats;
  static constexpr int kBuffers = 3;
  static constexpr int kRecords = kBuffers * kItemFloats * static_cast<int>(sizeof(float));
  static constexpr int kRecordsPerWarp = 4;
  static constexpr int kBarrier = kRecords + kDecodeWarps * kRecordsPerWarp * static_cast<int>(sizeof(DecodeUnit));
  static constexpr int kSharedBytes = kBarrier + 8;
};

// One warp's share of the items: what it has read ahead, and the state of its softmax.
template <int kHeadDim, int kHeadTiles>
class DecodeWarp {
 public:
  using Layout = DecodeLayout<kHeadDim, kHeadTiles>;
  static constexpr int kChunks = kHeadDim / 32;  // of 32 dimensions: two steps of the product with Q
  static constexpr int kHalves = kHeadDim / 64;  // of 64 dimensions: four tiles of the product with P
  static_assert(kHeadDim % 64 == 0);

  QUIRE_DEVICE explicit DecodeWarp(const DecodeArgs& args) : args_(args) {
    const int lane = simt::ThreadId() % simt::kWarpSize;
    row_ = lane / 4;
    quad_ = lane % 4;
    warp_ = simt::ThreadId() / simt::kWarpSize;
  }

  // Reads ahead for the block's first two items.
  QUIRE_DEVICE void Begin() {
    const int item = simt::BlockX();
    RequestRecord(item, 0);
    RequestBlocks(item, 0);
    RequestRecord(item + simt::GridX(), 1);
    Open(item, 0);
    if (num_tiles_ > 0) LoadValues();
  }

  // One item, opened before, the block's `turn`-th. Ends with the next one opened, if there is one.
  QUIRE_DEVICE void Attend(int item, int turn) {
    const int next = item + simt::GridX();
    Reset();
    RequestBlocks(next, turn + 1);
    RequestRecord(next + simt::GridX(), turn + 2);
    if (num_tiles_ == 0) {
      Open(next, turn + 1);
      if (num_tiles_ > 0) LoadValues();
      return;
    }
    for (bool more = true; more;) {
      float scores[kHeadTiles][4];
      uint32_t weights[kHeadTiles][2];
      Score(scores);
      const bool low_valid = Holds(tile_ + row_), high_valid = Holds(tile_ + row_ + 8);
      more = --num_tiles_ > 0;
      if (more)
        NextTile();
      else
        Open(next, turn + 1);
      Weigh(low_valid, high_valid, scores, weights);
      Accumulate(weights);
      if (num_tiles_ > 0) LoadValues();
    }
    SumOverRows();
  }

  // Maximum, sum and weighted values of each head, to this warp's part of an item's shared memory.
  QUIRE_DEVICE void Store(float* item) const {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int i = 0; i < 2; ++i) {
      float* const to = item + warp_ * Layout::kWarpFloats + (h * 8 + quad_ * 2 + i) * Layout::kStateFloats;
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

  // The record of the block's `turn`-th item, until the one four turns later is asked for.
  QUIRE_DEVICE const DecodeUnit& Record(int turn) const {
    const auto* const records = reinterpret_cast<const DecodeUnit*>(simt::SharedMemory() + Layout::kRecords);
    return records[warp_ * Layout::kRecordsPerWarp + turn % Layout::kRecordsPerWarp];
  }

 private:
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

  QUIRE_DEVICE void RequestRecord(int item, int turn) {
    const int lane = simt::ThreadId() % simt::kWarpSize;
    if (item < args_.NumItems() && lane < 2) {
      const auto* const unit = reinterpret_cast<const char*>(args_.units + item / args_.kv.kv_heads);
      simt::CopyAsync(simt::AddressOf(reinterpret_cast<const char*>(&Record(turn)) + lane * 16), unit + lane * 16,
                      true);
    }
    simt::CopyAsyncCommit();
  }

  // Asks for the block numbers of an item whose record was requested: lane 2 i + h keeps the block of half h of tile i.
  // A window may have given back what lies before it.
  QUIRE_DEVICE void RequestBlocks(int item, int turn) {
    simt::CopyAsyncWait<0>();
    simt::SyncWarp();
    if (item >= args_.NumItems()) return;
    const DecodeUnit& unit = Record(turn);
    const int lane = simt::ThreadId() % simt::kWarpSize;
    const int position = FirstTile(unit) + lane / 2 * kStride + lane % 2 * 8;
    next_block_ = position < unit.end && position + 8 > unit.begin
                      ? args_.tables[unit.table_begin + position / args_.kv.block_size]
                      : 0;
  }

  // Makes an item the present one and asks for its queries and its first keys.
  QUIRE_DEVICE void Open(int item, int turn) {
    num_tiles_ = 0;
    if (item >= args_.NumItems()) return;
    const DecodeUnit& unit = Record(turn);
    begin_ = unit.begin;
    end_ = unit.end;
    block_ = next_block_;
    tile_ = FirstTile(unit);
    tile_index_ = 0;
    num_tiles_ = tile_ < end_ ? simt::CeilDiv(end_ - tile_, kStride) : 0;
    const int kv_head = item % args_.kv.kv_heads;
    head_offset_ = static_cast<uint32_t>(kv_head) * args_.head_elements;
    if (num_tiles_ == 0) return;
    LoadQueries(args_.q + (int64_t{unit.sequence} * args_.num_heads + kv_head * args_.Group()) * kHeadDim);
    LoadKeys();
  }
  QUIRE_DEVICE void NextTile() {
    tile_ += kStride;
    ++tile_index_;
    LoadKeys();
  }
  QUIRE_DEVICE int FirstTile(const DecodeUnit& unit) const {
    return unit.begin / kDecodeTile * kDecodeTile + warp_ * kDecodeTile;
  }

  QUIRE_DEVICE void LoadQueries(const uint16_t* q) {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) QUIRE_UNROLL
    for (int c = 0; c < kChunks; ++c) {
      const int head = h * 8 + row_;
      query_[h][c] =
          head < args_.Group() ? simt::Load16(q + head * kHeadDim + c * 32 + quad_ * 8) : simt::Vec4{0, 0, 0, 0};
    }
  }

  // Where the key or value of a position begins, given its block.
  QUIRE_DEVICE const uint16_t* Row(int value, uint32_t block, int position) const {
    const auto slot = static_cast<uint32_t>(position & (args_.kv.block_size - 1));
    return args_.kv.data + uint64_t{block} * args_.block_elements +
           (static_cast<uint32_t>(value) * args_.value_offset + head_offset_ + slot * kHeadDim);
  }
  QUIRE_DEVICE bool Holds(int position) const { return position >= begin_ && position < end_; }

  // Lane (row, quad): dimensions 32 c + 8 quad to + 7 of keys `row` and `row + 8`. What is no position of the sequence
  // lies in some block all the same, and spoils no score but its own, which is not used.
  QUIRE_DEVICE void LoadKeys() {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t block = simt::Shuffle(block_, 2 * tile_index_ + half);
      const uint16_t* const key = Row(0, block, tile_ + half * 8 + row_) + quad_ * 8;
      QUIRE_UNROLL
      for (int c = 0; c < kChunks; ++c) keys_[half][c] = simt::LoadStreaming(key + c * 32);
    }
  }

  // Lane (row, quad): dimensions 64 h + 8 row to + 7 of values 2 quad, 2 quad + 1, and of both plus 8. A weight of zero
  // does not take away a NaN: what is no position of the sequence is never multiplied.
  QUIRE_DEVICE void LoadValues() {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t block = simt::Shuffle(block_, 2 * tile_index_ + half);
      const int position = tile_ + half * 8 + quad_ * 2;
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
  QUIRE_DEVICE void Weigh(bool low_valid, bool high_valid, const float (&scores)[kHeadTiles][4],
                          uint32_t (&weights)[kHeadTiles][2]) {
    QUIRE_UNROLL
    for (int h = 0; h < kHeadTiles; ++h) {
      float p[4];
      QUIRE_UNROLL
      for (int head = 0; head < 2; ++head) {
        const float low = low_valid ? scores[h][head] * args_.scale : kMinusInfinity;
        const float high = high_valid ? scores[h][2 + head] * args_.scale : kMinusInfinity;
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
  static constexpr int kStride = kDecodeWarps * kDecodeTile;  // from one tile of a warp to its next

  const DecodeArgs& args_;
  int row_ = 0, quad_ = 0, warp_ = 0;
  uint32_t head_offset_ = 0;       // of the present KV head's keys in a block
  int begin_ = 0, end_ = 0;        // positions of the present item
  int tile_ = 0, tile_index_ = 0;  // the tile whose keys, then values, were asked for last
  int num_tiles_ = 0;              // from it on
  uint32_t block_ = 0, next_block_ = 0;
  simt::Vec4 query_[kHeadTiles][kChunks];
  simt::Vec4 keys_[2][kChunks];
  simt::Vec4 loaded_values_[2][2][kHalves];
  float maximum_[kHeadTiles][2];
  float sum_[kHeadTiles][2];
  float values_[kHeadTiles][kHalves * 4][4];
};

// Merges the warps' states of an item in order of warp, and stores what is a result or a part of one. A warp takes
// every fourth head of the group, a lane four dimensions.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void StoreItem(const DecodeArgs& args, const DecodeUnit& unit, int item, const float* states) {
  using Layout = DecodeLayout<kHeadDim, kHeadTiles>;
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

// REQUIRES: kDecodeThreads threads, DecodeLayout::kSharedBytes of shared memory, at most 8 kHeadTiles query heads per
// KV head, no more blocks than items.
//
// Results of an item are stored after the next one was computed, when all warps' states have long been there: nobody
// waits for the slowest warp. With three buffers of states, whoever writes one again has waited for arrivals that came
// after all its readers were done: a warp arrives with an item's states once it has stored the item before.
template <int kHeadDim, int kHeadTiles>
QUIRE_DEVICE void DecodeAttention(const DecodeArgs& args) {
  using Layout = DecodeLayout<kHeadDim, kHeadTiles>;
  char* const memory = simt::SharedMemory();
  auto* const states = reinterpret_cast<float*>(memory);
  const simt::SharedAddress barrier = simt::AddressOf(memory + Layout::kBarrier);
  if (simt::ThreadId() == 0) simt::BarrierInit(barrier, kDecodeWarps);
  simt::SyncThreads();
  simt::DependencyWait();
  simt::DependencyLaunch();
  DecodeWarp<kHeadDim, kHeadTiles> warp(args);
  warp.Begin();
  const auto store = [&](int item, int turn) {
    simt::BarrierWait(barrier, static_cast<uint32_t>(turn & 1));
    StoreItem<kHeadDim, kHeadTiles>(args, warp.Record(turn), item,
                                    states + turn % Layout::kBuffers * Layout::kItemFloats);
  };
  int item = simt::BlockX(), turn = 0;
  for (; item < args.NumItems(); item += simt::GridX(), ++turn) {
    warp.Attend(item, turn);
    warp.Store(states + turn % Layout::kBuffers * Layout::kItemFloats);
    if (turn > 0) store(item - simt::GridX(), turn - 1);
    simt::SyncWarp();
    if (simt::ThreadId() % simt::kWarpSize == 0) simt::BarrierArrive(barrier);
  }
  store(item - simt::GridX(), turn - 1);
}

}  // namespace quire::cuda
