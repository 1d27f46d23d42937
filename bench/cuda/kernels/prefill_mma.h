// Causal attention of prefill rows over the paged KV cache with the products of a warp (mma.sync, sm_80 and on).
//
// After FlashAttention-2 (Dao, 2023). A block of four warps takes one tile of queries (prefill_plan.h); each warp owns
// 16 kRowTiles of its rows and keeps their outputs, running maxima and sums in registers while keys and values pass by
// in tiles of 64 positions. Scores and weights never leave registers: the fragment that one product yields is, packed
// to bf16, the left operand of the next.
//
// Keys and values come through a ring of kStages tiles in shared memory: K0 V0 K1 V1 ... One tile is consumed per step
// while the next kStages - 1 are on their way, with one barrier a step. Rows of a tile are stored with their 16-byte
// chunks permuted by the row's low bits, so that the eight rows of a matrix load lie in different banks.
//
// Three stages fit two blocks on an A100 and one on sm_89 (head dimension 128); four fit two blocks on an H100.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/prefill_plan.h"
#include "simt/simt.h"

namespace quire::cuda {

// What becomes of scaled products before the softmax. Windows and sinks need no variant: they cost nothing inside of
// the loop.
enum class LogitTransform { kNone, kSoftCap, kAlibi };

template <int kHeadDim_, int kRowTiles_, int kStages_, LogitTransform kTransform_ = LogitTransform::kNone>
struct PrefillMmaShape {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kRowTiles = kRowTiles_;  // 16 rows each, per warp
  static constexpr int kStages = kStages_;
  static constexpr LogitTransform kTransform = kTransform_;

  static constexpr int kWarps = 4;
  static constexpr int kThreads = kWarps * simt::kWarpSize;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kTileRows = kWarps * kWarpRows;
  static constexpr int kKvTile = 64;  // positions
  static constexpr int kRowBytes = kHeadDim * 2;
  static constexpr int kRowChunks = kRowBytes / 16;
  static constexpr int kKvTileBytes = kKvTile * kRowBytes;
  static constexpr int kRing = kTileRows * kRowBytes;  // where the ring begins; before it lie the queries
  static constexpr int kSharedBytes = kRing + kStages * kKvTileBytes;

  static_assert(kHeadDim == 64 || kHeadDim == 128);
  static_assert(kStages >= 2);
};

namespace prefill_mma {

using simt::SharedAddress;

constexpr float kLog2E = 1.44269504F;
constexpr float kMinusInfinity = -__builtin_huge_valf();

// Where a tile of rows holds a row's chunk of 16 bytes, from the tile's beginning. Every 8 rows the pattern repeats.
template <typename Shape>
QUIRE_HOST_DEVICE constexpr int ChunkOffset(int row, int chunk) {
  return row * Shape::kRowBytes + ((chunk ^ (row & 7)) << 4);
}

// Gathers a tile's query rows, a thread one chunk at a time; zeros where the tile has no row.
template <typename Shape>
QUIRE_DEVICE void LoadQueries(const PrefillArgs& args, const QueryTile& tile) {
  constexpr int kRowsAtOnce = Shape::kThreads / Shape::kRowChunks;
  const int chunk = simt::ThreadId() % Shape::kRowChunks;
  QUIRE_UNROLL
  for (int i = 0; i < Shape::kTileRows; i += kRowsAtOnce) {
    const int r = i + simt::ThreadId() / Shape::kRowChunks;
    const bool valid = tile.Valid(r);
    const int64_t offset = tile.Row(r) * args.q_row_stride + tile.Head(r) * Shape::kHeadDim + chunk * 8;
    simt::CopyAsync(simt::AddressOf(simt::SharedMemory() + ChunkOffset<Shape>(r, chunk)), args.q + (valid ? offset : 0),
                    valid);
  }
}

// Brings the tiles of keys and values of positions [begin, end) to the ring, in turn: one group of copies per Load.
// Positions from `end` on are zeros. A block's number is read one tile before it is needed.
template <typename Shape>
class KvLoader {
 public:
  QUIRE_DEVICE KvLoader(const PrefillArgs& args, const QueryTile& tile, int begin, int end)
      : args_(args),
        table_begin_(tile.span.table_begin),
        position_(begin),
        end_(end),
        block_log2_(Log2(args.kv.block_size)),
        block_bytes_(static_cast<uint32_t>(args.kv.BlockElements() * 2)),
        value_bytes_(static_cast<uint32_t>(args.kv.Offset(0, 1, 0, 0) * 2)),
        offset_(static_cast<uint32_t>(args.kv.Offset(0, 0, tile.tile.kv_head, 0) * 2 + Chunk() * 16)),
        target_(simt::AddressOf(simt::SharedMemory() + Shape::kRing + ChunkOffset<Shape>(FirstRow(), Chunk()))),
        next_block_(ReadBlock(begin)) {}

