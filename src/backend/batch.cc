#include "backend/backend.h"
#include "backend/ops.h"

namespace quire {

Batch::Batch(const BatchLimits& limits) : limits_(limits) {
  const auto rows = static_cast<size_t>(limits.max_rows);
  tokens_.reserve(rows);
  spans_.reserve(rows);
}

void Batch::Assign(std::span<const int32_t> tokens, std::span<const BatchSpan> spans) {
  CheckBatch(limits_, tokens, spans);
  tokens_.assign(tokens.begin(), tokens.end());
  spans_.assign(spans.begin(), spans.end());
}

}  // namespace quire
