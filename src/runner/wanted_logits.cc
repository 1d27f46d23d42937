#include "runner/wanted_logits.h"

namespace quire {

size_t PassArenaBytes(const ModelConfig& config, int64_t max_rows, int64_t logit_rows) {
  const size_t gathered = static_cast<size_t>(logit_rows * config.hidden_size) * sizeof(float);
  return DecoderArenaBytes(config, max_rows, logit_rows) + Arena::Align(gathered);
}

Tensor WantedLogits(const Model& model, Backend& backend, Batch& batch, const Tensor& hidden,
                    std::span<const int32_t> rows, Arena& arena) {
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t first = rows.front();
  if (rows.back() - first + 1 == count) return model.Logits(batch, hidden.Rows(first, first + count), arena);
  const Tensor wanted = arena.NewTensor(DType::kF32, {count, hidden.dim(1)});
  backend.GatherRows(hidden, rows, wanted);
  return model.Logits(batch, wanted, arena);
}

}  // namespace quire
