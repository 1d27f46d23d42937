// Prefill attention over the paged KV cache for sm_90a: warpgroup products fed by the tensor copy engine.
//
// A block is three warpgroups: the warps of the first ask the copy engine for tiles (one request per cache block for
// its keys, one for its values), the other two compute 64 query rows each. Blocks of threads are persistent: each takes
// its tiles of the plan in turn, the first warpgroup running ahead into the next tile. Within a warpgroup the scores of
// the next keys are computed while the softmax of the present ones runs, and that while the previous values are
// multiplied; between the two, one computes products while the other computes exponentials (kTakeTurns).
//
// Tiles of keys and values are [128 positions, 2 halves of 64 dimensions] under the 128-byte swizzle; a cache block of
// 8 or more slots is whole atoms of it, so that paging costs requests and nothing else. Blocks that a tile does not
// need (past the end, before a window) are asked for outside of the map, which gives zeros; slots past the end in the
// last block are overwritten by zeros, so that no weight of zero meets a NaN.
//
// Numerics: keys in tiles of 128 absolute positions, in order; probabilities rounded to bf16.
#pragma once

#include <cstdint>

#include "kernels/prefill_plan.h"
#include "simt/simt.h"

namespace quire::cuda {

struct PrefillWgmma {
  static constexpr int kRows = 128;     // of queries per tile, 64 per warpgroup
  static constexpr int kKeys = 128;     // positions per tile of keys
  static constexpr int kHeadDim = 128;  // two halves of 128 bytes
  static constexpr int kStages = 2;     // of keys, and of values
  static constexpr int kThreads = 384;
  static constexpr int kConsumers = 256;
  static constexpr int kProducers = 4;                     // warps
  static constexpr uint32_t kAtomBytes = 1024;             // 8 positions of half a head
  static constexpr uint32_t kGroupBytes = 2 * kAtomBytes;  // 8 positions
  static constexpr uint32_t kTileBytes = kKeys / 8 * kGroupBytes;
  static constexpr uint32_t kQueryHalfBytes = kRows * 128;  // queries: [2 halves, 128 rows]

  // Shared memory: queries, stages of keys, stages of values, barriers.
  static constexpr uint32_t kQueries = 0;
  static constexpr uint32_t kKeysBegin = kTileBytes;
  static constexpr uint32_t kValuesBegin = kKeysBegin + kStages * kTileBytes;
  static constexpr uint32_t kBarriers = kValuesBegin + kStages * kTileBytes;
  static constexpr uint32_t kSharedBytes = kBarriers + 8 * (2 + 4 * kStages);

  static constexpr uint32_t kQueriesFull = kBarriers, kQueriesEmpty = kBarriers + 8;
  static QUIRE_HOST_DEVICE uint32_t KeysFull(uint32_t stage) { return kBarriers + 16 + 32 * stage; }
  static QUIRE_HOST_DEVICE uint32_t KeysEmpty(uint32_t stage) { return KeysFull(stage) + 8; }
  static QUIRE_HOST_DEVICE uint32_t ValuesFull(uint32_t stage) { return KeysFull(stage) + 16; }
  static QUIRE_HOST_DEVICE uint32_t ValuesEmpty(uint32_t stage) { return KeysFull(stage) + 24; }
  static QUIRE_HOST_DEVICE uint32_t Keys(uint32_t stage) { return kKeysBegin + stage * kTileBytes; }
  static QUIRE_HOST_DEVICE uint32_t Values(uint32_t stage) { return kValuesBegin + stage * kTileBytes; }

  // Where a row of a tile of keys or values has 16 bytes of half `half` of its head, before the swizzle.
  static QUIRE_HOST_DEVICE uint32_t RowOffset(uint32_t row, uint32_t half) {
    return row / 8 * kGroupBytes + half * kAtomBytes + row % 8 * 128;
  }

