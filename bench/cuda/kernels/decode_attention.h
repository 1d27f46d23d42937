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
// Keys and values go from global memory to registers by 16-byte loads and are operands as they are (decode_tile.h).
// While keys are multiplied values are in flight, and the other way round. Bound by memory from one query head to eight
// per KV head: 16 products for 8 KiB of cache. Loads in flight want room in the L1 cache: a launch should leave it what
// the blocks do not take as shared memory. Cards of sm_90 have decode_tma.h.
//
// Numerics: bf16 products with float sums; probabilities rounded to bf16 for the second product; tiles of 16 positions
// in order, interleaved over the warps of a block, whose states are merged in order of warp; partitions interleaved
// over the warps of the merging block in order, these in order of warp.
#pragma once

#include <cstdint>

#include "kernels/decode_tile.h"
#include "kernels/decode_units.h"
#include "simt/simt.h"

namespace quire::cuda {

// Shared memory of the attention kernel: the states of all warps for three items in turn, four records a warp (of the
// item that is stored, the one computed, the next, the one after), and the barrier at which states are complete.
template <int kHeadDim, int kHeadTiles>
struct DecodeLayout {
  static constexpr int kItemFloats = DecodeStates<kHeadDim, kHeadTiles>::kItemFloats;
  static constexpr int kBuffers = 3;
  static constexpr int kRecords = kBuffers * kItemFloats * static_cast<int>(sizeof(float));
  static constexpr int kRecordsPerWarp = 4;
  static constexpr int kBarrier = kRecords + kDecodeWarps * kRecordsPerWarp * static_cast<int>(sizeof(DecodeUnit));
  static constexpr int kSharedBytes = kBarrier + 8;
};

// One warp's share of the items: what it has read ahead, and the state of its softmax.
template <int kHeadDim, int kHeadTiles>
class DecodeWarp : public DecodeTile<kHeadDim, kHeadTiles> {
 public:
  using Tile = DecodeTile<kHeadDim, kHeadTiles>;
  using Layout = DecodeLayout<kHeadDim, kHeadTiles>;
  using Tile::kChunks;
  using Tile::kHalves;

  QUIRE_DEVICE explicit DecodeWarp(const DecodeArgs& args) : args_(args) {}

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
    this->Reset();
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
      this->Score(scores);
      const bool low_valid = Holds(tile_ + row_), high_valid = Holds(tile_ + row_ + 8);
      more = --num_tiles_ > 0;
      if (more)
        NextTile();
      else
        Open(next, turn + 1);
      this->Weigh(low_valid, high_valid, scores, args_.scale, weights);
      this->Accumulate(weights);
      if (num_tiles_ > 0) LoadValues();
    }
    this->SumOverRows();
  }

  // The record of the block's `turn`-th item, until the one four turns later is asked for.
  QUIRE_DEVICE const DecodeUnit& Record(int turn) const {
    const auto* const records = reinterpret_cast<const DecodeUnit*>(simt::SharedMemory() + Layout::kRecords);
    return records[warp_ * Layout::kRecordsPerWarp + turn % Layout::kRecordsPerWarp];
  }

 private:
  using Tile::keys_;
  using Tile::loaded_values_;
  using Tile::quad_;
  using Tile::row_;
  using Tile::warp_;

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
    this->LoadQueries(args_.q + (int64_t{unit.sequence} * args_.num_heads + kv_head * args_.Group()) * kHeadDim,
                      args_.Group(), this->query_);
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

  // Where the key or value of a position begins, given its block.
  QUIRE_DEVICE const uint16_t* Row(int value, uint32_t block, int position) const {
    const auto slot = static_cast<uint32_t>(position & (args_.kv.block_size - 1));
    return args_.kv.data + uint64_t{block} * args_.block_elements +
           (static_cast<uint32_t>(value) * args_.value_offset + head_offset_ + slot * kHeadDim);
  }
  QUIRE_DEVICE bool Holds(int position) const { return position >= begin_ && position < end_; }

  // What is no position of the sequence lies in some block all the same, and spoils no score but its own, which is not
  // used.
  QUIRE_DEVICE void LoadKeys() {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const uint32_t block = simt::Shuffle(block_, 2 * tile_index_ + half);
      const uint16_t* const key = Row(0, block, tile_ + half * 8 + row_) + quad_ * 8;
      QUIRE_UNROLL
      for (int c = 0; c < kChunks; ++c) keys_[half][c] = simt::LoadStreaming(key + c * 32);
    }
  }

  // A weight of zero does not take away a NaN: what is no position of the sequence is never multiplied.
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

  static constexpr int kStride = kDecodeWarps * kDecodeTile;  // from one tile of a warp to its next

  const DecodeArgs& args_;
  uint32_t head_offset_ = 0;       // of the present KV head's keys in a block
  int begin_ = 0, end_ = 0;        // positions of the present item
  int tile_ = 0, tile_index_ = 0;  // the tile whose keys, then values, were asked for last
  int num_tiles_ = 0;              // from it on
  uint32_t block_ = 0, next_block_ = 0;
};

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
  if (simt::ThreadId() == 0) simt::BarrierInit(barrier, kDecodeThreads);
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
    simt::BarrierArrive(barrier);
  }
  store(item - simt::GridX(), turn - 1);
}

}  // namespace quire::cuda
