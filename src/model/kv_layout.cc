#include "model/kv_layout.h"

#include <algorithm>
#include <map>

namespace quire {
namespace {

int32_t DivideUp(int32_t a, int32_t b) { return (a + b - 1) / b; }

// As few places that stay empty as can be, then as few groups. Smaller blocks than the smallest kind has layers would
// leave none empty, but make tables of many.
int32_t ChooseLayersPerBlock(const std::map<int32_t, std::vector<int32_t>>& kinds) {
  int32_t fewest = INT32_MAX;
  for (const auto& [window, layers] : kinds) fewest = std::min(fewest, static_cast<int32_t>(layers.size()));
  const auto num_empty = [&](int32_t per_block) {
    int32_t num_empty = 0;
    for (const auto& [window, layers] : kinds) {
      const auto count = static_cast<int32_t>(layers.size());
      num_empty += DivideUp(count, per_block) * per_block - count;
    }
    return num_empty;
  };
  int32_t best = fewest;
  for (int32_t per_block = fewest; per_block < 2 * fewest; ++per_block) {
    if (num_empty(per_block) < num_empty(best)) best = per_block;
  }
  return best;
}

}  // namespace

KvLayout LayOutKv(const std::vector<int32_t>& windows) {
  std::map<int32_t, std::vector<int32_t>> kinds;  // by window: full layers first
  for (size_t layer = 0; layer < windows.size(); ++layer) kinds[windows[layer]].push_back(static_cast<int32_t>(layer));
  KvLayout layout;
  if (kinds.empty()) return layout;
  layout.layers_per_block = ChooseLayersPerBlock(kinds);
  layout.places.resize(windows.size());
  for (const auto& [window, layers] : kinds) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const auto place = static_cast<int32_t>(i) % layout.layers_per_block;
      if (place == 0) layout.groups.push_back({.window = window});
      layout.groups.back().layers.push_back(layers[i]);
      layout.places[static_cast<size_t>(layers[i])] = {.group = static_cast<int32_t>(layout.groups.size()) - 1,
                                                       .layer = place};
    }
  }
  return layout;
}

}  // namespace quire
