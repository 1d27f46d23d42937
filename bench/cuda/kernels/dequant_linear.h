// Products of a few tokens with a layer's weights: y [m, n] = x [m, k] w [n, k]^T for m up to 64, where the time goes
// into reading w. x and y are bf16, sums are f32; w is bf16, int8 with a scale per row, or int4 with a scale per group.
//
// The weights are the left operand of the tensor cores (16 rows of w by 16 of k) and the tokens the right one (8 per
// tile), so that one token costs as little as eight. They are packed once, in the order in which lanes want them: every
// lane copies its own 16 bytes, a warp's copies are 512 contiguous bytes, and nobody exchanges weights. Along k the
// packing gives a lane 8 neighbouring values of a chunk of 32, where the instruction has pairs: a permutation of k that
// the tokens, read likewise, undo.
//
// k is cut into splits and each of those into two slices, whose sums meet in one order. Four warps with 32 rows each
// take a slice, and two such teams of warps are a block of 128 rows and a split. A slice streams stages through a ring
// in shared memory, of which it fills all but one before it waits for the kernel that makes x. Partial sums meet in a
// fixed order, and splits depend on n and k alone: a token's y has the same bits whatever else is in the batch. They
// meet in global memory or, where the splits of the same rows are a cluster, in each other's shared memory: the same
// sums in the same order.
#pragma once

#include <cstdint>

#include "kernels/linear_layout.h"
#include "simt/simt.h"

namespace quire::cuda {

// --- Operands ---

// What two steps of 16 along k want of a lane's 16 rows: [step][register].
using StepOperands = uint32_t[2][4];

// Four pairs of u - 8 from a word of eight u.
QUIRE_DEVICE void DequantInt4(uint32_t word, uint32_t (&pairs)[4]) {
  QUIRE_UNROLL
  for (int i = 0; i < 4; ++i) {
    // 0x43uu is 128 + u in bf16, so that 136 less is u - 8, exactly.
    pairs[i] = simt::SubtractBf16x2(simt::MaskOr(word >> (4 * i), 0x000F000FU, 0x43004300U), 0x43084308U);
  }
}

// Two pairs from a word of four signed bytes.
QUIRE_DEVICE void DequantInt8(uint32_t word, uint32_t& first, uint32_t& second) {
  // The low seven bits over 128, less 128 or, where the sign bit makes it so, 256.
  const auto convert = [](uint32_t bytes) {
    return simt::SubtractBf16x2(simt::MaskOr(bytes, 0x007F007FU, 0x43004300U),
                                simt::MaskOr(bytes, 0x00800080U, 0x43004300U));
  };
  first = convert(word);
  second = convert(word >> 8);
}

// A lane's operands of one chunk: [16 rows each][step][register]. `vecs`: its first vector in a stage, of which the
// next lies kVecPitch bytes on.
template <WeightFormat kFormat, int kVecPitch>
QUIRE_DEVICE void LoadOperands(const char* vecs, StepOperands (&a)[2]) {
  if constexpr (GroupSize(kFormat) != 0) {
    const simt::Vec4 v = simt::Load16(vecs);
    const uint32_t words[4] = {v.x, v.y, v.z, v.w};
    QUIRE_UNROLL
    for (int row = 0; row < 4; ++row) {
      uint32_t pairs[4];
      DequantInt4(words[row], pairs);
      QUIRE_UNROLL
      for (int i = 0; i < 4; ++i) a[row / 2][i / 2][row % 2 + i % 2 * 2] = pairs[i];
    }
  } else if constexpr (kFormat == WeightFormat::kInt8) {
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const simt::Vec4 v = simt::Load16(vecs + half * kVecPitch);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
      QUIRE_UNROLL
      for (int i = 0; i < 4; ++i) DequantInt8(words[i], a[half][i % 2][i / 2], a[half][i % 2][i / 2 + 2]);
    }
  } else {
    QUIRE_UNROLL
    for (int i = 0; i < 4; ++i) {
      const simt::Vec4 v = simt::Load16(vecs + i * kVecPitch);
      const uint32_t words[4] = {v.x, v.y, v.z, v.w};
      QUIRE_UNROLL
      for (int j = 0; j < 4; ++j) a[i / 2][i % 2][j] = words[j];
    }
  }
}

