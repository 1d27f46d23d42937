// What the tests of pools, block tables and indexes share: blocks by their numbers, tokens that count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <vector>

#include "kv/block_table.h"

namespace quire {

// Slots per block, where a test needs only one size.
inline constexpr uint32_t kBlockSize = 4;

inline std::vector<BlockId> Ids(std::initializer_list<uint32_t> ids) {
  std::vector<BlockId> blocks;
  for (const uint32_t id : ids) blocks.push_back(BlockId{id});
  return blocks;
}

inline std::vector<BlockId> Blocks(const BlockTable& table) { return {table.blocks().begin(), table.blocks().end()}; }

// The tokens first, first + 1, ...
inline std::vector<int32_t> Count(int32_t n, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

}  // namespace quire