  // The box of one request: at most a tile's positions of one cache block.
  static QUIRE_HOST_DEVICE int BoxSlots(int block_size) { return simt::Min(block_size, int{kKeys}); }

  // Which tile of the plan block `block` of `blocks` takes in its round: there and back again, so that with tiles in
  // descending order the sums are alike.
  static QUIRE_HOST_DEVICE int TileOf(int round, int block, int blocks) {
    return round * blocks + (round % 2 == 0 ? block : blocks - 1 - block);
  }
};

// Counts uses of a ring of stages: the stage of the present use and the parity of its phase.
struct StageCursor {
  uint32_t stage = 0, parity = 0;
  QUIRE_DEVICE void Next() {
    if (++stage == PrefillWgmma::kStages) {
      stage = 0;
      parity ^= 1U;
    }
  }
};

// The copies of one block of threads, shared by the warps of a warpgroup: lane i of warp w asks for the cache blocks
// w + 4 i of a tile. Requests of one warp are made one after the other, those of different warps are not.
class PrefillProducer {
 public:
  using Layout = PrefillWgmma;
  QUIRE_DEVICE PrefillProducer(const PrefillArgs& args, const simt::TensorMap* queries, const simt::TensorMap* cache,
                               simt::SharedAddress shared)
      : args_(args), queries_(queries), cache_(cache), shared_(shared) {
    warp_ = simt::ThreadId() / simt::kWarpSize;
    lane_ = simt::ThreadId() % simt::kWarpSize;
    slots_ = Layout::BoxSlots(args.kv.block_size);
    first_ = (warp_ + Layout::kProducers * lane_) * slots_;
    asks_ = first_ < Layout::kKeys;
    bytes_ = static_cast<uint32_t>(Blocks()) * static_cast<uint32_t>(slots_ / 8) * Layout::kGroupBytes;
  }

  QUIRE_DEVICE void Run() {
    uint32_t queries_parity = 1;  // a fresh barrier's former phase has ended
    for (int round = 0; round * simt::GridX() < args_.num_tiles; ++round) {
      const int index = Layout::TileOf(round, simt::BlockX(), simt::GridX());
      if (index >= args_.num_tiles) continue;
      const QueryTile tile = TileAt(args_, index);
      const int begin = tile.KvBegin(args_.window, Layout::kKeys);
      end_ = tile.KvEnd(Layout::kRows);
      first_seen_ = args_.window > 0 ? simt::Max(0, tile.Position(0) - args_.window + 1) : 0;
      int plane = Plane(tile, begin);
      if (warp_ == 0) LoadQueries(tile, queries_parity);
      queries_parity ^= 1U;
      for (int at = begin; at < end_; at += Layout::kKeys) {
        Request(Layout::KeysFull(cursor_.stage), Layout::KeysEmpty(cursor_.stage), Layout::Keys(cursor_.stage), at,
                plane);
        const int next_plane = Plane(tile, at + Layout::kKeys);
        Request(Layout::ValuesFull(cursor_.stage), Layout::ValuesEmpty(cursor_.stage), Layout::Values(cursor_.stage),
                at, plane + args_.kv.kv_heads);
        plane = next_plane;
        cursor_.Next();
      }
    }
  }

 private:
  // How many of a tile's cache blocks this warp asks for.
  QUIRE_DEVICE int Blocks() const { return simt::CeilDiv(Layout::kKeys / slots_ - warp_, int{Layout::kProducers}); }

  QUIRE_DEVICE void LoadQueries(const QueryTile& tile, uint32_t parity) {
    simt::BarrierWait(shared_ + Layout::kQueriesEmpty, parity);
    if (lane_ == 0) {
      simt::BarrierExpect(shared_ + Layout::kQueriesFull, Layout::kTileBytes);
      for (int half = 0; half < 2; ++half)
        simt::LoadTile(shared_ + Layout::kQueries + static_cast<uint32_t>(half) * Layout::kQueryHalfBytes, queries_,
                       shared_ + Layout::kQueriesFull, 64 * half, tile.Head(0), tile.Row(0), 0);
    }
    simt::SyncWarp();
  }

