// Decode attention as decode_attention.h has it, for sm_90a: the copy engine brings keys and values to shared memory,
// where as much as the ring holds is under way at any time, whatever the warps that multiply are doing, and whatever is
// left of the L1 cache.
//
// Blocks of threads are persistent and take every so many-th item. One warp asks for keys and values, 64 positions at a
// time, of all its block's items one after the other; four warps multiply 16 of the 64 positions each (decode_tile.h),
// and after an item merge their states and store what is a result or a part of one.
//
// Numerics: as decode_attention.h, but that tiles of 16 positions are shared out from a multiple of 64 on.
#pragma once

#include <cstdint>

#include "kernels/decode_tile.h"
#include "kernels/decode_units.h"
#include "simt/simt.h"

namespace quire::cuda {

constexpr int kDecodeTmaThreads = kDecodeThreads + simt::kWarpSize;

// Shared memory of a block: a ring of slots, each the keys or the values of 64 positions, their barriers, the states of
// an item. A slot is [8 groups of 8 positions, halves of 64 dimensions, 8 positions, 128 bytes] under the 128-byte
// swizzle.
template <int kHeadDim, int kHeadTiles, int kBlocksPerMultiprocessor>
struct DecodeTmaLayout {
  static constexpr int kPositions = kDecodeWarps * kDecodeTile;
  static constexpr int kHalves = kHeadDim / 64;
  static constexpr int kHalfBytes = 8 * 128;
  static constexpr int kGroupBytes = kHalves * kHalfBytes;
  static constexpr int kSlotBytes = kPositions / 8 * kGroupBytes;
  static constexpr int kStateBytes = DecodeStates<kHeadDim, kHeadTiles>::kItemFloats * static_cast<int>(sizeof(float));
  static constexpr int kMostSlots = 16;
  static constexpr int kFixedBytes = kStateBytes + 2 * kMostSlots * 8;
  static constexpr int kSlots =
      simt::Min(kMostSlots, ((227 / kBlocksPerMultiprocessor - 1) * 1024 - kFixedBytes) / kSlotBytes);
  static constexpr int kStates = kSlots * kSlotBytes;
  static constexpr int kFull = kStates + kStateBytes;    // barriers of each slot: what was asked for is there
  static constexpr int kEmpty = kFull + kMostSlots * 8;  // all warps have read it
  static constexpr int kSharedBytes = kStates + kFixedBytes;
  static_assert(kSlots >= 4 && kPositions == 64);

  // Positions that one copy brings: a cache block's, or what fits.
  QUIRE_HOST_DEVICE static constexpr int BoxSlots(int block_size) { return simt::Min(block_size, int{kPositions}); }
};

// The next slot of the ring, and the parity of its phase.
template <int kSlots>
struct SlotCursor {
  QUIRE_DEVICE void Next() {
    if (++slot < kSlots) return;
    slot = 0;
    parity ^= 1U;
  }
  int slot = 0;
  uint32_t parity = 0;
};

// The warp that asks. A lane has a cache block's positions of each tile of 64; `cache` maps the cache as
// [planes, groups of 8 slots, halves, 8 slots, 64 dimensions] with boxes of BoxSlots slots.
template <typename Layout>
class DecodeAsker {
 public:
  QUIRE_DEVICE DecodeAsker(const DecodeArgs& args, const simt::TensorMap* cache)
      : args_(args),
        cache_(cache),
        shared_(simt::AddressOf(simt::SharedMemory())),
        lane_(simt::ThreadId() % simt::kWarpSize),
        box_(Layout::BoxSlots(args.kv.block_size)),
        asks_(lane_ < Layout::kPositions / box_) {}

  QUIRE_DEVICE void Run() {
    // Read ahead: units by two items, block numbers by one.
    const int first = simt::BlockX(), step = simt::GridX();
    DecodeUnit unit = UnitOf(first), next = UnitOf(first + step);
    uint32_t blocks[kBlocks], next_blocks[kBlocks];
    LoadBlocks(unit, blocks);
    for (int item = first; item < args_.NumItems(); item += step) {
      const DecodeUnit after = UnitOf(item + 2 * step);
      LoadBlocks(next, next_blocks);
      Ask(unit, item % args_.kv.kv_heads, blocks);
      unit = next;
      next = after;
      QUIRE_UNROLL
      for (int i = 0; i < kBlocks; ++i) blocks[i] = next_blocks[i];
    }
  }

 private:
  static constexpr int kBlocks = kMaxPartition / 8 / simt::kWarpSize;  // numbers that a lane holds, in the worst case

  QUIRE_DEVICE DecodeUnit UnitOf(int item) const {
    return item < args_.NumItems() ? args_.units[item / args_.kv.kv_heads] : DecodeUnit{};
  }
  QUIRE_DEVICE static int FirstTile(const DecodeUnit& unit) {
    return unit.begin / Layout::kPositions * Layout::kPositions;
  }

