// Products by packed weights: the layout of the weights, the shapes that are taken, and a launch's arguments.
#pragma once

#include <cstdint>

#include "simt/simt.h"

namespace quire::cuda {

enum class WeightFormat : uint8_t {
  kBf16,
  kInt8,          // -128 to 127 times row_scales[row]
  kInt4Group128,  // codes 0 to 15: (code - 8) times the scale of the row's group of 128 along k
  kInt4Group32,
};

// --- Layout ---

constexpr int kTileRows = 32;  // a warp's: two operands of 16 rows
constexpr int kChunk = 32;     // along k: two steps of 16
constexpr int kUnit = 128;     // k is a multiple; slices begin and end on it
constexpr int kVecBytes = 16;
constexpr int kWarpVecBytes = kVecBytes * simt::kWarpSize;

QUIRE_HOST_DEVICE constexpr int WeightBits(WeightFormat format) {
  return format == WeightFormat::kBf16 ? 16 : format == WeightFormat::kInt8 ? 8 : 4;
}
// Weights of a row that share a scale within the sum; 0: the sum as a whole is scaled, or nothing is.
QUIRE_HOST_DEVICE constexpr int GroupSize(WeightFormat format) {
  return format == WeightFormat::kInt4Group128 ? 128 : format == WeightFormat::kInt4Group32 ? 32 : 0;
}

// The first bit of w[row, k] in the packed weights. Tiles of 32 rows follow each other, in them chunks of 32 along k,
// in those the vectors of 32 lanes. Lane 4g + t holds rows g, g + 8, g + 16, g + 24 and k from 8t to 8t + 7. Within a
// word the values lie so that one mask cuts out two that are neighbours along k, as the halves of a bf16 pair.
QUIRE_HOST_DEVICE constexpr int64_t PackedBit(WeightFormat format, int64_t row, int64_t k, int64_t size_k) {
  const int bits = WeightBits(format);
  const int64_t chunk = row / kTileRows * (size_k / kChunk) + k / kChunk;
  const int64_t lane = row % 8 * 4 + k % kChunk / 8;
  const int64_t row_of_lane = row % kTileRows / 8, i = k % 8;
  int64_t bit = 0;  // of the lane's, its vectors end to end
  // bf16: a vector is the operand of one step, as the instruction has it.
  if (bits == 16) bit = row_of_lane / 2 * 256 + i / 4 * 128 + i % 4 / 2 * 64 + row_of_lane % 2 * 32 + i % 2 * 16;
  if (bits == 8) bit = row_of_lane * 64 + i / 4 * 32 + i % 4 / 2 * 8 + i % 2 * 16;
  if (bits == 4) bit = row_of_lane * 32 + i / 2 * 4 + i % 2 * 16;
  const int64_t vec = chunk * (bits / 4) + bit / 128;
  return (vec * simt::kWarpSize + lane) * 128 + bit % 128;
}
// The index of the scale of (row, group) in the packed scales: a lane's four rows side by side.
QUIRE_HOST_DEVICE constexpr int64_t PackedScale(int64_t row, int64_t group, int64_t num_groups) {
  return (row / kTileRows * num_groups + group) * kTileRows + row % 8 * 4 + row % kTileRows / 8;
}

// --- Shapes ---

constexpr int kLinearWarps = 8;
constexpr int kLinearThreads = kLinearWarps * simt::kWarpSize;
constexpr int kSplitSlices = 2;  // of a split
constexpr int kBlockRows = 128;  // n is a multiple
constexpr int kMaxTokens = 64;

// Why these sizes cannot be multiplied; null where they can.
constexpr const char* LinearShapeError(int64_t m, int64_t n, int64_t k) {
  if (m < 1 || m > kMaxTokens) return "a product takes 1 to 64 tokens";
  if (n < 1 || n % kBlockRows != 0) return "n (rows of the weights) must be a multiple of 128";
  if (k < 1 || k % kUnit != 0) return "k (columns of the weights) must be a multiple of 128";
  return nullptr;
}

// Blocks that share k. As many as 132 multiprocessors hold at two each when they come as clusters, which lie within an
// eighth of the card, equal, and long enough that reading the weights outweighs adding up. A function of the layer
// alone: it decides the bits of y.
QUIRE_HOST_DEVICE constexpr int LinearSplits(int64_t n, int64_t k) {
  constexpr int64_t kResidentBlocks = 240, kShortest = 1024;
  int best = 1;
  for (int splits = 2; splits <= 8; ++splits)
    if (n / kBlockRows * splits <= kResidentBlocks && k % (int64_t{kUnit} * kSplitSlices * splits) == 0 &&
        k / splits >= kShortest)
      best = splits;
  return best;
}

// Tiles of 8 tokens that a kernel is compiled for: 1, 2 or 4. More than 32 tokens are two blocks of 32, which share the
// weights through L2: sums of more would not leave a thread the registers to dequantise.
constexpr int TokenTiles(int m) { return m <= 8 ? 1 : m <= 16 ? 2 : 4; }
constexpr int TokenBlocksLog2(int m) { return m <= 32 ? 0 : 1; }

struct LinearArgs {
  const void* weights = nullptr;           // PackedBit
  const uint16_t* group_scales = nullptr;  // bf16, PackedScale: int4
  const float* row_scales = nullptr;       // [n]: int8
  const uint16_t* x = nullptr;             // [m, k] of pitch x_pitch, aligned to 16 bytes
  uint16_t* y = nullptr;                   // [m, n]
  float* partial = nullptr;                // [splits, m, n], where there are several and no cluster
  int32_t* arrived = nullptr;              // [n / 128 << token_blocks_log2] zeros, left as zeros: likewise
  int32_t m = 0, n = 0, k = 0;
  int32_t x_pitch = 0;            // from a token of x to the next, a multiple of 8
  int32_t splits = 1;             // grid: [n / kBlockRows << token_blocks_log2, splits]
  int32_t token_blocks_log2 = 0;  // of blocks that share the tokens among them
  int32_t ahead_bytes = 0;        // of a warp's weights past its ring that it asks L2 for before x is there: 16s
};

// Blocks that share k and know of each other through global memory alone: the last to arrive adds up.
struct GridTeam {
  static constexpr bool kIsCluster = false;
  QUIRE_DEVICE static void PrefetchToL2(const void*, int) {}
};
// A team that is a cluster has kIsCluster = true and, with ranks as BlockY():
//   PrefetchToL2(global, bytes): begins to bring them, which are aligned to 16 bytes and a multiple of it;
//   Sync(): a barrier of all threads of all blocks, which sees to it that what they stored is seen after it;
//   Leave(): the same without that: who passes it may end;
//   Load16(shared, rank): what lies at the same place in that block's shared memory.
constexpr int kMaxTeam = 8;

}  // namespace quire::cuda
