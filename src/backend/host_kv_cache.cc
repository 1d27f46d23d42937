#include "backend/host_kv_cache.h"

#include <cstring>

namespace quire {

void HostKvCache::CopyBlocks(std::span<const std::pair<uint32_t, uint32_t>> copies) const {
  for (int32_t layer = 0; layer < shape().num_layers; ++layer) {
    for (const auto& [from, to] : copies) {
      if (from != to) std::memcpy(block(layer, to), block(layer, from), block_bytes());
    }
  }
}

void HostKvCache::ReadBlock(uint32_t id, std::byte* out) const {
  for (int32_t layer = 0; layer < shape().num_layers; ++layer, out += block_bytes()) {
    std::memcpy(out, block(layer, id), block_bytes());
  }
}

void HostKvCache::WriteBlock(uint32_t id, const std::byte* in) const {
  for (int32_t layer = 0; layer < shape().num_layers; ++layer, in += block_bytes()) {
    std::memcpy(block(layer, id), in, block_bytes());
  }
}

}  // namespace quire
