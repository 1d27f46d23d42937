#include "backend/backend.h"
#include "backend/ops.h"

namespace quire {

Batch::Batch(const BatchLimits& limits) : limits_(limits) {
  const auto rows = static_cast<size_t>(limits.max_rows);
  tokens_.reserve(rows);
  spans_.reserve(rows);
  rows_.reserve(rows);
}

void Batch::Assign(std::span<const int32_t> tokens, std::span<const BatchSpan> spans) {
  CheckBatch(limits_, tokens, spans);
  tokens_.assign(tokens.begin(), tokens.end());
  spans_.assign(spans.begin(), spans.end());
  rows_.clear();
  for (size_t span = 0; span < spans.size(); ++span) {
    for (int32_t i = 0; i < spans[span].num_rows; ++i) {
      rows_.push_back({spans[span].first_row + i, static_cast<int32_t>(span)});
    }
  }
}

}  // namespace quire