// --- The kernel ---

// Runs as a block of kLinearThreads threads with kSharedBytes of shared memory.
template <WeightFormat kFormat, int kTokenTiles, typename Team = GridTeam>
class LinearBlock {
  static constexpr int kBlockTiles = kBlockRows / kTileRows;
  static constexpr int kSliceThreads = kBlockTiles * simt::kWarpSize;
  static constexpr int kSliceVecBytes = kSliceThreads * kVecBytes;  // a vector of each of its threads, side by side
  static constexpr int kGroup = GroupSize(kFormat);
  static constexpr int kChunkVecs = WeightBits(kFormat) / 4;
  // A stage is 2 KiB of weights for each warp, over which the cost of a round of waiting and copying is spread. Less
  // where groups are short and tokens many: otherwise the sums of its groups, computed side by side, spill.
  static constexpr int kStageVecs = kGroup != 32 || kTokenTiles < 4 ? 4 : 2;
  static constexpr int kStageChunks = kStageVecs / kChunkVecs;
  static constexpr int kStageK = kStageChunks * kChunk;
  static constexpr int kStageGroups = kGroup == 0 ? 0 : kStageK / kGroup;
  static constexpr int kGroupChunks = kGroup == 0 ? 1 : kGroup / kChunk;

  // A stage of a slice in shared memory: weights (vector by vector of its threads), then tokens, then scales of its
  // warps.
  static constexpr int kWeightBytes = kStageVecs * kWarpVecBytes;
  static constexpr int kScaleBytes = kStageGroups * kTileRows * 2;
  static constexpr int kInputAt = kBlockTiles * kWeightBytes;
  static constexpr int kInputVecs = kStageChunks * kTokenTiles;  // of a warp's 512 bytes
  static constexpr int kScalesAt = kInputAt + kInputVecs * kWarpVecBytes;
  static constexpr int kStageBytes = kScalesAt + kBlockTiles * kScaleBytes;

  // Sums of a slice: [tokens, rows], the pitch such that the lanes of a warp write to different banks.
  static constexpr int kPitch = kBlockRows + 4;
  static constexpr int kTokens = kTokenTiles * 8;
  static constexpr int kSliceSumBytes = kTokens * kPitch * 4;
  static constexpr int kSumBytes = kSplitSlices * kSliceSumBytes;

 public:
  static constexpr int kBlocksPerMultiprocessor = 2;  // of 227 KiB
  static constexpr int kStages =
      simt::Min(8, (226 / kBlocksPerMultiprocessor - 1) * 1024 / (kSplitSlices * kStageBytes));
  static constexpr int kSharedBytes = simt::Max(kSplitSlices * kStages * kStageBytes, kSumBytes + kVecBytes);
  static_assert(kStages >= 3);

  QUIRE_DEVICE explicit LinearBlock(const LinearArgs& args)
      : args_(args),
        thread_(simt::ThreadId() % kSliceThreads),
        lane_(thread_ % simt::kWarpSize),
        tile_(thread_ / simt::kWarpSize),
        slice_(simt::ThreadId() / kSliceThreads),
        ring_(simt::SharedMemory() + slice_ * kStages * kStageBytes) {
    const int units = args.k / kUnit, slices = kSplitSlices * args.splits;
    const int slice = simt::BlockY() * kSplitSlices + slice_;
    const int begin = units * slice / slices, end = units * (slice + 1) / slices;
    num_stages_ = (end - begin) * (kUnit / kStageK);
    const int first_k = begin * kUnit;
    const int64_t tile = int64_t{RowBlock()} * kBlockTiles + tile_;
    weights_ = static_cast<const char*>(args.weights) + lane_ * kVecBytes +
               (tile * (args.k / kChunk) + first_k / kChunk) * (kChunkVecs * kWarpVecBytes);
    const int token = TokenOf(0) < NumTokens() ? FirstToken() + TokenOf(0) : 0;
    x_ = args.x + (token * args.x_pitch + first_k + tile_ / kTokenTiles * kChunk + lane_ % 4 * 8);
    if constexpr (kGroup != 0)
      scales_ = args.group_scales + (tile * (args.k / kGroup) + first_k / kGroup) * kTileRows + lane_ * 8;
  }

