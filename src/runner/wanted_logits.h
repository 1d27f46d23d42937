// Logits of some rows of a pass, a bounded number at a time: what a runner and a drafter have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/backend.h"
#include "model/model.h"
#include "tensor/buffer.h"

namespace quire {

// However many a step wants, so many are made at a time.
inline constexpr int64_t kMaxLogitRows = 64;

// Of the arena for passes of up to max_rows rows, and for the logits of logit_rows of them.
size_t PassArenaBytes(const ModelConfig& config, int64_t max_rows, int64_t logit_rows);

// [rows.size(), vocab_size] in the arena, which `hidden` is in. `rows` ascend.
Tensor WantedLogits(const Model& model, Backend& backend, Batch& batch, const Tensor& hidden,
                    std::span<const int32_t> rows, Arena& arena);

}  // namespace quire