  // The map's plane with the keys of this lane's cache block of the tile at `begin`; past all planes where none is
  // needed, which gives zeros (and so do the values' planes, which come after the keys').
  QUIRE_DEVICE int Plane(const QueryTile& tile, int begin) const {
    const int position = begin + first_;
    const int planes = 2 * args_.kv.kv_heads;
    if (!asks_ || position >= end_ || position + slots_ <= first_seen_) return args_.kv.num_blocks * planes;
    const auto block = static_cast<int>(args_.tables[tile.span.table_begin + position / args_.kv.block_size]);
    return block * planes + tile.tile.kv_head;
  }

  QUIRE_DEVICE void Request(uint32_t full, uint32_t empty, uint32_t to, int begin, int plane) {
    simt::BarrierWait(shared_ + empty, cursor_.parity ^ 1U);
    if (lane_ == 0) simt::BarrierExpect(shared_ + full, bytes_);
    simt::SyncWarp();
    const int group = ((begin + first_) & (args_.kv.block_size - 1)) / 8;
    if (asks_)
      simt::LoadTile(shared_ + to + static_cast<uint32_t>(first_ / 8) * Layout::kGroupBytes, cache_, shared_ + full, 0,
                     0, 0, group, plane);
    simt::SyncWarp();
  }

  const PrefillArgs& args_;
  const simt::TensorMap *queries_, *cache_;
  simt::SharedAddress shared_;
  int warp_, lane_;
  int slots_, first_;  // of this lane's cache block within a tile
  bool asks_;
  uint32_t bytes_;  // of this warp's requests for a tile
  int end_ = 0, first_seen_ = 0;
  StageCursor cursor_;
};

// One warpgroup: 64 query rows of each tile.
template <bool kTakeTurns, bool kWeighFirst>
class PrefillConsumer {
 public:
  using Layout = PrefillWgmma;
  QUIRE_DEVICE PrefillConsumer(const PrefillArgs& args, char* memory)
      : args_(args), memory_(memory), shared_(simt::AddressOf(memory)), scale_(args.scale * kLog2E) {
    const int thread = simt::ThreadId() - simt::kWarpSize * 4;
    group_ = thread / 128;
    lane_ = thread % simt::kWarpSize;
    row_ = thread / simt::kWarpSize * 16 + lane_ / 4;  // of the tile; the lane's other row is 8 below
  }

  QUIRE_DEVICE void Run() {
    uint32_t queries_parity = 0;
    if (kTakeTurns && group_ == 0) EndTurn();  // the other begins
    for (int round = 0; round * simt::GridX() < args_.num_tiles; ++round) {
      const int index = Layout::TileOf(round, simt::BlockX(), simt::GridX());
      if (index >= args_.num_tiles) continue;
      const QueryTile tile = TileAt(args_, index);
      simt::BarrierWait(shared_ + Layout::kQueriesFull, queries_parity);
      queries_parity ^= 1U;
      Attend(tile);
      Store(tile);
    }
  }

 private:
  static constexpr int kTurn = 1;       // barriers 1, 2: group 0, 1 has had its turn
  static constexpr int kGroupOnly = 3;  // barriers 3, 4: the threads of group 0, 1

