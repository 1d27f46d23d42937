// Backend: one device. Memory, packed weights, the paged KV cache, and the fused operations that a model is made of.
//
// Activations are float32, row-major [rows, features]; products follow the weight's format: with bf16 weights the
// activations are rounded to bf16 (nearest even), products accumulate in float32.
//
// Numerics: the reduction order of every output element depends on the operation, the format and K (or the KV length)
// alone, never on the number of rows, threads, chunks or blocks. `ref` states that order in scalar code; every other
// backend gives the same bits, but for one that multiplies in tiles: products with bf16 weights have an order of their
// own there (bf16_order.h), which `ref-amx` states.
//
// All memory that operations compute with is the device's: weights, activations, scratch, the cache. The host touches
// none of it but by Upload, Download, ReadBlock and WriteBlock.
//
// Every operation first CHECKs its operands (backend/ops.h: shape contracts) and otherwise does not fail. One thread
// calls a Backend at a time, but for Upload, PopulateKvCache, ReadBlock and WriteBlock. Several may own a Batch each
// and take turns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/function_ref.h"
#include "quire/result.h"
#include "sampling/sample_task.h"
#include "tensor/buffer.h"
#include "tensor/matrix_reader.h"
#include "tensor/tensor.h"

namespace quire {

// A weight W [out_features, in_features] in the backend's own layout; y = x Wᵀ.
class PackedLinear {
 public:
  virtual ~PackedLinear() = default;
  int64_t out_features() const { return out_features_; }
  int64_t in_features() const { return in_features_; }
  DType format() const { return format_; }
  virtual size_t bytes() const = 0;

 protected:
  PackedLinear(int64_t out_features, int64_t in_features, DType format)
      : out_features_(out_features), in_features_(in_features), format_(format) {}

 private:
  int64_t out_features_, in_features_;
  DType format_;
};

struct KvShape {
  int32_t num_layers = 0;  // that a block holds: of one KV group
  int32_t num_blocks = 0;
  int32_t block_size = 16;  // power of two, 1 to 256
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;
  DType dtype = DType::kBf16;  // kBf16 or kF32

  // Keys and values of one token in the layers of a block.
  size_t BytesPerToken() const {
    return size_t{2} * static_cast<size_t>(num_layers) * static_cast<size_t>(num_kv_heads) *
           static_cast<size_t>(head_dim) * DTypeSize(dtype);
  }
  size_t BytesPerBlock() const { return BytesPerToken() * static_cast<size_t>(block_size); }
};

// The paged cache, one pool of blocks whichever KV group's; its inner layout is the backend's.
class KvCache {
 public:
  virtual ~KvCache() = default;
  const KvShape& shape() const { return shape_; }

 protected:
  explicit KvCache(KvShape shape) : shape_(shape) {}

 private:
  KvShape shape_;
};

// Rows [first_row, first_row + num_rows) of a batch belong to one sequence and stand at consecutive positions from
// first_position; table(group)[p / block_size] holds position p in a KV group, for every p up to the last row's that a
// row sees there.
struct BatchSpan {
  int32_t first_row = 0;
  int32_t num_rows = 0;
  int32_t first_position = 0;
  const uint32_t* block_table = nullptr;  // [groups, table_stride]
  int64_t table_stride = 0;

  const uint32_t* table(int32_t group) const { return block_table + group * table_stride; }
};

// Rotary position embedding, rotate-half convention: pairs (i, i + rotary_dim / 2).
struct RopeTable {
  const float* cos = nullptr;  // [max_position, rotary_dim / 2]
  const float* sin = nullptr;  // the same
  int32_t rotary_dim = 0;
};

// What the steps of a batch will be at most.
struct BatchLimits {
  int64_t max_rows = 0;
  int64_t max_features = 0;  // of a product's input
  int32_t num_heads = 1;
  int32_t num_kv_heads = 1;
  int32_t vocab_size = 0;  // of what Sample samples from; 0: it is not called
};

// The rows of a step as operations want them, at places that stay, and the scratch that operations need. Its owner runs
// one step at a time.
class Batch {
 public:
  virtual ~Batch() = default;
  const BatchLimits& limits() const { return limits_; }
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const BatchSpan> spans() const { return spans_; }

 protected:
  explicit Batch(const BatchLimits& limits);
  // Copies them; block tables stay their owner's.
  void Assign(std::span<const int32_t> tokens, std::span<const BatchSpan> spans);

