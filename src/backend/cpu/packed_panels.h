// Weights in panels of 64 output columns (layout: cpu/kernel_table.h).
#pragma once

#include <memory>
#include <span>

#include "backend/backend.h"
#include "base/thread_team.h"

namespace quire::cpu {

class PackedPanels : public PackedLinear {
 public:
  static size_t Bytes(int64_t out_features, int64_t in_features, DType format);
  // As Backend::PackLinear.
  static Result<std::unique_ptr<PackedPanels>> Pack(std::span<const MatrixPart> parts, DType format, ThreadTeam& team,
                                                    MemoryPool& memory);
  // Row `row` of the weight, in_features() floats.
  void LoadRow(int64_t row, float* out) const;

  size_t bytes() const override { return buffer_.bytes(); }
  int64_t num_panels() const;
  size_t panel_bytes() const { return panel_bytes_; }
  const char* panel(int64_t index) const {
    return static_cast<const char*>(buffer_.data()) + static_cast<size_t>(index) * panel_bytes_;
  }

 private:
  PackedPanels(int64_t out_features, int64_t in_features, DType format, size_t panel_bytes, Buffer buffer)
      : PackedLinear(out_features, in_features, format), panel_bytes_(panel_bytes), buffer_(std::move(buffer)) {}

  size_t panel_bytes_;
  Buffer buffer_;
};

}  // namespace quire::cpu