  QUIRE_DEVICE void Attend(const QueryTile& tile) {
    end_ = tile.KvEnd(Layout::kRows);
    int begin = tile.KvBegin(args_.window, Layout::kKeys);
    position_[0] = tile.Position(row_);
    position_[1] = tile.Position(row_ + 8);
    first_position_ = tile.Position(group_ * 64);
    last_position_ = tile.Position(group_ * 64 + 63);
    QUIRE_UNROLL
    for (int i = 0; i < 64; ++i) values_[i] = 0;
    maximum_[0] = maximum_[1] = -__builtin_huge_valf();
    sum_[0] = sum_[1] = 0;

    StageCursor values = cursor_;
    AwaitTurn();
    StartScores();
    EndTurn();
    simt::ProductWait<0>();
    ReleaseKeys();
    Softmax(begin);
    PackWeights();
    for (begin += Layout::kKeys; begin < end_; begin += Layout::kKeys) {
      AwaitTurn();
      StartScores();
      StartValues(values, begin - Layout::kKeys);
      EndTurn();
      simt::ProductWait<1>();
      simt::PinRegisters(scores_);
      ReleaseKeys();
      Softmax(begin);
      if (kWeighFirst) simt::ComputeBefore(sum_[0] + sum_[1]);
      simt::ProductWait<0>();
      simt::PinRegisters(values_);
      simt::PinRegisters(scores_);
      Arrive(Layout::ValuesEmpty(values.stage));
      values.Next();
      Rescale();
      PackWeights();
    }
    Arrive(Layout::kQueriesEmpty);
    StartValues(values, begin - Layout::kKeys);
    simt::ProductWait<0>();
    simt::PinRegisters(values_);
    Arrive(Layout::ValuesEmpty(values.stage));
  }

  // The two warpgroups start their products in turn: while one's are computed the other computes exponentials.
  QUIRE_DEVICE void AwaitTurn() {
    if (kTakeTurns) simt::SyncSome(kTurn + (group_ ^ 1), Layout::kConsumers);
  }
  QUIRE_DEVICE void EndTurn() {
    if (kTakeTurns) simt::ArriveSome(kTurn + group_, Layout::kConsumers);
  }

  QUIRE_DEVICE void StartScores() {
    simt::BarrierWait(shared_ + Layout::KeysFull(cursor_.stage), cursor_.parity);
    const uint32_t queries = shared_ + Layout::kQueries + static_cast<uint32_t>(group_) * 64 * 128;
    const uint32_t keys = shared_ + Layout::Keys(cursor_.stage);
    simt::PinRegisters(scores_);
    simt::ProductFence();
    QUIRE_UNROLL
    for (uint32_t step = 0; step < 8; ++step) {
      const uint32_t within = step % 4 * 32;
      simt::ProductShared(scores_, simt::SwizzledMatrix(queries + step / 4 * Layout::kQueryHalfBytes + within, 0, 1024),
                          simt::SwizzledMatrix(keys + step / 4 * Layout::kAtomBytes + within, 0, Layout::kGroupBytes),
                          step > 0);
    }
    simt::ProductCommit();
  }
  QUIRE_DEVICE void ReleaseKeys() {
    Arrive(Layout::KeysEmpty(cursor_.stage));
    cursor_.Next();
  }
  QUIRE_DEVICE void Arrive(uint32_t barrier) {
    if (lane_ == 0) simt::BarrierArrive(shared_ + barrier);
  }

  // `begin`: the first position of the tile of values.
  QUIRE_DEVICE void StartValues(const StageCursor& at, int begin) {
    simt::BarrierWait(shared_ + Layout::ValuesFull(at.stage), at.parity);
    if (begin + Layout::kKeys > end_) ClearPastEnd(at, begin);
    const uint32_t values = shared_ + Layout::Values(at.stage);
    simt::PinRegisters(values_);
    simt::ProductFence();
    QUIRE_UNROLL
    for (uint32_t step = 0; step < 8; ++step)
      simt::ProductRegisters(
          values_, weights_[step],
          simt::SwizzledMatrix(values + step * 2 * Layout::kGroupBytes, Layout::kAtomBytes, Layout::kGroupBytes));
    simt::ProductCommit();
  }

