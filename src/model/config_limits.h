// What sizes of a model may be, wherever they are read from: generous beyond any published model, small enough that
// products of two fit easily into 64 bits.
#pragma once

#include <cstdint>

namespace quire {

inline constexpr int64_t kMaxVocab = int64_t{1} << 24;
inline constexpr int64_t kMaxFeatures = int64_t{1} << 20;
inline constexpr int64_t kMaxLayers = 4096;
inline constexpr int64_t kMaxHeads = 4096;
inline constexpr int64_t kMaxHeadDim = 1024;
inline constexpr int64_t kMaxPosition = int64_t{1} << 24;

}  // namespace quire
