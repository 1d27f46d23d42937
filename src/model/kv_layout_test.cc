#include "model/kv_layout.h"

#include <gtest/gtest.h>

#include <random>

namespace quire {
namespace {

// `pattern` windows, repeated over so many layers.
std::vector<int32_t> Repeat(const std::vector<int32_t>& pattern, size_t num_layers) {
  std::vector<int32_t> windows;
  for (size_t i = 0; i < num_layers; ++i) windows.push_back(pattern[i % pattern.size()]);
  return windows;
}

int32_t NumEmpty(const KvLayout& layout) {
  auto num_empty = static_cast<int32_t>(layout.groups.size()) * layout.layers_per_block;
  return num_empty - static_cast<int32_t>(layout.places.size());
}

TEST(KvLayoutTest, LayersOfOneKindAreOneGroup) {
  for (const int32_t window : {0, 4096}) {
    const KvLayout layout = LayOutKv(Repeat({window}, 32));
    ASSERT_EQ(layout.groups.size(), 1U);
    EXPECT_EQ(layout.groups[0].window, window);
    EXPECT_EQ(layout.layers_per_block, 32);
  }
}

TEST(KvLayoutTest, AlternatingLayersAreTwo) {
  const KvLayout layout = LayOutKv(Repeat({128, 0}, 24));
  ASSERT_EQ(layout.groups.size(), 2U);
  EXPECT_EQ(layout.groups[0].window, 0);
  EXPECT_EQ(layout.groups[0].layers[1], 3);
  EXPECT_EQ(layout.groups[1].window, 128);
  EXPECT_EQ(layout.layers_per_block, 12);
}

TEST(KvLayoutTest, FiveWindowsToOneFullLayer) {
  const std::vector<int32_t> pattern = {1024, 1024, 1024, 1024, 1024, 0};
  const struct {
    size_t num_layers;
    int32_t per_block;
    size_t num_groups;
    int32_t num_empty;
  } cases[] = {{26, 4, 7, 2}, {34, 5, 7, 1}, {48, 8, 6, 0}, {62, 13, 5, 3}};
  for (const auto& c : cases) {
    const KvLayout layout = LayOutKv(Repeat(pattern, c.num_layers));
    EXPECT_EQ(layout.layers_per_block, c.per_block) << c.num_layers;
    EXPECT_EQ(layout.groups.size(), c.num_groups) << c.num_layers;
    EXPECT_EQ(NumEmpty(layout), c.num_empty) << c.num_layers;
  }
}

TEST(KvLayoutTest, EveryLayerHasAPlaceOfItsOwnAmongItsKind) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    std::vector<int32_t> windows(1 + random() % 60);
    for (int32_t& window : windows) window = static_cast<int32_t>(random() % 3) * 100;
    const KvLayout layout = LayOutKv(windows);
    ASSERT_EQ(layout.places.size(), windows.size());
    for (size_t i = 0; i < windows.size(); ++i) {
      const KvPlace& place = layout.places[i];
      const KvLayerGroup& group = layout.groups[static_cast<size_t>(place.group)];
      EXPECT_EQ(group.window, windows[i]);
      EXPECT_LT(place.layer, layout.layers_per_block);
      EXPECT_EQ(group.layers[static_cast<size_t>(place.layer)], static_cast<int32_t>(i));
    }
  }
}

}  // namespace
}  // namespace quire
