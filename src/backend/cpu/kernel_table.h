// What a file of isa/ exports: the kernels of one instruction set, as plain functions over plain values. Included by
// files that are compiled for one instruction set, so it holds no inline function and includes nothing that does.
//
// Kernels run inside of a FlushDenormalsScope, on any thread, with scratch of their own.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "backend/bf16_order.h"

namespace quire::cpu {

// Weights lie in panels of 64 output columns, contiguous over K and zero-padded to whole panels: float32 [K][64],
// bf16 [K / 2][64][2] with an odd K padded by zeros.
constexpr int kPanel = 64;
// Row tiles of one linear task: bounds the partial sums in scratch.
constexpr int kMaxTilesPerTask = 16;
constexpr int kMaxTileRows = 16;
// Panels of one linear task of several tiles, at most: a part of the activations over K passes through all of them
// while it is in the second-level cache.
constexpr int kMaxPanelsPerTask = 8;
// Depth over K between two spills of partial sums, at most; and of weights that are widened in scratch.
constexpr int kMaxDepth = 512;
// Attention: partition of positions, tile of positions, queries of one task, largest head.
constexpr int kPartition = 512;
constexpr int kPositions = 64;
constexpr int kMaxQueries = 32;
constexpr int kMaxHeadDim = 512;

// Rows of activations, reordered for the kernels: tile after tile, each with K outside and the rows of the tile inside.
struct PackRowsTask {
  const float* x;      // the tile's first row
  int64_t x_stride;    // in floats
  int64_t rows;        // that exist
  int64_t tile_rows;   // of the packed tile: those that do not exist are zero
  int64_t begin, end;  // the part of K to pack; begin is a multiple of LinearKernels::depth_multiple
  char* tile;          // the packed tile
};

// Some neighbouring panels times some row tiles.
struct LinearTask {
  const char* panel;  // the first
  int64_t panel_bytes;
  int64_t num_panels;  // 1 if num_tiles is 1
  int64_t k;
  const char* x;  // packed; tile t starts after first_row[t] rows' worth of bytes (LinearKernels)
  int64_t num_tiles;
  int64_t first_row[kMaxTilesPerTask + 1];  // relative to the task's first row
  const float* bias;                        // of the panels' columns, or none
  float* y;                                 // the task's first row, the first panel's first column
  int64_t y_stride;
  int64_t columns;  // of the panels that exist
  bool accumulate;
  float* scratch;  // kLinearScratch floats
};
constexpr int64_t kLinearScratch =
    int64_t{kMaxPanelsPerTask} * kMaxTilesPerTask * kMaxTileRows * kPanel + int64_t{kMaxDepth} * kPanel;

// Some query heads that share a key-value head, at consecutive rows of one sequence.
struct AttendTask {
  const float* q;  // [rows, heads, head_dim], rows q_stride floats apart
  int64_t q_stride;
  float* y;  // the same shape
  int64_t y_stride;
  int32_t rows, heads;  // rows * heads <= kMaxQueries
  int32_t head_dim;
  float scale;
  int32_t window;  // 0: none
  int32_t first_position;
  const uint32_t* block_table;
  const char* keys;     // of block 0: [head_dim][block_size]
  const char* values;   // of block 0: [block_size][head_dim]
  int64_t block_bytes;  // from block to block
  int32_t block_size;
  bool bf16;
  float* scratch;  // kAttendScratch floats
};
constexpr int64_t kAttendScratch =
    int64_t{kMaxQueries} * (kPartition + 3 * kMaxHeadDim) + 2 * int64_t{kPositions} * kMaxHeadDim + 2 * kMaxQueries;

// Norm, rotation and store of one head of one row; see RopeAndCacheArgs.
struct HeadTask {
  float* head;
  int32_t head_dim;
  const float* norm;  // or none
  float epsilon;
  const float* cos;
  const float* sin;
  int32_t rotary_dim;
};

// Products with weights of one format. A packed row takes bytes_per_value for each of K values, padded by zeros to a
// multiple of depth_multiple.
struct LinearKernels {
  int64_t tile_rows;  // rows of a tile at most
  // Several tiles have tile_rows rows each, the last one padded; otherwise rows are dealt out to tiles evenly.
  bool whole_tiles;
  int64_t panels_per_task;  // at most, where several tiles of rows share them
  int64_t depth_multiple;
  int64_t bytes_per_value;
  void (*pack_rows)(const PackRowsTask& task);
  void (*multiply)(const LinearTask& task);
};

struct KernelTable {
  const char* name;
  Bf16Order bf16_order;
  LinearKernels f32;
  LinearKernels bf16;
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t n, float* y);
  void (*prepare_head)(const HeadTask& task);
  // y[i * stride] = x[i]; to bf16 rounded to nearest even.
  void (*store_f32)(const float* x, int64_t n, float* y, int64_t stride);
  void (*store_bf16)(const float* x, int64_t n, uint16_t* y, int64_t stride);
  void (*attend)(const AttendTask& task);
  void (*gated_silu)(const float* gate, const float* up, int64_t n, float* y);
  void (*gated_gelu_tanh)(const float* gate, const float* up, int64_t n, float* y);
};

namespace avx2 {
extern const KernelTable kKernels;
}
namespace avx512 {
extern const KernelTable kKernels;
}
namespace avx512bf16 {
extern const KernelTable kKernels;
}
namespace amx {
extern const KernelTable kKernels;
}

}  // namespace quire::cpu