  // What the last block of a sequence holds past its end is anything. Both warpgroups write the same zeros.
  QUIRE_DEVICE void ClearPastEnd(const StageCursor& at, int begin) {
    const int slots = Layout::BoxSlots(args_.kv.block_size);
    const int first = end_ - begin, rows = simt::CeilDiv(first, slots) * slots - first;
    char* const tile = memory_ + Layout::Values(at.stage);
    for (int i = simt::ThreadId() % 128; i < rows * 16; i += 128) {
      const auto row = static_cast<uint32_t>(first + i / 16), half = static_cast<uint32_t>(i & 1);
      simt::Store16(tile + Layout::RowOffset(row, half) + i / 2 % 8 * 16, simt::Vec4{0, 0, 0, 0});
    }
    simt::SharedWriteFence();
    simt::SyncSome(kGroupOnly + group_, 128);
  }

  // Scores become weights relative to the new maximum; factor_ is what older sums have to be multiplied by.
  QUIRE_DEVICE void Softmax(int begin) {
    if (begin + Layout::kKeys - 1 > first_position_ || (args_.window > 0 && last_position_ - begin >= args_.window))
      Mask(begin);
    QUIRE_UNROLL
    for (int r = 0; r < 2; ++r) {
      float maximum = maximum_[r];
      QUIRE_UNROLL
      for (int j = 0; j < 16; ++j)
        maximum = simt::Max(maximum, simt::Max(scores_[4 * j + 2 * r], scores_[4 * j + 2 * r + 1]));
      maximum = simt::Max(maximum, simt::ShuffleXor(maximum, 1));
      maximum = simt::Max(maximum, simt::ShuffleXor(maximum, 2));
      // A row that has seen nothing yet keeps weights of zero.
      const float base = maximum == -__builtin_huge_valf() ? 0 : maximum * scale_;
      factor_[r] = simt::Exp2(simt::FusedMultiplyAdd(maximum_[r], scale_, -base));
      maximum_[r] = maximum;
      float sum = 0;
      QUIRE_UNROLL
      for (int j = 0; j < 16; ++j) QUIRE_UNROLL
      for (int i = 0; i < 2; ++i) {
        float& score = scores_[4 * j + 2 * r + i];
        score = simt::Exp2(simt::FusedMultiplyAdd(score, scale_, -base));
        sum += score;
      }
      sum_[r] = simt::FusedMultiplyAdd(sum_[r], factor_[r], sum);
    }
  }

  QUIRE_DEVICE void Mask(int begin) {
    const int column = begin + lane_ % 4 * 2;
    QUIRE_UNROLL
    for (int i = 0; i < 64; ++i) {
      const int behind = position_[i / 2 % 2] - (column + i / 4 * 8 + i % 2);
      const bool seen = behind >= 0 && (args_.window <= 0 || behind < args_.window);
      if (!seen) scores_[i] = -__builtin_huge_valf();
    }
  }

  QUIRE_DEVICE void Rescale() {
    QUIRE_UNROLL
    for (int i = 0; i < 64; ++i) values_[i] *= factor_[i / 2 % 2];
  }

  // The sums' layout of the first product is the left operand's of the second.
  QUIRE_DEVICE void PackWeights() {
    QUIRE_UNROLL
    for (int step = 0; step < 8; ++step) QUIRE_UNROLL
    for (int i = 0; i < 4; ++i)
      weights_[step][i] = simt::PackBf16(scores_[8 * step + 2 * i], scores_[8 * step + 2 * i + 1]);
  }

  QUIRE_DEVICE void Store(const QueryTile& tile) {
    QUIRE_UNROLL
    for (int r = 0; r < 2; ++r) {
      float sum = sum_[r];
      sum += simt::ShuffleXor(sum, 1);
      sum += simt::ShuffleXor(sum, 2);
      const int row = row_ + 8 * r;
      const float scale = sum > 0 ? 1 / sum : 0;
      uint32_t packed[16];
      QUIRE_UNROLL
      for (int j = 0; j < 16; ++j)
        packed[j] = simt::PackBf16(values_[4 * j + 2 * r] * scale, values_[4 * j + 2 * r + 1] * scale);
      QUIRE_UNROLL
      for (int j = 0; j < 16; j += 4) TransposeQuad(packed + j);
      if (!tile.Valid(row)) continue;
      uint16_t* const out = args_.out + (int64_t{tile.Row(row)} * args_.num_heads + tile.Head(row)) * Layout::kHeadDim;
      QUIRE_UNROLL
      for (int j = 0; j < 16; j += 4)
        simt::Store16(out + (j + lane_ % 4) * 8, {packed[j], packed[j + 1], packed[j + 2], packed[j + 3]});
    }
  }