  // Piece p of an item is box_ positions from FirstTile + p box_ on: lane p % 32 holds its block as number p / 32. One
  // that is not there lies past all blocks, which gives zeros. A window may have given back what lies before it.
  QUIRE_DEVICE void LoadBlocks(const DecodeUnit& unit, uint32_t (&blocks)[kBlocks]) const {
    QUIRE_UNROLL
    for (int i = 0; i < kBlocks; ++i) {
      const int position = FirstTile(unit) + (i * simt::kWarpSize + lane_) * box_;
      blocks[i] = position < unit.end && position + box_ > unit.begin
                      ? args_.tables[unit.table_begin + position / args_.kv.block_size]
                      : static_cast<uint32_t>(args_.kv.num_blocks);
    }
  }

  // `blocks` is used up.
  QUIRE_DEVICE void Ask(const DecodeUnit& unit, int kv_head, uint32_t (&blocks)[kBlocks]) {
    int piece = 0;  // the tile's first, modulo those of a number of each lane
    for (int tile = FirstTile(unit); tile < unit.end; tile += Layout::kPositions) {
      const auto block = static_cast<int>(simt::Shuffle(blocks[0], (piece + lane_) % simt::kWarpSize));
      const int group = ((tile + lane_ * box_) & (args_.kv.block_size - 1)) / 8;
      const int plane = block * 2 * args_.kv.kv_heads + kv_head;
      AskFor(group, plane);
      AskFor(group, plane + args_.kv.kv_heads);
      piece += Layout::kPositions / box_;
      if (piece < simt::kWarpSize) continue;
      piece = 0;
      QUIRE_UNROLL
      for (int i = 1; i < kBlocks; ++i) blocks[i - 1] = blocks[i];
    }
  }

  QUIRE_DEVICE void AskFor(int group, int plane) {
    const auto barrier = static_cast<uint32_t>(cursor_.slot) * 8;
    simt::BarrierWait(shared_ + Layout::kEmpty + barrier, cursor_.parity ^ 1U);
    if (lane_ == 0) simt::BarrierExpect(shared_ + Layout::kFull + barrier, Layout::kSlotBytes);
    simt::SyncWarp();
    const auto to = static_cast<uint32_t>(cursor_.slot * Layout::kSlotBytes + lane_ * box_ / 8 * Layout::kGroupBytes);
    if (asks_) simt::LoadTile(shared_ + to, cache_, shared_ + Layout::kFull + barrier, 0, 0, 0, group, plane);
    simt::SyncWarp();
    cursor_.Next();
  }

  const DecodeArgs& args_;
  const simt::TensorMap* const cache_;
  const simt::SharedAddress shared_;
  const int lane_;
  const int box_;
  const bool asks_;
  SlotCursor<Layout::kSlots> cursor_;
};

// One of the four warps that multiply.
template <int kHeadDim, int kHeadTiles, typename Layout>
class DecodeMultiplier : public DecodeTile<kHeadDim, kHeadTiles> {
 public:
  using Tile = DecodeTile<kHeadDim, kHeadTiles>;
  using Tile::kChunks;
  using Tile::kHalves;

  QUIRE_DEVICE explicit DecodeMultiplier(const DecodeArgs& args)
      : args_(args),
        memory_(simt::SharedMemory()),
        shared_(simt::AddressOf(memory_)),
        lane_(simt::ThreadId() % simt::kWarpSize) {}

  QUIRE_DEVICE void Run() {
    auto* const states = reinterpret_cast<float*>(memory_ + Layout::kStates);
    const int first = simt::BlockX(), step = simt::GridX();
    DecodeUnit unit = args_.units[first / args_.kv.kv_heads];
    LoadQueries(unit, first, this->query_);
    for (int item = first; item < args_.NumItems(); item += step) {
      const bool more = item + step < args_.NumItems();
      const DecodeUnit next = more ? args_.units[(item + step) / args_.kv.kv_heads] : unit;
      Attend(unit);
      if (more) LoadQueries(next, item + step, this->query_);
      simt::SyncSome(1, kDecodeThreads);  // all have stored the item before
      this->Store(states);
      simt::SyncSome(1, kDecodeThreads);
      StoreItem<kHeadDim, kHeadTiles>(args_, unit, item, states);
      unit = next;
    }
  }

 private:
  using Tile::keys_;
  using Tile::loaded_values_;
  using Tile::quad_;
  using Tile::row_;
  using Tile::warp_;

  QUIRE_DEVICE void LoadQueries(const DecodeUnit& unit, int item, typename Tile::Queries& query) const {
    const int head = item % args_.kv.kv_heads * args_.Group();
    Tile::LoadQueries(args_.q + (int64_t{unit.sequence} * args_.num_heads + head) * kHeadDim, args_.Group(), query);
  }

