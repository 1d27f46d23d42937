// Attention: one layer's self-attention over the paged cache: fused QKV product, head norms and rotation, keys and
// values into the cache, attention, output product. Grouped queries: each KV head serves num_heads / num_kv_heads
// queries. Const after construction.
#pragma once

#include <cstdint>
#include <utility>

#include "backend/backend.h"
#include "model/linear.h"
#include "tensor/buffer.h"

namespace quire {

// What the layers of one step share.
struct StepContext {
  Backend& backend;
  Batch& batch;
  RopeTable rope;
  KvCache& cache;
  Arena& arena;
};

struct AttentionShape {
  int32_t kv_group = 0;  // where its keys and values are
  int32_t kv_layer = 0;  // of a block
  int32_t num_heads = 0;
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  int32_t window = 0;  // 0: all positions
  float norm_epsilon = 0;
};

struct AttentionWeights {
  Linear qkv;  // queries, keys, values stacked
  Linear out;
  Buffer q_norm;  // [head_dim] of the device, or empty
  Buffer k_norm;
};

class Attention {
 public:
  Attention(const AttentionShape& shape, AttentionWeights weights) : shape_(shape), weights_(std::move(weights)) {}

  // residual += attention(x); x [rows, hidden] is normalised already.
  void Forward(const StepContext& step, const Tensor& x, const Tensor& residual) const;
  // Of the arena, during Forward.
  static size_t ScratchBytes(const AttentionShape& shape, int64_t rows);

 private:
  AttentionShape shape_;
  AttentionWeights weights_;
};

}  // namespace quire
