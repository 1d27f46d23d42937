// The lattice points that GGUF's IQ kinds choose from. A point is packed into 16 bits: the place of each coordinate
// among the kind's levels, the first coordinate in the lowest bits; eight coordinates of two bits, or four of four.
#pragma once

#include <array>
#include <cstdint>

namespace quire {

inline constexpr std::array<float, 3> kIq1Levels = {-1, 0, 1};
inline constexpr std::array<float, 3> kIq2Levels = {8, 25, 43};
inline constexpr std::array<float, 8> kIq3XxsLevels = {4, 12, 20, 28, 36, 44, 52, 62};
inline constexpr std::array<float, 8> kIq3SLevels = {1, 3, 5, 7, 9, 11, 13, 15};

extern const std::array<uint16_t, 2048> kIq1Grid;
extern const std::array<uint16_t, 256> kIq2XxsGrid;
extern const std::array<uint16_t, 512> kIq2XsGrid;
extern const std::array<uint16_t, 1024> kIq2SGrid;
extern const std::array<uint16_t, 256> kIq3XxsGrid;
extern const std::array<uint16_t, 512> kIq3SGrid;

}  // namespace quire