  QUIRE_DEVICE void Run() {
    // What follows this kernel may begin to fetch its own weights wherever a block of ours has ended.
    simt::DependencyLaunch();
    const simt::Vec4 row_scales = RowScales();
    for (int stage = 0; stage < kStages - 1; ++stage) {
      if (stage < num_stages_) FetchWeights(stage * kStageBytes);
      simt::CopyAsyncCommit();
    }
    FetchAhead();
    simt::DependencyWait();
    LoadFirstInput();
    constexpr int kLastSlot = (kStages - 1) * kStageBytes;  // slots by where they are in the ring
    for (int left = num_stages_, slot = 0; left > 0; --left) {
      simt::CopyAsyncWait<kStages - 2>();
      simt::SyncSome(1 + slice_, kSliceThreads);  // the stage is there, and the slot before it is free
      if (left >= kStages) {
        const int free_slot = slot == 0 ? kLastSlot : slot - kStageBytes;
        FetchWeights(free_slot);
        FetchInput(free_slot);
      }
      simt::CopyAsyncCommit();
      Multiply(ring_ + slot);
      slot = slot == kLastSlot ? 0 : slot + kStageBytes;
    }
    simt::CopyAsyncWait<0>();
    simt::SyncThreads();  // the ring is free for sums
    Finish(row_scales);
  }

 private:
  // A lane's of 32 rows and 8 tokens: of 16 rows each, as the instruction has them.
  struct Sums {
    float halves[2][4];
  };

  // Of the next stage, as its order is: weights_ and scales_ go along.
  QUIRE_DEVICE void FetchWeights(int slot) {
    char* const to = ring_ + slot;
    const simt::SharedAddress weights = simt::AddressOf(to + thread_ * kVecBytes);
    QUIRE_UNROLL
    for (int i = 0; i < kStageVecs; ++i)
      simt::CopyAsync(weights + static_cast<uint32_t>(i * kSliceVecBytes), weights_ + i * kWarpVecBytes, true);
    weights_ += kWeightBytes;
    if constexpr (kGroup != 0) {
      if (lane_ < kScaleBytes / kVecBytes)
        simt::CopyAsync(simt::AddressOf(to + kScalesAt + tile_ * kScaleBytes + lane_ * kVecBytes), scales_, true);
      scales_ += kStageGroups * kTileRows;
    }
  }

  // Weights past the ring, while the kernel before this one ends: otherwise memory would rest.
  QUIRE_DEVICE void FetchAhead() const {
    const int bytes = simt::Min((num_stages_ - (kStages - 1)) * kWeightBytes, args_.ahead_bytes);
    if (lane_ == 0 && bytes > 0) Team::PrefetchToL2(weights_, bytes);
  }

  // Blocks of the same rows lie side by side in the grid.
  QUIRE_DEVICE int RowBlock() const { return simt::BlockX() >> args_.token_blocks_log2; }
  // Tokens of a block are counted from its first on; it has as many as there are, up to kTokens.
  QUIRE_DEVICE int FirstToken() const { return (simt::BlockX() & ((1 << args_.token_blocks_log2) - 1)) * kTokens; }
  QUIRE_DEVICE int NumTokens() const { return args_.m - FirstToken(); }

  // The token of this thread in tile `tile` of a step of kBlockTiles vectors, whatever the step.
  QUIRE_DEVICE int TokenOf(int tile) const { return (tile + tile_ % kTokenTiles) * 8 + lane_ / 4; }