  // Also past the last tile: then the group is empty.
  QUIRE_DEVICE void Load() {
    if (position_ < end_) {
      if (!values_) AdvanceBlock();
      CopyTile();
    }
    simt::CopyAsyncCommit();
    slot_ = slot_ + 1 == Shape::kStages ? 0 : slot_ + 1;
    if (values_) position_ += Shape::kKvTile;
    values_ = !values_;
  }

 private:
  static constexpr int kRowsAtOnce = Shape::kThreads / Shape::kRowChunks;
  // Rows of one group lie in one block, because blocks have at least as many slots.
  static constexpr int kGroupRows = 8;
  static constexpr int kGroups = Shape::kKvTile / kGroupRows;

  QUIRE_DEVICE static int FirstRow() { return simt::ThreadId() / Shape::kRowChunks; }
  QUIRE_DEVICE static int Chunk() { return simt::ThreadId() % Shape::kRowChunks; }

  // Lane i reads the block of group i (modulo 8) of the tile at `position`.
  QUIRE_DEVICE uint32_t ReadBlock(int position) const {
    const int of_group = position + simt::ThreadId() % kGroups * kGroupRows;
    return args_.tables[table_begin_ + (simt::Min(of_group, end_ - 1) >> block_log2_)];
  }
  QUIRE_DEVICE void AdvanceBlock() {
    block_ = next_block_;
    next_block_ = ReadBlock(position_ + Shape::kKvTile);
  }

  QUIRE_DEVICE void CopyTile() const {
    const uint32_t slot_mask = (1U << block_log2_) - 1;
    const uint32_t offset = offset_ + (values_ ? value_bytes_ : 0);
    const SharedAddress target = target_ + static_cast<SharedAddress>(slot_ * Shape::kKvTileBytes);
    const int position = position_ + FirstRow();
    const int own_group = kRowsAtOnce > kGroupRows ? FirstRow() / kGroupRows : 0;
    QUIRE_UNROLL
    for (int i = 0; i < Shape::kKvTile; i += kRowsAtOnce) {
      const uint32_t block = simt::Shuffle(block_, i / kGroupRows + own_group);
      const uint32_t slot = static_cast<uint32_t>(position + i) & slot_mask;
      const uint64_t from = uint64_t{block} * block_bytes_ + (offset + slot * Shape::kRowBytes);
      simt::CopyAsync(target + static_cast<SharedAddress>(i * Shape::kRowBytes),
                      reinterpret_cast<const char*>(args_.kv.data) + from, position + i < end_);
    }
  }

  const PrefillArgs& args_;
  int table_begin_;
  int position_;
  int end_;
  int block_log2_;
  uint32_t block_bytes_, value_bytes_;
  uint32_t offset_;  // of the thread's chunk in slot 0 of the keys of the head, within a block, in bytes
  SharedAddress target_;
  uint32_t next_block_;
  uint32_t block_ = 0;
  int slot_ = 0;
  bool values_ = false;
};

// A warp's rows of one tile: what they have seen so far, and the arithmetic of a step.
//
// Fragments are those of Mma16x8x16: with g = lane / 4 and t = lane % 4, a lane holds columns 8 n + 2 t and the next,
// of rows 16 m + g (elements 0, 1 of a fragment) and 16 m + g + 8 (elements 2, 3).
template <typename Shape>
class WarpRows {
 public:
  static constexpr int kM = Shape::kRowTiles;
  static constexpr int kN = Shape::kKvTile / 8;

  QUIRE_DEVICE WarpRows(const PrefillArgs& args, const QueryTile& tile)
      : args_(args),
        tile_(tile),
        first_row_(simt::ThreadId() / simt::kWarpSize * Shape::kWarpRows),
        lane_(simt::ThreadId() % simt::kWarpSize) {
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      QUIRE_UNROLL
      for (int half = 0; half < 2; ++half) {
        greatest_[m][half] = kMinusInfinity;
        sum_[m][half] = 0;
      }
      QUIRE_UNROLL
      for (int n = 0; n < Shape::kHeadDim / 8; ++n) {
        QUIRE_UNROLL
        for (int i = 0; i < 4; ++i) out_[m][n][i] = 0;
      }
    }
  }

