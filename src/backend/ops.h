// Shape contracts of the operations. Every backend checks its operands with these first; operands come from this
// program's own model code, so that a mismatch is a defect (CHECK), except where sizes come from a file or an option.
#pragma once

#include <cstdint>
#include <span>
#include <utility>

#include "backend/backend.h"
#include "quire/result.h"

namespace quire {

void CheckOperands(const LinearArgs& args);
void CheckOperands(const RmsNormArgs& args);
void CheckOperands(const RopeAndCacheArgs& args);
void CheckOperands(const AttentionArgs& args);
void CheckOperands(const GatedActivationArgs& args);
void CheckOperands(const SampleArgs& args);
void CheckBatch(const BatchLimits& limits, std::span<const int32_t> tokens, std::span<const BatchSpan> spans);
void CheckEmbed(const Batch& batch, const PackedLinear& table, const Tensor& y);
void CheckGatherRows(const Tensor& x, std::span<const int32_t> rows, const Tensor& y);
void CheckCopyBlocks(const KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies);
void CheckBlock(const KvCache& cache, uint32_t block);

// Weights come from files and cache shapes from options: these fail with an Error.
Status ValidatePackLinear(std::span<const MatrixPart> parts, DType format);
Status ValidateKvShape(const KvShape& shape);

}  // namespace quire