  // Calls visit(i, where in a stage, from, whether there is such a token) for the vectors that this thread brings of
  // the `stage`th stage from x_ on, i counting them: lane 4g + t wants k from 8t on of a tile's token g.
  template <typename Visit>
  QUIRE_DEVICE void ForInput(int stage, Visit visit) const {
    QUIRE_UNROLL
    for (int first = 0; first < kInputVecs; first += kBlockTiles) {
      if (kInputVecs % kBlockTiles != 0 && first + tile_ >= kInputVecs) break;
      // Vector first + tile_, chunk by chunk a vector for each tile. `first` is a constant here, a multiple of four.
      const int tile = first % kTokenTiles;
      const bool valid = TokenOf(tile) < NumTokens();
      const uint16_t* const from = x_ + (stage * kStageK + first / kTokenTiles * kChunk);
      visit(first / kBlockTiles, kInputAt + first * kWarpVecBytes + thread_ * kVecBytes,
            tile != 0 && valid ? from + tile * 8 * args_.x_pitch : from, valid);
    }
  }

  QUIRE_DEVICE void FetchInput(int slot) {
    char* const to = ring_ + slot;
    ForInput(0, [&](int, int at, const uint16_t* from, bool valid) {
      simt::CopyAsync(simt::AddressOf(to + at), from, valid);
    });
    x_ += kStageK;
  }

  // Of the stages whose weights are under way. Not by CopyAsync: its groups end in order, and the first product would
  // wait for the weights of all of them. Through registers, all at once: their latency is waited for by every kernel.
  QUIRE_DEVICE void LoadFirstInput() {
    simt::Vec4 x[kStages - 1][simt::CeilDiv(kInputVecs, kBlockTiles)];
    QUIRE_UNROLL
    for (int stage = 0; stage < kStages - 1; ++stage)
      ForInput(stage, [&](int i, int, const uint16_t* from, bool valid) {
        x[stage][i] = valid && stage < num_stages_ ? simt::Load16(from) : simt::Vec4{0, 0, 0, 0};
      });
    QUIRE_UNROLL
    for (int stage = 0; stage < kStages - 1; ++stage)
      ForInput(stage, [&](int i, int at, const uint16_t*, bool) {
        simt::Store16(ring_ + stage * kStageBytes + at, x[stage][i]);
      });
    x_ += (kStages - 1) * kStageK;
  }

  QUIRE_DEVICE void Multiply(const char* stage) {
    QUIRE_UNROLL
    for (int chunk = 0; chunk < kStageChunks; ++chunk) {
      StepOperands a[2];
      LoadOperands<kFormat, kSliceVecBytes>(stage + thread_ * kVecBytes + chunk * kChunkVecs * kSliceVecBytes, a);
      const char* const x = stage + kInputAt + chunk * kTokenTiles * kWarpVecBytes + lane_ * kVecBytes;
      const bool begins_group = chunk % kGroupChunks == 0, ends_group = chunk % kGroupChunks == kGroupChunks - 1;
      float scales[4] = {};
      if (kGroup != 0 && ends_group) LoadScales(stage, chunk / kGroupChunks, scales);
      QUIRE_UNROLL
      for (int n = 0; n < kTokenTiles; ++n) {
        const simt::Vec4 tokens = simt::Load16(x + n * kWarpVecBytes);
        if constexpr (kGroup == 0) {
          MultiplyTile(a, tokens, sums_[n]);
        } else {
          if (begins_group) group_sums_[n] = Sums{};
          MultiplyTile(a, tokens, group_sums_[n]);
          if (ends_group) AddScaled(scales, group_sums_[n], sums_[n]);
        }
      }
    }
  }

  QUIRE_DEVICE static void MultiplyTile(const StepOperands (&a)[2], const simt::Vec4& tokens, Sums& sums) {
    const uint32_t b[2][2] = {{tokens.x, tokens.y}, {tokens.z, tokens.w}};
    QUIRE_UNROLL
    for (int step = 0; step < 2; ++step) {
      simt::Mma16x8x16(sums.halves[0], a[0][step], b[step]);
      simt::Mma16x8x16(sums.halves[1], a[1][step], b[step]);
    }
  }