  // Scores against the keys of positions `first` and on, then the softmax so far: leaves weights for AddValues.
  QUIRE_DEVICE void TakeKeys(SharedAddress keys, int first) {
    MultiplyKeys(keys);
    Transform(first);
    if (NeedsMask(first)) Mask(first);
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      QUIRE_UNROLL
      for (int half = 0; half < 2; ++half) UpdateSoftmax(m, half);
    }
    PackWeights();
  }

  // out += weights values.
  QUIRE_DEVICE void AddValues(SharedAddress values) {
    // Matrices of a load, transposed: positions 0-7 and 8-15 of 8 columns, then of the next 8 columns.
    const SharedAddress row = values + LaneOffset(lane_ % 16, lane_ / 16);
    QUIRE_UNROLL
    for (int k = 0; k < Shape::kKvTile / 16; ++k) {
      QUIRE_UNROLL
      for (int n = 0; n < Shape::kHeadDim / 16; ++n) {
        uint32_t b[4];
        simt::LoadMatricesTransposed(b, (row ^ Columns(n)) + Rows(16 * k));
        MultiplyPair<Shape::kHeadDim / 8>(out_, weights_[k], b, n);
      }
    }
  }

  // Divides by the sums and stores the rows. The block's queries are overwritten, each warp's by itself.
  QUIRE_DEVICE void Store() {
    StageOutputs();
    simt::SyncWarp();
    constexpr int kRowsAtOnce = simt::kWarpSize / Shape::kRowChunks;
    const int chunk = lane_ % Shape::kRowChunks;
    QUIRE_UNROLL
    for (int i = 0; i < Shape::kWarpRows; i += kRowsAtOnce) {
      const int r = first_row_ + i + lane_ / Shape::kRowChunks;
      if (!tile_.Valid(r)) continue;
      const int64_t row = int64_t{tile_.Row(r)} * args_.num_heads + tile_.Head(r);
      simt::Store16(args_.out + row * Shape::kHeadDim + chunk * 8,
                    simt::Load16(simt::SharedMemory() + ChunkOffset<Shape>(r, chunk)));
    }
  }

 private:
  // The address, within a tile, of the row and chunk that this lane names in a matrix load. Rows 8 apart have the same
  // pattern of chunks, so that other matrices are at (LaneOffset ^ Columns(k)) + Rows(n).
  QUIRE_DEVICE static SharedAddress LaneOffset(int row, int chunk) {
    return static_cast<SharedAddress>(ChunkOffset<Shape>(row, chunk));
  }
  QUIRE_DEVICE static constexpr SharedAddress Columns(int columns_of_16) {
    return static_cast<SharedAddress>(columns_of_16 * 32);
  }
  QUIRE_DEVICE static constexpr SharedAddress Rows(int rows) {
    return static_cast<SharedAddress>(rows * Shape::kRowBytes);
  }

  // Row within the tile of the elements 2 half and 2 half + 1 of fragments m.
  QUIRE_DEVICE int RowOf(int m, int half) const { return first_row_ + 16 * m + 8 * half + lane_ / 4; }

