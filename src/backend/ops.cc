#include "backend/ops.h"

#include <bit>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// A float32 matrix of any number of rows, none included, on the device.
void CheckMatrix(const Tensor& tensor, int64_t rows, int64_t columns) {
  QUIRE_CHECK(tensor.place() == Place::kDevice);
  QUIRE_CHECK(tensor.dtype() == DType::kF32, "{}", DTypeName(tensor.dtype()));
  QUIRE_CHECK_EQ(tensor.rank(), 2);
  QUIRE_CHECK_EQ(tensor.dim(0), rows);
  QUIRE_CHECK_EQ(tensor.dim(1), columns);
  QUIRE_CHECK(rows == 0 || tensor.data() != nullptr);
}

void CheckRowIds(std::span<const int32_t> rows, int64_t limit) {
  for (const int32_t row : rows) QUIRE_CHECK(row >= 0 && row < limit, "{} of {}", row, limit);
}

void CheckSpans(std::span<const BatchSpan> spans, int64_t rows) {
  for (const BatchSpan& span : spans) {
    QUIRE_CHECK(span.first_row >= 0 && span.num_rows >= 0 && span.first_position >= 0);
    QUIRE_CHECK_LE(int64_t{span.first_row} + span.num_rows, rows);
    QUIRE_CHECK(span.num_rows == 0 || span.block_table != nullptr);
  }
}

// Of the operations that go by a batch's spans.
void CheckBatchOf(const Batch* batch, const Tensor& qkv) {
  QUIRE_CHECK(batch != nullptr);
  CheckSpans(batch->spans(), qkv.dim(0));
}

void CheckHeads(const KvShape& shape, int32_t num_heads, int32_t layer) {
  QUIRE_CHECK(num_heads > 0 && num_heads % shape.num_kv_heads == 0, "{} over {}", num_heads, shape.num_kv_heads);
  QUIRE_CHECK(layer >= 0 && layer < shape.num_layers, "{} of {}", layer, shape.num_layers);
}

int64_t QkvWidth(const KvShape& shape, int32_t num_heads) {
  return (int64_t{num_heads} + 2 * int64_t{shape.num_kv_heads}) * shape.head_dim;
}

}  // namespace

void CheckOperands(const LinearArgs& args) {
  QUIRE_CHECK(args.weight != nullptr && args.batch != nullptr);
  QUIRE_CHECK_LE(args.x.dim(0), args.batch->limits().max_rows);
  QUIRE_CHECK_LE(args.weight->in_features(), args.batch->limits().max_features);
  CheckMatrix(args.x, args.x.dim(0), args.weight->in_features());
  CheckMatrix(args.y, args.x.dim(0), args.weight->out_features());
}

void CheckOperands(const RmsNormArgs& args) {
  QUIRE_CHECK(args.weight != nullptr);
  CheckMatrix(args.x, args.x.dim(0), args.x.dim(1));
  CheckMatrix(args.y, args.x.dim(0), args.x.dim(1));
}

void CheckOperands(const RopeAndCacheArgs& args) {
  QUIRE_CHECK(args.cache != nullptr);
  const KvShape& shape = args.cache->shape();
  CheckHeads(shape, args.num_heads, args.layer);
  CheckMatrix(args.qkv, args.qkv.dim(0), QkvWidth(shape, args.num_heads));
  CheckBatchOf(args.batch, args.qkv);
  QUIRE_CHECK(args.rope.rotary_dim >= 0 && args.rope.rotary_dim % 2 == 0 && args.rope.rotary_dim <= shape.head_dim,
              "{} of {}", args.rope.rotary_dim, shape.head_dim);
  QUIRE_CHECK(args.rope.rotary_dim == 0 || (args.rope.cos != nullptr && args.rope.sin != nullptr));
}

void CheckOperands(const AttentionArgs& args) {
  QUIRE_CHECK(args.cache != nullptr);
  const KvShape& shape = args.cache->shape();
  CheckHeads(shape, args.num_heads, args.layer);
  CheckMatrix(args.qkv, args.qkv.dim(0), QkvWidth(shape, args.num_heads));
  CheckMatrix(args.y, args.qkv.dim(0), int64_t{args.num_heads} * shape.head_dim);
  CheckBatchOf(args.batch, args.qkv);
  QUIRE_CHECK_EQ(args.num_heads, args.batch->limits().num_heads);
  QUIRE_CHECK_EQ(shape.num_kv_heads, args.batch->limits().num_kv_heads);
  QUIRE_CHECK_GE(args.window, 0);
}

void CheckOperands(const GatedActivationArgs& args) {
  CheckMatrix(args.y, args.y.dim(0), args.y.dim(1));
  CheckMatrix(args.gate_up, args.y.dim(0), 2 * args.y.dim(1));
}