  // The quad's lanes hold two columns of each of four groups of eight; after it, lane t all eight of group t.
  QUIRE_DEVICE void TransposeQuad(uint32_t* packed) const {
    const bool odd = lane_ & 1, upper = lane_ & 2;
    QUIRE_UNROLL
    for (int i = 0; i < 4; i += 2) Exchange(packed[i], packed[i + 1], odd, 1);
    QUIRE_UNROLL
    for (int i = 0; i < 2; ++i) Exchange(packed[i], packed[i + 2], upper, 2);
  }
  static QUIRE_DEVICE void Exchange(uint32_t& low, uint32_t& high, bool takes_low, int mask) {
    const uint32_t received = simt::AsBits(simt::ShuffleXor(simt::AsFloat(takes_low ? low : high), mask));
    (takes_low ? low : high) = received;
  }

  static constexpr float kLog2E = 1.4426950408889634F;

  const PrefillArgs& args_;
  char* memory_;
  simt::SharedAddress shared_;
  float scale_;  // of scores, to base 2
  int group_, lane_, row_;
  StageCursor cursor_;  // of keys; values follow it
  int end_ = 0, first_position_ = 0, last_position_ = 0;
  int position_[2];
  float maximum_[2], sum_[2], factor_[2];
  float scores_[64], values_[64];
  uint32_t weights_[8][4];
};

// REQUIRES: PrefillWgmma::kThreads threads, kSharedBytes of shared memory, head_dim 128, args.pack = PackFor(…, 128).
// `queries` maps q as [rows, num_heads, 128] with boxes [128 / pack, pack, 64]; `cache` maps the pool as
// [2 kv_heads num_blocks, block_size / 8, 2 halves, 8 slots, 64] with boxes [1, BoxSlots / 8, 2, 8, 64].
template <bool kTakeTurns, bool kWeighFirst>
QUIRE_DEVICE void PrefillWgmmaKernel(const PrefillArgs& args, const simt::TensorMap* queries,
                                     const simt::TensorMap* cache) {
  using Layout = PrefillWgmma;
  char* const memory = simt::SharedMemory();
  const simt::SharedAddress shared = simt::AddressOf(memory);
  if (simt::ThreadId() == 0) {
    constexpr int kConsumerWarps = Layout::kConsumers / simt::kWarpSize;
    simt::BarrierInit(shared + Layout::kQueriesFull, 1);
    simt::BarrierInit(shared + Layout::kQueriesEmpty, kConsumerWarps);
    for (uint32_t stage = 0; stage < Layout::kStages; ++stage) {
      simt::BarrierInit(shared + Layout::KeysFull(stage), Layout::kProducers);
      simt::BarrierInit(shared + Layout::KeysEmpty(stage), kConsumerWarps);
      simt::BarrierInit(shared + Layout::ValuesFull(stage), Layout::kProducers);
      simt::BarrierInit(shared + Layout::ValuesEmpty(stage), kConsumerWarps);
    }
    simt::BarrierInitFence();
  }
  simt::SyncThreads();
  simt::DependencyWait();
  if (simt::ThreadId() < 128) {
    simt::ShrinkRegisters<40>();
    PrefillProducer(args, queries, cache, shared).Run();
  } else {
    simt::GrowRegisters<232>();
    PrefillConsumer<kTakeTurns, kWeighFirst>(args, memory).Run();
  }
}

}  // namespace quire::cuda