 private:
  BatchLimits limits_;
  std::vector<int32_t> tokens_;
  std::vector<BatchSpan> spans_;
};

struct LinearArgs {
  Batch* batch = nullptr;  // whose scratch it uses
  Tensor x;                // [rows, in_features] f32
  const PackedLinear* weight = nullptr;
  const float* bias = nullptr;  // [out_features] or none; added after the sum over K
  Tensor y;                     // [rows, out_features] f32
  bool accumulate = false;      // y += instead of y =: the residual stream (y + (x Wᵀ + b))
};

struct RmsNormArgs {
  Tensor x;                       // [rows, features]
  const float* weight = nullptr;  // [features]
  float epsilon = 0;
  Tensor y;  // [rows, features]; may be x
};

// Normalises (if asked), rotates and stores what a fused QKV product left, before attention reads it.
struct RopeAndCacheArgs {
  Tensor qkv;  // [rows, (heads + 2 kv_heads) * head_dim]: queries are rotated in place
  int32_t num_heads = 0;
  const float* q_norm = nullptr;  // [head_dim] RMS norm per head (Qwen3), or none
  const float* k_norm = nullptr;
  float norm_epsilon = 0;
  RopeTable rope;  // rotary_dim 0: no rotation
  const Batch* batch = nullptr;
  KvCache* cache = nullptr;
  int32_t group = 0;  // whose block tables
  int32_t layer = 0;  // of a block
};

// Causal attention of every row over its sequence's cached keys and values, positions 0 (or the window's start) to its
// own. Softmax over partitions of 512 positions, merged in order.
struct AttentionArgs {
  Tensor qkv;  // as RopeAndCache left it: queries at the front of each row
  int32_t num_heads = 0;
  float scale = 0;
  int32_t window = 0;  // 0: all; else positions p with row_position - p < window
  Batch* batch = nullptr;
  const KvCache* cache = nullptr;
  int32_t group = 0;  // whose block tables
  int32_t layer = 0;  // of a block
  Tensor y;           // [rows, heads * head_dim]
};

enum class Activation : uint8_t { kSilu, kGeluTanh };

struct GatedActivationArgs {
  Tensor gate_up;  // [rows, 2 * features]: gate first
  Activation activation = Activation::kSilu;
  Tensor y;  // [rows, features] = act(gate) * up
};

// The tasks see no trace of each other: in any order, on any thread.
struct SampleArgs {
  Batch* batch = nullptr;       // whose scratch it uses
  Tensor logits;                // [rows, vocab] f32
  std::span<SampleTask> tasks;  // the host's; receive the outcomes
};

class Backend {
 public:
  virtual ~Backend() = default;
  // "cpu-avx512", "ref", ...
  virtual std::string name() const = 0;
  virtual int num_threads() const = 0;

  // Zeroed memory of the device.
  virtual Result<Buffer> Allocate(size_t bytes) = 0;
  virtual void Upload(const void* host, void* device, size_t bytes) = 0;
  virtual void Download(const void* device, void* host, size_t bytes) = 0;

  // Bytes that a weight takes when it is packed, without what an allocation is rounded up to.
  virtual size_t PackedBytes(int64_t out_features, int64_t in_features, DType format) const = 0;
  // Packs the parts, of one width, stacked row-wise, to `format` (kF32 or kBf16), in memory of `memory`, which is the
  // device's. They are read by the backend's threads, each row once; values of that format keep their bits, others are
  // rounded to nearest even. Fails as reading does.
  virtual Result<std::unique_ptr<PackedLinear>> PackLinear(std::span<const MatrixPart> parts, DType format,
                                                           MemoryPool& memory) = 0;
  virtual Result<std::unique_ptr<KvCache>> AllocateKvCache(const KvShape& shape) = 0;
  // Where the device gives memory only when it is first written, makes it give all of the cache's: Buffer::Populate.
  // May be called from any thread while others compute.
  virtual Status PopulateKvCache(const KvCache& cache, FunctionRef<bool()> goes_on) const = 0;

  // A batch takes all memory that operations on it need beyond their operands, of device and host about BatchBytes.
  virtual Result<std::unique_ptr<Batch>> NewBatch(const BatchLimits& limits) = 0;
  virtual size_t BatchBytes(const BatchLimits& limits) const = 0;
  // Once per step: its rows, and the work lists of its operations. Block tables stay as they are until the step is
  // over.
  virtual void Prepare(Batch& batch, std::span<const int32_t> tokens, std::span<const BatchSpan> spans) = 0;

  // y[r] = the row of `table` [vocab, features] of the batch's token r, to float32. A head that is tied to the
  // embedding is the same weight.
  virtual void Embed(const Batch& batch, const PackedLinear& table, const Tensor& y) = 0;
  virtual void RmsNorm(const RmsNormArgs& args) = 0;
  virtual void Linear(const LinearArgs& args) = 0;
  virtual void RopeAndCache(const RopeAndCacheArgs& args) = 0;
  virtual void Attention(const AttentionArgs& args) = 0;
  virtual void GatedActivation(const GatedActivationArgs& args) = 0;
  // y[i] = x[rows[i]].
  virtual void GatherRows(const Tensor& x, std::span<const int32_t> rows, const Tensor& y) = 0;
  virtual void Sample(const SampleArgs& args) = 0;
  // All layers of block `first` to block `second`, in order, as one batch.
  virtual void CopyBlocks(KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) = 0;

  // One block, all layers, out of the cache and into it: KvShape::BytesPerBlock() bytes in the layout that kv_layout()
  // names. May be called from any thread while others compute, for a block that nobody else writes meanwhile (nor
  // reads, while WriteBlock runs).
  virtual void ReadBlock(const KvCache& cache, uint32_t block, std::byte* out) const = 0;
  virtual void WriteBlock(KvCache& cache, uint32_t block, const std::byte* in) const = 0;
  // Changes whenever the bytes of a block would mean something else, or could be others: the same for instruction sets
  // that share a layout and compute the same bits.
  virtual std::string kv_layout() const = 0;

  // Runs fn(begin, end) over [0, count) on the backend's threads: for host work such as reading weights.
  virtual void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn) = 0;
};

}  // namespace quire