void CheckOperands(const SampleArgs& args) {
  QUIRE_CHECK(args.batch != nullptr);
  const int64_t vocab = args.batch->limits().vocab_size;
  CheckMatrix(args.logits, args.logits.dim(0), vocab);
  for (const SampleTask& task : args.tasks) {
    const bool verifies = task.kind == SampleTask::Kind::kVerify,
               draws = verifies || task.kind == SampleTask::Kind::kDraw;
    QUIRE_CHECK(!task.outcomes.empty() && task.top.size() % task.outcomes.size() == 0);
    QUIRE_CHECK_LE(task.row + (verifies ? task.outcomes.size() : 1), static_cast<size_t>(args.logits.dim(0)));
    QUIRE_CHECK_EQ(task.drafts.size(), verifies ? task.outcomes.size() - 1 : 0);
    QUIRE_CHECK(!draws || task.params != nullptr);
    QUIRE_CHECK(task.kind != SampleTask::Kind::kScore || (task.target >= 0 && task.target < vocab), "{}", task.target);
  }
}

void CheckBatch(const BatchLimits& limits, std::span<const int32_t> tokens, std::span<const BatchSpan> spans) {
  QUIRE_CHECK_LE(static_cast<int64_t>(tokens.size()), limits.max_rows);
  CheckSpans(spans, limits.max_rows);
}

void CheckEmbed(const Batch& batch, const PackedLinear& table, const Tensor& y) {
  const std::span<const int32_t> ids = batch.tokens();
  CheckMatrix(y, static_cast<int64_t>(ids.size()), table.in_features());
  CheckRowIds(ids, table.out_features());
}

void CheckGatherRows(const Tensor& x, std::span<const int32_t> rows, const Tensor& y) {
  CheckMatrix(x, x.dim(0), x.dim(1));
  CheckMatrix(y, static_cast<int64_t>(rows.size()), x.dim(1));
  CheckRowIds(rows, x.dim(0));
}

void CheckCopyBlocks(const KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) {
  const auto num_blocks = static_cast<uint32_t>(cache.shape().num_blocks);
  for (const auto& [from, to] : copies) {
    QUIRE_CHECK(from < num_blocks && to < num_blocks, "{} to {} of {}", from, to, num_blocks);
  }
}

void CheckBlock(const KvCache& cache, uint32_t block) {
  QUIRE_CHECK_LT(block, static_cast<uint32_t>(cache.shape().num_blocks));
}

Status ValidatePackLinear(std::span<const MatrixPart> parts, DType format) {
  if (format != DType::kF32 && format != DType::kBf16) {
    return InvalidArgument("weights cannot be packed to {}: use float32 or bfloat16", DTypeName(format));
  }
  if (parts.empty()) return InvalidArgument("a linear layer needs at least one weight");
  const auto within = [](int64_t first, int64_t count, int64_t end) {
    return first >= 0 && count > 0 && first <= end && count <= end - first;
  };
  for (const auto& [matrix, range] : parts) {
    if (!within(range.first_row, range.num_rows, matrix->num_rows()) ||
        !within(range.first_column, range.num_columns, matrix->num_columns())) {
      return InvalidArgument("{} rows from {} and {} columns from {} are not a part of a weight of {} x {}",
                             range.num_rows, range.first_row, range.num_columns, range.first_column, matrix->num_rows(),
                             matrix->num_columns());
    }
    if (range.num_columns != parts[0].range.num_columns) {
      return InvalidArgument("weights of {} and {} input features cannot be one layer", parts[0].range.num_columns,
                             range.num_columns);
    }
  }
  return {};
}

Status ValidateKvShape(const KvShape& shape) {
  const bool power_of_two = shape.block_size >= 1 && std::has_single_bit(static_cast<uint32_t>(shape.block_size));
  if (!power_of_two || shape.block_size > 256) {
    return InvalidArgument("block size is {}: must be a power of two from 1 to 256", shape.block_size);
  }
  if (shape.dtype != DType::kBf16 && shape.dtype != DType::kF32) {
    return InvalidArgument("a KV cache of {} is not supported: use bfloat16 or float32", DTypeName(shape.dtype));
  }
  if (shape.num_layers <= 0 || shape.num_blocks <= 0 || shape.num_kv_heads <= 0 || shape.head_dim <= 0) {
    return InvalidArgument("a KV cache needs layers, blocks, heads and a head size: got {}, {}, {} and {}",
                           shape.num_layers, shape.num_blocks, shape.num_kv_heads, shape.head_dim);
  }
  return {};
}

}  // namespace quire
