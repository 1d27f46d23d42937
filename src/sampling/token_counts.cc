#include "sampling/token_counts.h"

#include <algorithm>
#include <bit>

namespace quire {
namespace {

constexpr int32_t kEmpty = -1;
constexpr size_t kMinCells = 64;

}  // namespace

void TokenCounts::Reset() {
  entries_.clear();
  std::fill(cells_.begin(), cells_.end(), kEmpty);
}

void TokenCounts::Reserve(size_t num_distinct) {
  entries_.reserve(num_distinct);
  const size_t wanted = std::max(kMinCells, std::bit_ceil(2 * num_distinct));
  if (wanted > cells_.size()) Rehash(wanted);
}

size_t TokenCounts::FindCell(int32_t token) const {
  const size_t mask = cells_.size() - 1;
  size_t cell = (static_cast<uint32_t>(token) * 0x9E3779B1U >> 7) & mask;
  while (cells_[cell] != kEmpty && entries_[static_cast<size_t>(cells_[cell])].token != token) cell = (cell + 1) & mask;
  return cell;
}

bool TokenCounts::Contains(int32_t token) const { return !cells_.empty() && cells_[FindCell(token)] != kEmpty; }

void TokenCounts::Rehash(size_t num_cells) {
  cells_.assign(num_cells, kEmpty);
  for (size_t i = 0; i < entries_.size(); ++i) cells_[FindCell(entries_[i].token)] = static_cast<int32_t>(i);
}

TokenCounts::Entry& TokenCounts::At(int32_t token) {
  if (2 * (entries_.size() + 1) > cells_.size()) Rehash(std::max(kMinCells, 2 * cells_.size()));
  int32_t& cell = cells_[FindCell(token)];
  if (cell == kEmpty) {
    cell = static_cast<int32_t>(entries_.size());
    entries_.push_back({.token = token});
  }
  return entries_[static_cast<size_t>(cell)];
}

}  // namespace quire
