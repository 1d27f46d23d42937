#include "backend/cpu/packed_panels.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "backend/cpu/kernel_table.h"
#include "backend/ops.h"
#include "backend/weight_rows.h"

namespace quire::cpu {
namespace {

int64_t NumPanels(int64_t out_features) { return (out_features + kPanel - 1) / kPanel; }

int64_t PaddedDepth(int64_t in_features, DType format) {
  return format == DType::kBf16 ? (in_features + 1) / 2 * 2 : in_features;
}

// Panel `index` from rows [64 index, 64 index + 64); the panel's memory is zero before. A group of `kGroup` consecutive
// k (a pair of bf16, one float) stays together. `staged`: [64, width in whole groups].
template <typename T, int kGroup>
void PackPanel(const WeightRows& rows, int64_t index, T* staged, T* panel) {
  const int64_t k = rows.width(), padded = (k + kGroup - 1) / kGroup * kGroup;
  const int64_t first = index * kPanel, count = std::min<int64_t>(kPanel, rows.num_rows() - first);
  for (int64_t n = 0; n < count; ++n) {
    rows.Load(first + n, staged + n * padded);
    std::fill(staged + n * padded + k, staged + (n + 1) * padded, T{});
  }
  for (int64_t group = 0; group < padded / kGroup; ++group) {
    for (int64_t n = 0; n < count; ++n) {
      std::memcpy(panel + (group * kPanel + n) * kGroup, staged + n * padded + group * kGroup, kGroup * sizeof(T));
    }
  }
}

}  // namespace

int64_t PackedPanels::num_panels() const { return NumPanels(out_features()); }

Result<std::unique_ptr<PackedPanels>> PackedPanels::Pack(std::span<const Tensor> parts, DType format, ThreadTeam& team,
                                                         MemoryPool& memory) {
  QUIRE_RETURN_IF_ERROR(ValidatePackLinear(parts, format));
  const WeightRows rows(parts);
  const int64_t n = rows.num_rows(), k = rows.width(), num_panels = NumPanels(n);
  const size_t panel_bytes = static_cast<size_t>(PaddedDepth(k, format) * kPanel) * DTypeSize(format);
  QUIRE_ASSIGN_OR_RETURN(Buffer buffer, memory.Allocate(static_cast<size_t>(num_panels) * panel_bytes));
  std::unique_ptr<PackedPanels> packed(new PackedPanels(n, k, format, panel_bytes, std::move(buffer)));
  // Threads have nobody to tell that they got no memory.
  const size_t staged_bytes = Arena::Align(panel_bytes);
  QUIRE_ASSIGN_OR_RETURN(Buffer staged, Buffer::Allocate(static_cast<size_t>(team.num_threads()) * staged_bytes));
  team.Run([&](int thread) {
    void* own = static_cast<std::byte*>(staged.data()) + static_cast<size_t>(thread) * staged_bytes;
    const int64_t end = num_panels * (thread + 1) / team.num_threads();
    for (int64_t i = num_panels * thread / team.num_threads(); i < end; ++i) {
      char* panel = const_cast<char*>(packed->panel(i));
      if (format == DType::kF32) {
        PackPanel<float, 1>(rows, i, static_cast<float*>(own), reinterpret_cast<float*>(panel));
      } else {
        PackPanel<uint16_t, 2>(rows, i, static_cast<uint16_t*>(own), reinterpret_cast<uint16_t*>(panel));
      }
    }
  });
  return packed;
}

}  // namespace quire::cpu
