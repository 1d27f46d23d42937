// KvLayout: which layers' keys and values lie together. Layers that are kept alike make a group, with a block table of
// its own; all groups share one pool of blocks, so that all hold as many layers, but for places that stay empty. Where
// kinds differ in number (five windows to one full layer) the larger kind makes several groups.
#pragma once

#include <cstdint>
#include <vector>

namespace quire {

struct KvLayerGroup {
  int32_t window = 0;           // positions that a row sees, its own one included; 0: all before it
  std::vector<int32_t> layers;  // ascending; the n-th is the n-th of a block
};

struct KvPlace {
  int32_t group = 0;
  int32_t layer = 0;  // of a block
};

struct KvLayout {
  std::vector<KvLayerGroup> groups;
  int32_t layers_per_block = 0;
  std::vector<KvPlace> places;  // [layers]
};

// windows: of every layer, 0 where it sees all positions.
KvLayout LayOutKv(const std::vector<int32_t>& windows);

}  // namespace quire