  // Of a lane's rows g, g + 8, g + 16, g + 24.
  QUIRE_DEVICE void LoadScales(const char* stage, int group, float (&scales)[4]) const {
    struct alignas(8) Pairs {
      uint32_t words[2];
    };
    const char* const from = stage + kScalesAt + tile_ * kScaleBytes + group * (kTileRows * 2) + lane_ / 4 * 8;
    const Pairs pairs = *reinterpret_cast<const Pairs*>(from);
    QUIRE_UNROLL
    for (int i = 0; i < 4; ++i)
      scales[i] = simt::AsFloat(i % 2 == 0 ? pairs.words[i / 2] << 16 : pairs.words[i / 2] & 0xFFFF0000U);
  }

  QUIRE_DEVICE static void AddScaled(const float (&scales)[4], const Sums& group, Sums& sums) {
    QUIRE_UNROLL
    for (int i = 0; i < 8; ++i)
      sums.halves[i / 4][i % 4] =
          simt::FusedMultiplyAdd(scales[i / 2], group.halves[i / 4][i % 4], sums.halves[i / 4][i % 4]);
  }

  // --- From sums to y. A thread always has the same four rows: Row(). ---

  QUIRE_DEVICE static int Row() { return simt::ThreadId() % (kBlockRows / 4) * 4; }
  // Where four rows of a token lie in an array [.., n].
  QUIRE_DEVICE int64_t At(int token) const {
    return int64_t{FirstToken() + token} * args_.n + RowBlock() * kBlockRows + Row();
  }

  // This thread's tokens, where `blocks` blocks share them and this one is number `block`.
  template <typename Visit>
  QUIRE_DEVICE void ForTokens(int block, int blocks, Visit visit) const {
    constexpr int kAtOnce = kLinearThreads / (kBlockRows / 4);
    const int first = block * kAtOnce + simt::ThreadId() / (kBlockRows / 4);
    for (int token = first; token < simt::Min(NumTokens(), kTokens); token += blocks * kAtOnce) visit(token);
  }

  // Fetched ahead of everything: at the end the memory's latency would be waited for.
  QUIRE_DEVICE simt::Vec4 RowScales() const {
    if constexpr (kFormat == WeightFormat::kInt8)
      return simt::LoadStreaming(args_.row_scales + RowBlock() * kBlockRows + Row());
    return simt::Vec4{0, 0, 0, 0};
  }

  QUIRE_DEVICE static simt::Vec4 Add(const simt::Vec4& a, const simt::Vec4& b) {
    const auto add = [](uint32_t p, uint32_t q) { return simt::AsBits(simt::AsFloat(p) + simt::AsFloat(q)); };
    return {add(a.x, b.x), add(a.y, b.y), add(a.z, b.z), add(a.w, b.w)};
  }

  QUIRE_DEVICE void StoreOutput(int token, const simt::Vec4& sum, const simt::Vec4& row_scales) const {
    struct alignas(8) Four {
      uint32_t low, high;
    };
    float v[4] = {simt::AsFloat(sum.x), simt::AsFloat(sum.y), simt::AsFloat(sum.z), simt::AsFloat(sum.w)};
    if constexpr (kFormat == WeightFormat::kInt8) {
      v[0] *= simt::AsFloat(row_scales.x);
      v[1] *= simt::AsFloat(row_scales.y);
      v[2] *= simt::AsFloat(row_scales.z);
      v[3] *= simt::AsFloat(row_scales.w);
    }
    *reinterpret_cast<Four*>(args_.y + At(token)) = Four{simt::PackBf16(v[0], v[1]), simt::PackBf16(v[2], v[3])};
  }

