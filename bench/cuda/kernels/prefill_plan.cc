#include "kernels/prefill_plan.h"

#include <algorithm>

namespace quire::cuda {

int PackFor(int num_heads, int kv_heads, int tile_rows) {
  const int group = num_heads / kv_heads;
  return tile_rows % group == 0 ? group : 1;
}

std::vector<PrefillTile> PlanPrefill(std::span<const PrefillSpan> spans, int num_heads, int kv_heads, int tile_rows) {
  const int group = num_heads / kv_heads;
  const int pack = PackFor(num_heads, kv_heads, tile_rows);
  const int tile_tokens = tile_rows / pack;
  std::vector<PrefillTile> tiles;
  for (size_t i = 0; i < spans.size(); ++i)
    for (int token = 0; token < spans[i].num_rows; token += tile_tokens)
      for (int head = 0; head < num_heads; head += pack)
        tiles.push_back(
            {.span = static_cast<int32_t>(i), .first_token = token, .first_head = head, .kv_head = head / group});
  const auto positions_to_read = [&](const PrefillTile& tile) {
    const PrefillSpan& span = spans[static_cast<size_t>(tile.span)];
    return span.first_position + std::min(tile.first_token + tile_tokens, span.num_rows);
  };
  std::ranges::stable_sort(tiles, std::ranges::greater(), positions_to_read);
  return tiles;
}

}  // namespace quire::cuda
