// What decode attention works on: units of work, the partitions that a context is cut into, and a launch's arguments.
#pragma once

#include <cstdint>

#include "kernels/paged_kv.h"
#include "simt/simt.h"

namespace quire::cuda {

constexpr int kDecodeTile = 16;  // positions of one step of a warp
constexpr int kDecodeWarps = 4;  // per block
constexpr int kDecodeThreads = kDecodeWarps * simt::kWarpSize;
constexpr int kMaxPartition = 1024;  // 16 tiles a warp: a lane holds each half tile's block

// Positions per partition: short enough that one sequence fills a card, long enough that partial results are little
// beside what is read.
QUIRE_HOST_DEVICE constexpr int PartitionLength(int context) {
  return context <= 4096 ? 256 : context <= 16384 ? 512 : 1024;
}

// Positions [begin, end) of a sequence, whose position p lies in block tables[table_begin + p / block_size].
struct alignas(16) DecodeUnit {
  int32_t begin = 0, end = 0;
  int32_t table_begin = 0;
  int32_t sequence = 0;
  int32_t num_partitions = 0;  // of the sequence; 1: the result is final
  int32_t unused[3] = {};
};

struct DecodeSequence {
  int32_t first_unit = 0;
  int32_t num_partitions = 0;  // 0: no sequence (a graph's grid is padded)
};

struct DecodeArgs {
  const uint16_t* q = nullptr;  // [sequences, num_heads, head_dim] bf16
  PagedKv kv;
  const uint32_t* tables = nullptr;
  const DecodeUnit* units = nullptr;
  const DecodeSequence* sequences = nullptr;
  int32_t num_units = 0;
  int32_t num_heads = 0;
  float scale = 0;  // of scores, to base 2: log2(e) / sqrt(head_dim) as a rule
  // Of the cache, in elements: a KV head's slots, a block, from a block's keys to its values.
  uint32_t head_elements = 0, block_elements = 0, value_offset = 0;
  float* partial = nullptr;  // [units, num_heads, head_dim]
  float* maxima = nullptr;   // [units, num_heads, 2]: maximum (base 2), sum
  uint16_t* out = nullptr;   // [sequences, num_heads, head_dim] bf16

  // The strides are the card's to read, not to compute.
  void SetCache(const PagedKv& cache) {
    kv = cache;
    head_elements = static_cast<uint32_t>(cache.HeadElements());
    block_elements = static_cast<uint32_t>(cache.BlockElements());
    value_offset = head_elements * static_cast<uint32_t>(cache.kv_heads);
  }
  QUIRE_HOST_DEVICE int Group() const { return num_heads / kv.kv_heads; }
  QUIRE_HOST_DEVICE int NumItems() const { return num_units * kv.kv_heads; }
};

// Where a partition stands: positions [begin, end).
struct PartitionRange {
  int begin, end;
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
  return {simt::Max(start, from), simt::Min(start + partition, context)};
}

}  // namespace quire::cuda
