// The paged KV cache of one layer on a GPU: [num_blocks, 2 (keys, values), kv_heads, block_size, head_dim] in bf16.
// A head's slots of a block are contiguous (one tile, whole lines of memory), and so is a block: one copy moves it.
#pragma once

#include <cstdint>

#include "simt/simt.h"

namespace quire::cuda {

struct PagedKv {
  const uint16_t* data = nullptr;
  int32_t num_blocks = 0;
  int32_t kv_heads = 0;
  int32_t block_size = 16;  // a power of two, 8 to 256
  int32_t head_dim = 128;

  QUIRE_HOST_DEVICE int64_t HeadElements() const { return int64_t{block_size} * head_dim; }
  QUIRE_HOST_DEVICE int64_t BlockElements() const { return 2 * kv_heads * HeadElements(); }
  // Where slot `slot` of a block holds its key (value = 0) or value (value = 1), in elements.
  QUIRE_HOST_DEVICE int64_t Offset(uint32_t block, int value, int kv_head, int slot) const {
    return int64_t{block} * BlockElements() + (int64_t{value} * kv_heads + kv_head) * HeadElements() +
           int64_t{slot} * head_dim;
  }
};

}  // namespace quire::cuda
