#include "backend/cpu/packed_panels.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>

#include "backend/cpu/kernel_table.h"
#include "backend/ops.h"
#include "base/first_error.h"

namespace quire::cpu {
namespace {

// What stays together in a panel: a pair of bf16, one float.
using Unit = uint32_t;

int64_t NumPanels(int64_t out_features) { return (out_features + kPanel - 1) / kPanel; }
int64_t UnitsPerRow(int64_t in_features, DType format) {
  return format == DType::kBf16 ? (in_features + 1) / 2 : in_features;
}
size_t PanelBytes(int64_t in_features, DType format) {
  return static_cast<size_t>(UnitsPerRow(in_features, format) * kPanel) * sizeof(Unit);
}

// Four units of four rows, which lie `row_bytes` apart, become four rows of `panel`.
void TransposeFour(const std::byte* rows, size_t row_bytes, Unit* panel) {
  typedef Unit Four __attribute__((vector_size(4 * sizeof(Unit))));
  Four a, b, c, d;
  std::memcpy(&a, rows, sizeof(a));
  std::memcpy(&b, rows + row_bytes, sizeof(b));
  std::memcpy(&c, rows + 2 * row_bytes, sizeof(c));
  std::memcpy(&d, rows + 3 * row_bytes, sizeof(d));
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Four columns[] = {
      __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5), __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
      __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5), __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (const Four& column : columns) {
    std::memcpy(panel, &column, sizeof(column));
    panel += kPanel;
  }
}

// A panel from `count` rows of `row_bytes` each, which lie one behind the other in `rows`; its memory is zero before.
void PackPanel(const std::byte* rows, int64_t count, size_t row_bytes, Unit* panel) {
  // Bytes of a row at a time: a cache line, so that what they are scattered over stays in the first-level cache.
  constexpr size_t kTile = 64, kFour = 4 * sizeof(Unit);
  const int64_t fours = row_bytes % sizeof(Unit) == 0 ? count / 4 * 4 : 0;
  size_t begin = 0;
  for (; fours > 0 && begin + kTile <= row_bytes; begin += kTile) {
    for (int64_t n = 0; n < fours; n += 4) {
      const std::byte* row = rows + static_cast<size_t>(n) * row_bytes;
      for (size_t byte = begin; byte < begin + kTile; byte += kFour) {
        TransposeFour(row + byte, row_bytes, panel + byte / sizeof(Unit) * kPanel + n);
      }
    }
  }
  // What is left, and the half of a pair.
  for (int64_t n = 0; n < count; ++n) {
    for (size_t byte = n < fours ? begin : 0; byte < row_bytes; byte += sizeof(Unit)) {
      std::memcpy(panel + byte / sizeof(Unit) * kPanel + n, rows + static_cast<size_t>(n) * row_bytes + byte,
                  std::min(sizeof(Unit), row_bytes - byte));
    }
  }
}

}  // namespace

int64_t PackedPanels::num_panels() const { return NumPanels(out_features()); }

size_t PackedPanels::Bytes(int64_t out_features, int64_t in_features, DType format) {
  return static_cast<size_t>(NumPanels(out_features)) * PanelBytes(in_features, format);
}

Result<std::unique_ptr<PackedPanels>> PackedPanels::Pack(std::span<const MatrixPart> parts, DType format,
                                                         ThreadTeam& team, MemoryPool& memory) {
  QUIRE_RETURN_IF_ERROR(ValidatePackLinear(parts, format));
  const int64_t n = NumStackedRows(parts), k = parts[0].range.num_columns, num_panels = NumPanels(n);
  QUIRE_ASSIGN_OR_RETURN(Buffer buffer, memory.Allocate(Bytes(n, k, format)));
  std::unique_ptr<PackedPanels> packed(new PackedPanels(n, k, format, PanelBytes(k, format), std::move(buffer)));
  const size_t row_bytes = static_cast<size_t>(k) * DTypeSize(format);
  // Threads have nobody to tell that they got no memory.
  const size_t staged_bytes = Arena::Align(kPanel * row_bytes);
  QUIRE_ASSIGN_OR_RETURN(Buffer staged, Buffer::Allocate(static_cast<size_t>(team.num_threads()) * staged_bytes));
  FirstError error;
  std::atomic<int64_t> next = 0;
  team.Run([&](int thread) {
    std::byte* own = static_cast<std::byte*>(staged.data()) + static_cast<size_t>(thread) * staged_bytes;
    for (int64_t i = next++; i < num_panels; i = next++) {
      const int64_t first = i * kPanel, count = std::min<int64_t>(kPanel, n - first);
      Status status = ReadStackedRows(parts, first, count, format, own);
      if (!status.ok()) return error.Take(std::move(status));
      PackPanel(own, count, row_bytes, reinterpret_cast<Unit*>(const_cast<char*>(packed->panel(i))));
    }
  });
  QUIRE_RETURN_IF_ERROR(error.Get());
  return packed;
}

void PackedPanels::LoadRow(int64_t row, float* out) const {
  const auto* column = reinterpret_cast<const Unit*>(panel(row / kPanel)) + row % kPanel;
  const int64_t k = in_features();
  if (format() == DType::kF32) {
    for (int64_t i = 0; i < k; ++i) out[i] = std::bit_cast<float>(column[i * kPanel]);
    return;
  }
  for (int64_t i = 0; i < k; i += 2) {
    const Unit pair = column[i / 2 * kPanel];
    out[i] = ToFloat(static_cast<Bf16>(pair & 0xFFFF));
    if (i + 1 < k) out[i + 1] = ToFloat(static_cast<Bf16>(pair >> 16));
  }
}

}  // namespace quire::cpu