  QUIRE_DEVICE void ShareSums() const {
    float* const shared = reinterpret_cast<float*>(simt::SharedMemory()) + slice_ * kTokens * kPitch;
    QUIRE_UNROLL
    for (int half = 0; half < 2; ++half) QUIRE_UNROLL
    for (int n = 0; n < kTokenTiles; ++n) QUIRE_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int token = n * 8 + lane_ % 4 * 2 + i % 2;
      const int row = tile_ * kTileRows + half * 16 + lane_ / 4 + i / 2 * 8;
      shared[token * kPitch + row] = sums_[n].halves[half][i];
    }
  }
  QUIRE_DEVICE static const char* SumsOf(int token) { return simt::SharedMemory() + (token * kPitch + Row()) * 4; }

  QUIRE_DEVICE void Finish(const simt::Vec4& row_scales) const {
    ShareSums();
    if (Team::kIsCluster && args_.splits > 1) return FinishInCluster(row_scales);
    simt::SyncThreads();
    ForTokens(0, 1, [&](int token) {
      const char* const shared = SumsOf(token);
      const simt::Vec4 sum = Add(simt::Load16(shared), simt::Load16(shared + kSliceSumBytes));
      if (args_.splits == 1)
        StoreOutput(token, sum, row_scales);
      else
        simt::Store16(PartialOf(simt::BlockY(), token), sum);
    });
    if (args_.splits == 1 || !IsLastOfSplits()) return;
    ForTokens(0, 1, [&](int token) {
      simt::Vec4 sum = simt::Load16(PartialOf(0, token));
      for (int split = 1; split < args_.splits; ++split) sum = Add(sum, simt::Load16(PartialOf(split, token)));
      StoreOutput(token, sum, row_scales);
    });
  }

  // Every block adds up some of the tokens. None may end while another reads its sums.
  QUIRE_DEVICE void FinishInCluster(const simt::Vec4& row_scales) const {
    if constexpr (Team::kIsCluster) {
      Team::Sync();
      ForTokens(simt::BlockY(), args_.splits,
                [&](int token) { StoreOutput(token, SumOfCluster(SumsOf(token)), row_scales); });
      Team::Leave();
    }
  }

  // All loads before all sums: each takes as long as a dozen sums.
  QUIRE_DEVICE simt::Vec4 SumOfCluster(const char* shared) const {
    simt::Vec4 sums[kMaxTeam][kSplitSlices] = {};
    QUIRE_UNROLL
    for (int split = 0; split < kMaxTeam; ++split) QUIRE_UNROLL
    for (int slice = 0; slice < kSplitSlices; ++slice)
      if (split < args_.splits) sums[split][slice] = Team::Load16(shared + slice * kSliceSumBytes, split);
    simt::Vec4 sum = Add(sums[0][0], sums[0][1]);
    QUIRE_UNROLL
    for (int split = 1; split < kMaxTeam; ++split)
      if (split < args_.splits) sum = Add(sum, Add(sums[split][0], sums[split][1]));
    return sum;
  }

  QUIRE_DEVICE float* PartialOf(int split, int token) const {
    return args_.partial + int64_t{split} * args_.m * args_.n + At(token);
  }

  // Whether all splits of these rows have written their sums, which may then be read.
  QUIRE_DEVICE bool IsLastOfSplits() const {
    int* const last = reinterpret_cast<int*>(simt::SharedMemory() + kSumBytes);
    simt::SyncThreads();
    if (simt::ThreadId() == 0) {
      simt::MemoryFence();  // for the whole block, whose writes the barrier put before it
      *last = simt::AtomicAdd(args_.arrived + simt::BlockX(), 1) == args_.splits - 1;
      simt::MemoryFence();
      if (*last) args_.arrived[simt::BlockX()] = 0;
    }
    simt::SyncThreads();
    return *last != 0;
  }

  const LinearArgs& args_;
  const int thread_, lane_, tile_, slice_;  // thread_: of the slice
  char* const ring_;
  int num_stages_ = 0;
  const char* weights_ = nullptr;
  const uint16_t* x_ = nullptr;
  const uint16_t* scales_ = nullptr;
  Sums sums_[kTokenTiles] = {};
  Sums group_sums_[kTokenTiles] = {};  // of the group, before its scale
};

}  // namespace quire::cuda
