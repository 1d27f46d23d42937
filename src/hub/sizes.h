// Sizes and durations as people read them beside downloads: powers of 1000, as the hub's pages have them. Pure.
#pragma once

#include <cstdint>
#include <string>

namespace quire {

// "999 B", "1.5 kB", "12 MB", "1.23 GB".
std::string FormatSize(uint64_t bytes);
// "0:07", "12:34", "3:04:05".
std::string FormatDuration(int64_t seconds);

}  // namespace quire
