// Copies of whole KV blocks, all in one launch: copy-on-write within a pool, and swaps between a pool and pinned host
// memory, which the device reads and writes in place.
//
// A block is cut into chunks of 16 KiB, one chunk a CTA at a time: thread t moves bytes 16 t + 4,096 i, so that a warp
// touches whole lines and every thread has four loads under way before its first store.
#pragma once

#include <cstdint>

#include "simt/simt.h"

namespace quire::cuda {

struct BlockPair {
  uint32_t from, to;
};

struct BlockCopyArgs {
  const char* from = nullptr;  // pool [blocks, block_bytes] that `from` of a pair counts in
  char* to = nullptr;          // pool that `to` counts in; may be the same
  // REQUIRES: no block is written twice, and none that is read is written.
  const BlockPair* pairs = nullptr;
  int32_t num_pairs = 0;
  int64_t block_bytes = 0;  // a multiple of 16
};

constexpr int kBlockCopyThreads = 256;
constexpr int kBlockCopyLoads = 4;
constexpr int kBlockCopyChunkBytes = kBlockCopyThreads * kBlockCopyLoads * 16;

// CTAs that leave none without work; fewer do too.
QUIRE_HOST_DEVICE int64_t BlockCopyChunks(const BlockCopyArgs& args) {
  return args.num_pairs * simt::CeilDiv<int64_t>(args.block_bytes, kBlockCopyChunkBytes);
}

QUIRE_DEVICE void CopyChunk(const char* from, char* to, int64_t begin, int64_t end) {
  simt::Vec4 held[kBlockCopyLoads];
  QUIRE_UNROLL
  for (int i = 0; i < kBlockCopyLoads; ++i) {
    const int64_t at = begin + 16 * (i * kBlockCopyThreads + simt::ThreadId());
    if (at < end) held[i] = simt::LoadStreaming(from + at);
  }
  QUIRE_UNROLL
  for (int i = 0; i < kBlockCopyLoads; ++i) {
    const int64_t at = begin + 16 * (i * kBlockCopyThreads + simt::ThreadId());
    if (at < end) simt::Store16(to + at, held[i]);
  }
}

// LAUNCH: kBlockCopyThreads threads, any grid_x.
QUIRE_DEVICE void CopyBlocks(const BlockCopyArgs& args) {
  const int64_t chunks_per_block = simt::CeilDiv<int64_t>(args.block_bytes, kBlockCopyChunkBytes);
  const int64_t chunks = BlockCopyChunks(args);
  for (int64_t chunk = simt::BlockX(); chunk < chunks; chunk += simt::GridX()) {
    const BlockPair pair = args.pairs[chunk / chunks_per_block];
    CopyChunk(args.from + pair.from * args.block_bytes, args.to + pair.to * args.block_bytes,
              chunk % chunks_per_block * kBlockCopyChunkBytes, args.block_bytes);
  }
}

}  // namespace quire::cuda
