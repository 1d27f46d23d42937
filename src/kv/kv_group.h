// KvGroup: layers whose keys and values are kept alike. Each group of a model has block tables of its own, in one pool:
// a block holds block_size positions of all layers of one group, whichever that is. Where layers see a window only, the
// blocks that have fallen out of it are given back.
#pragma once

#include <algorithm>
#include <cstdint>

namespace quire {

struct KvGroup {
  uint32_t window = 0;  // positions that a row sees, its own one included; 0: all before it

  // The first position that the row at `position` sees.
  uint32_t FirstSeen(uint32_t position) const { return window == 0 || position < window ? 0 : position - window + 1; }
  // The first block that a sequence needs to go on behind `num_blocks` full ones: of a window, the last blocks alone.
  // At least one, so that a prefix is never without a block.
  uint32_t FirstNeeded(uint32_t num_blocks, uint32_t block_size) const {
    return num_blocks == 0 ? 0 : std::min(FirstSeen(num_blocks * block_size) / block_size, num_blocks - 1);
  }
};

}  // namespace quire