  // d[m][2 n], d[m][2 n + 1] += a[m] b, for 16 columns of b.
  template <int kColumns>
  QUIRE_DEVICE static void MultiplyPair(float (&d)[kM][kColumns][4], const uint32_t (&a)[kM][4], const uint32_t (&b)[4],
                                        int n) {
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      const uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
      simt::Mma16x8x16(d[m][2 * n], a[m], left);
      simt::Mma16x8x16(d[m][2 * n + 1], a[m], right);
    }
  }

  QUIRE_DEVICE void MultiplyKeys(SharedAddress keys) {
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      QUIRE_UNROLL
      for (int n = 0; n < kN; ++n) {
        QUIRE_UNROLL
        for (int i = 0; i < 4; ++i) scores_[m][n][i] = 0;
      }
    }
    // Matrices of a load. Queries: rows 0-7, rows 8-15, then the next 8 columns. Keys: columns 0-7, columns 8-15, then
    // the next 8 positions.
    const SharedAddress query_row =
        simt::AddressOf(simt::SharedMemory()) + LaneOffset(first_row_ + lane_ % 16, lane_ / 16);
    const SharedAddress key_row = keys + LaneOffset(lane_ / 16 * 8 + lane_ % 8, lane_ / 8 % 2);
    QUIRE_UNROLL
    for (int k = 0; k < Shape::kHeadDim / 16; ++k) {
      uint32_t a[kM][4];
      QUIRE_UNROLL
      for (int m = 0; m < kM; ++m) simt::LoadMatrices(a[m], (query_row ^ Columns(k)) + Rows(16 * m));
      QUIRE_UNROLL
      for (int n = 0; n < kN / 2; ++n) {
        uint32_t b[4];
        simt::LoadMatrices(b, (key_row ^ Columns(k)) + Rows(16 * n));
        MultiplyPair<kN>(scores_, a, b, n);
      }
    }
  }

  // What scores are multiplied by to be logits in base 2.
  QUIRE_DEVICE float Factor() const { return Shape::kTransform == LogitTransform::kNone ? args_.scale * kLog2E : 1.0F; }

  // cap tanh(logit / cap), in base 2.
  QUIRE_DEVICE float SoftCap(float score) const {
    const float e = simt::Exp2(score * (args_.scale / args_.soft_cap * 2 * kLog2E));
    return args_.soft_cap * kLog2E * (1 - 2 * simt::Reciprocal(1 + e));
  }

  // Scores to logits in base 2, where a factor alone does not do.
  QUIRE_DEVICE void Transform(int first) {
    if constexpr (Shape::kTransform == LogitTransform::kSoftCap) {
      ForEachScore([this](float& score, int, int, int) { score = SoftCap(score); });
    } else if constexpr (Shape::kTransform == LogitTransform::kAlibi) {
      ForEachScore([this, first](float& score, int m, int half, int column) {
        const int r = RowOf(m, half);
        const float distance = static_cast<float>(first + column - tile_.Position(r));
        score = simt::FusedMultiplyAdd(args_.slopes[tile_.Head(r)] * kLog2E, distance, score * (args_.scale * kLog2E));
      });
    }
  }

  QUIRE_DEVICE int Window() const { return args_.window > 0 ? args_.window : 0x7FFFFFFF; }

  QUIRE_DEVICE bool NeedsMask(int first) const {
    const int lowest = tile_.Position(first_row_), highest = tile_.Position(first_row_ + Shape::kWarpRows - 1);
    return first + Shape::kKvTile - 1 > lowest || highest - first >= Window();
  }

  QUIRE_DEVICE void Mask(int first) {
    const auto window = static_cast<uint32_t>(Window());
    ForEachScore([this, first, window](float& score, int m, int half, int column) {
      // Positions after the row's own wrap around to beyond any window.
      const auto distance = static_cast<uint32_t>(tile_.Position(RowOf(m, half)) - first - column);
      if (distance >= window) score = kMinusInfinity;
    });
  }

  template <typename F>
  QUIRE_DEVICE void ForEachScore(F f) {
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      QUIRE_UNROLL
      for (int n = 0; n < kN; ++n) {
        QUIRE_UNROLL
        for (int i = 0; i < 4; ++i) f(scores_[m][n][i], m, i / 2, 8 * n + lane_ % 4 * 2 + i % 2);
      }
    }
  }

  // Scores of a row to weights 2^(logit - greatest), and what was summed under the former maximum to the new one.
  QUIRE_DEVICE void UpdateSoftmax(int m, int half) {
    const float before = greatest_[m][half];
    float greatest = before;
    QUIRE_UNROLL
    for (int n = 0; n < kN; ++n)
      greatest = fmaxf(greatest, fmaxf(scores_[m][n][2 * half], scores_[m][n][2 * half + 1]));
    greatest = fmaxf(greatest, simt::ShuffleXor(greatest, 1));
    greatest = fmaxf(greatest, simt::ShuffleXor(greatest, 2));
    greatest_[m][half] = greatest;

    const float factor = Factor();
    const float base = Base(m, half);
    const float correction = simt::Exp2(simt::FusedMultiplyAdd(before, factor, -base));
    float sum = sum_[m][half] * correction;
    QUIRE_UNROLL
    for (int n = 0; n < kN; ++n) {
      QUIRE_UNROLL
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores_[m][n][i] = simt::Exp2(simt::FusedMultiplyAdd(scores_[m][n][i], factor, -base));
        sum += scores_[m][n][i];
      }
    }
    sum_[m][half] = sum;
    QUIRE_UNROLL
    for (int n = 0; n < Shape::kHeadDim / 8; ++n) {
      out_[m][n][2 * half] *= correction;
      out_[m][n][2 * half + 1] *= correction;
    }
  }

  // The logit, in base 2, that weights are relative to: 0 while a row has seen nothing, lest infinities meet.
  QUIRE_DEVICE float Base(int m, int half) const {
    const float greatest = greatest_[m][half];
    return greatest == kMinusInfinity ? 0.0F : greatest * Factor();
  }

  // Two neighbouring fragments [16, 8] of weights are a left operand [16, 16].
  QUIRE_DEVICE void PackWeights() {
    QUIRE_UNROLL
    for (int k = 0; k < kN / 2; ++k) {
      QUIRE_UNROLL
      for (int m = 0; m < kM; ++m) {
        QUIRE_UNROLL
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = scores_[m][2 * k + i / 2];
          weights_[k][m][i] = simt::PackBf16(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
        }
      }
    }
  }

  // 1 over the row's sum of weights, its sink included; 0 for a row that saw nothing.
  QUIRE_DEVICE float Normalizer(int m, int half) const {
    float sum = sum_[m][half];
    sum += simt::ShuffleXor(sum, 1);
    sum += simt::ShuffleXor(sum, 2);
    if (args_.sinks != nullptr) {
      const float sink = args_.sinks[tile_.Head(RowOf(m, half))] * kLog2E;
      sum += simt::Exp2(sink - Base(m, half));
    }
    return sum > 0 ? 1 / sum : 0.0F;
  }

  QUIRE_DEVICE void StageOutputs() const {
    QUIRE_UNROLL
    for (int m = 0; m < kM; ++m) {
      QUIRE_UNROLL
      for (int half = 0; half < 2; ++half) {
        const float normalizer = Normalizer(m, half);
        const int r = RowOf(m, half);
        QUIRE_UNROLL
        for (int n = 0; n < Shape::kHeadDim / 8; ++n) {
          char* const at = simt::SharedMemory() + ChunkOffset<Shape>(r, n) + lane_ % 4 * 4;
          *reinterpret_cast<uint32_t*>(at) =
              simt::PackBf16(out_[m][n][2 * half] * normalizer, out_[m][n][2 * half + 1] * normalizer);
        }
      }
    }
  }

  const PrefillArgs& args_;
  const QueryTile& tile_;
  int first_row_;  // of the warp, within the tile
  int lane_;
  float greatest_[kM][2];  // of scores times what Transform left to Factor
  float sum_[kM][2];       // of the lane's columns alone
  float out_[kM][Shape::kHeadDim / 8][4];
  float scores_[kM][kN][4];
  uint32_t weights_[kN / 2][kM][4];
};

}  // namespace prefill_mma