  QUIRE_DEVICE void Attend(const DecodeUnit& unit) {
    this->Reset();
    int at = unit.begin / Layout::kPositions * Layout::kPositions + warp_ * kDecodeTile;  // this warp's 16 positions
    for (const int end = unit.end + warp_ * kDecodeTile; at < end; at += Layout::kPositions) {
      if (at < unit.end && at + kDecodeTile > unit.begin) {
        Multiply(unit, at);
      } else {
        Release();
        Release();
      }
    }
    this->SumOverRows();
  }

  QUIRE_DEVICE void Multiply(const DecodeUnit& unit, int at) {
    const auto holds = [&](int position) { return position >= unit.begin && position < unit.end; };
    float scores[kHeadTiles][4];
    uint32_t weights[kHeadTiles][2];
    LoadKeys(Await());
    Release();
    this->Score(scores);
    const bool whole = at >= unit.begin && at + kDecodeTile <= unit.end;
    LoadValues(Await());
    Release();
    if (!whole) DropValues(at, holds);
    this->Weigh(holds(at + row_), holds(at + row_ + 8), scores, args_.scale, weights);
    this->Accumulate(weights);
  }

  // The slot that comes next, once it is full.
  QUIRE_DEVICE const char* Await() const {
    simt::BarrierWait(shared_ + Layout::kFull + static_cast<uint32_t>(cursor_.slot) * 8, cursor_.parity);
    return memory_ + cursor_.slot * Layout::kSlotBytes;
  }
  QUIRE_DEVICE void Release() {
    simt::SyncWarp();
    if (lane_ == 0) simt::BarrierArrive(shared_ + Layout::kEmpty + static_cast<uint32_t>(cursor_.slot) * 8);
    cursor_.Next();
  }

  // Eight dimensions, the `chunk`th of a half's, of position `position` of a group.
  QUIRE_DEVICE static simt::Vec4 Piece(const char* half, int position, int chunk) {
    return simt::Load16(half + position * 128 + (chunk ^ position) * 16);
  }

  QUIRE_DEVICE void LoadKeys(const char* slot) {
    QUIRE_UNROLL
    for (int high = 0; high < 2; ++high) QUIRE_UNROLL
    for (int c = 0; c < kChunks; ++c)
      keys_[high][c] =
          Piece(slot + (warp_ * 2 + high) * Layout::kGroupBytes + c / 2 * Layout::kHalfBytes, row_, c % 2 * 4 + quad_);
  }
  QUIRE_DEVICE void LoadValues(const char* slot) {
    QUIRE_UNROLL
    for (int high = 0; high < 2; ++high) QUIRE_UNROLL
    for (int odd = 0; odd < 2; ++odd) QUIRE_UNROLL
    for (int h = 0; h < kHalves; ++h)
      loaded_values_[high][odd][h] =
          Piece(slot + (warp_ * 2 + high) * Layout::kGroupBytes + h * Layout::kHalfBytes, quad_ * 2 + odd, row_);
  }
  // A weight of zero does not take away a NaN: what is no position of the sequence is never multiplied.
  template <typename Holds>
  QUIRE_DEVICE void DropValues(int at, Holds holds) {
    QUIRE_UNROLL
    for (int high = 0; high < 2; ++high) QUIRE_UNROLL
    for (int odd = 0; odd < 2; ++odd) QUIRE_UNROLL
    for (int h = 0; h < kHalves; ++h)
      if (!holds(at + high * 8 + quad_ * 2 + odd)) loaded_values_[high][odd][h] = simt::Vec4{0, 0, 0, 0};
  }

  const DecodeArgs& args_;
  char* const memory_;
  const simt::SharedAddress shared_;
  const int lane_;
  SlotCursor<Layout::kSlots> cursor_;
};

// REQUIRES: kDecodeTmaThreads threads, DecodeTmaLayout::kSharedBytes of shared memory, at most 8 kHeadTiles query heads
// per KV head, no more blocks than items.
template <int kHeadDim, int kHeadTiles, int kBlocksPerMultiprocessor>
QUIRE_DEVICE void DecodeTmaAttention(const DecodeArgs& args, const simt::TensorMap* cache) {
  using Layout = DecodeTmaLayout<kHeadDim, kHeadTiles, kBlocksPerMultiprocessor>;
  const simt::SharedAddress shared = simt::AddressOf(simt::SharedMemory());
  if (simt::ThreadId() == 0) {
    for (uint32_t slot = 0; slot < Layout::kSlots; ++slot) {
      simt::BarrierInit(shared + Layout::kFull + slot * 8, 1);
      simt::BarrierInit(shared + Layout::kEmpty + slot * 8, kDecodeWarps);
    }
    simt::BarrierInitFence();
    simt::PrefetchTensorMap(cache);
  }
  simt::SyncThreads();
  simt::DependencyWait();
  simt::DependencyLaunch();
  if (simt::ThreadId() >= kDecodeThreads)
    DecodeAsker<Layout>(args, cache).Run();
  else
    DecodeMultiplier<kHeadDim, kHeadTiles, Layout>(args).Run();
}

}  // namespace quire::cuda