// One block's work: Shape::kThreads threads, Shape::kSharedBytes of shared memory, block x for tile x.
template <typename Shape>
QUIRE_DEVICE void PrefillMma(const PrefillArgs& args) {
  simt::DependencyWait();
  const QueryTile tile = TileAt(args, simt::BlockX());
  const int begin = tile.KvBegin(args.window, Shape::kKvTile), end = tile.KvEnd(Shape::kTileRows);
  prefill_mma::KvLoader<Shape> loader(args, tile, begin, end);
  prefill_mma::LoadQueries<Shape>(args, tile);  // part of the first group
  QUIRE_UNROLL
  for (int i = 0; i < Shape::kStages - 1; ++i) loader.Load();

  prefill_mma::WarpRows<Shape> rows(args, tile);
  int slot = 0;
  // The next tile of the ring, once it is there. All warps are then done with the one before it, whose place is
  // refilled.
  const auto next_tile = [&] {
    simt::CopyAsyncWait<Shape::kStages - 2>();
    simt::SyncThreads();
    loader.Load();
    const simt::SharedAddress at = simt::AddressOf(simt::SharedMemory() + Shape::kRing + slot * Shape::kKvTileBytes);
    slot = slot + 1 == Shape::kStages ? 0 : slot + 1;
    return at;
  };
  for (int first = begin; first < end; first += Shape::kKvTile) {
    rows.TakeKeys(next_tile(), first);
    rows.AddValues(next_tile());
  }
  simt::DependencyLaunch();
  rows.Store();
}

}  // namespace quire::cuda
