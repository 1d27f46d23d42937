#include "backend/ref/ref_backend.h"

#include <algorithm>
#include <cstring>

#include "backend/flush_denormals.h"
#include "backend/host_kv_cache.h"
#include "backend/ops.h"
#include "backend/ref/ref_ops.h"
#include "base/error.h"
#include "base/first_error.h"
#include "base/thread_team.h"
#include "sampling/host_sampler.h"

namespace quire {
namespace {

// Weights row-major as floats; those of a bf16 layer hold bf16 values.
class RefLinear : public PackedLinear {
 public:
  RefLinear(int64_t out_features, int64_t in_features, DType format, Buffer buffer)
      : PackedLinear(out_features, in_features, format), buffer_(std::move(buffer)) {}
  size_t bytes() const override { return buffer_.bytes(); }
  const float* row(int64_t n) const { return static_cast<const float*>(buffer_.data()) + n * in_features(); }

 private:
  Buffer buffer_;
};

// [layer][block][slot][key or value][kv_head][head_dim] in the cache's format.
class RefKvCache : public HostKvCache {
 public:
  RefKvCache(const KvShape& shape, Buffer buffer) : HostKvCache(shape, std::move(buffer)) {}

  void Store(int32_t layer, const uint32_t* block_table, int32_t position, int32_t which, const float* heads) const {
    char* vector = Vector(layer, block_table, position, which, 0);
    const int64_t n = int64_t{shape().num_kv_heads} * shape().head_dim;
    for (int64_t i = 0; i < n; ++i) {
      if (shape().dtype == DType::kF32) {
        reinterpret_cast<float*>(vector)[i] = heads[i];
      } else {
        reinterpret_cast<Bf16*>(vector)[i] = ToBf16(heads[i]);
      }
    }
  }

  void Load(int32_t layer, const uint32_t* block_table, int32_t position, int32_t which, int32_t kv_head,
            float* out) const {
    const char* vector = Vector(layer, block_table, position, which, kv_head);
    for (int32_t d = 0; d < shape().head_dim; ++d) {
      out[d] = shape().dtype == DType::kF32 ? reinterpret_cast<const float*>(vector)[d]
                                            : ToFloat(reinterpret_cast<const Bf16*>(vector)[d]);
    }
  }

 private:
  char* Vector(int32_t layer, const uint32_t* block_table, int32_t position, int32_t which, int32_t kv_head) const {
    const int64_t slot = position % shape().block_size;
    const int64_t index = ((slot * 2 + which) * shape().num_kv_heads + kv_head) * shape().head_dim;
    return block(layer, block_table[position / shape().block_size]) +
           static_cast<size_t>(index) * DTypeSize(shape().dtype);
  }
};

// Needs no scratch.
class RefBatch : public Batch {
 public:
  RefBatch(const BatchLimits& limits, int num_threads) : Batch(limits), sampler_(num_threads, limits.vocab_size) {}
  using Batch::Assign;
  HostSampler& sampler() { return sampler_; }

 private:
  HostSampler sampler_;
};

class RefBackend : public Backend {
 public:
  RefBackend(ThreadTeam team, Bf16Order order, MemoryPool& memory)
      : team_(std::move(team)), order_(order), memory_(memory) {}

  std::string name() const override { return order_ == Bf16Order::kTiles ? "ref-amx" : "ref"; }
  int num_threads() const override { return team_.num_threads(); }

  size_t PackedBytes(int64_t out_features, int64_t in_features, DType /*format*/) const override {
    return static_cast<size_t>(out_features * in_features) * sizeof(float);
  }
  Result<std::unique_ptr<PackedLinear>> PackLinear(std::span<const MatrixPart> parts, DType format,
                                                   MemoryPool& memory) override {
    QUIRE_RETURN_IF_ERROR(ValidatePackLinear(parts, format));
    const int64_t n = NumStackedRows(parts), k = parts[0].range.num_columns;
    QUIRE_ASSIGN_OR_RETURN(Buffer buffer, memory.Allocate(PackedBytes(n, k, format)));
    float* packed = static_cast<float*>(buffer.data());
    FirstError error;
    team_.ParallelFor(n, [&](int64_t begin, int64_t end) {
      error.Take(ReadStackedRows(parts, begin, end - begin, DType::kF32, packed + begin * k));
      if (format == DType::kF32) return;
      for (int64_t i = begin * k; i < end * k; ++i) packed[i] = ToFloat(ToBf16(packed[i]));
    });
    QUIRE_RETURN_IF_ERROR(error.Get());
    return std::unique_ptr<PackedLinear>(std::make_unique<RefLinear>(n, k, format, std::move(buffer)));
  }

  Result<std::unique_ptr<KvCache>> AllocateKvCache(const KvShape& shape) override {
    QUIRE_RETURN_IF_ERROR(ValidateKvShape(shape));
    if (shape.head_dim > ref::kMaxHeadDim) {
      return InvalidArgument("heads of {} dimensions are not supported: at most {}", shape.head_dim, ref::kMaxHeadDim);
    }
    QUIRE_ASSIGN_OR_RETURN(Buffer buffer,
                           memory_.Allocate(shape.BytesPerBlock() * static_cast<size_t>(shape.num_blocks)));
    return std::unique_ptr<KvCache>(std::make_unique<RefKvCache>(shape, std::move(buffer)));
  }

  Result<Buffer> Allocate(size_t bytes) override { return memory_.Allocate(bytes); }
  void Upload(const void* host, void* device, size_t bytes) override { std::memcpy(device, host, bytes); }
  void Download(const void* device, void* host, size_t bytes) override { std::memcpy(host, device, bytes); }

  size_t BatchBytes(const BatchLimits& limits) const override {
    return HostSampler::Bytes(num_threads(), limits.vocab_size);
  }
  Result<std::unique_ptr<Batch>> NewBatch(const BatchLimits& limits) override {
    return std::unique_ptr<Batch>(std::make_unique<RefBatch>(limits, num_threads()));
  }
  void Prepare(Batch& batch, std::span<const int32_t> tokens, std::span<const BatchSpan> spans) override {
    static_cast<RefBatch&>(batch).Assign(tokens, spans);
  }

  void Embed(const Batch& batch, const PackedLinear& table, const Tensor& y) override {
    CheckEmbed(batch, table, y);
    float* out = y.f32();
    for (const int32_t id : batch.tokens()) {
      out = std::copy_n(static_cast<const RefLinear&>(table).row(id), table.in_features(), out);
    }
  }

  void RmsNorm(const RmsNormArgs& args) override {
    CheckOperands(args);
    const int64_t n = args.x.dim(1);
    ForRows(args.x.dim(0), [&](int64_t row) {
      ref::RmsNormRow(args.x.f32() + row * n, args.weight, args.epsilon, n, args.y.f32() + row * n);
    });
  }

  void Linear(const LinearArgs& args) override {
    CheckOperands(args);
    const auto& weight = static_cast<const RefLinear&>(*args.weight);
    const int64_t n = weight.out_features(), k = weight.in_features(), rows = args.x.dim(0);
    const auto dot_bf16 = order_ == Bf16Order::kTiles ? ref::DotBf16Tiles : ref::DotBf16Pairs;
    const auto dot = weight.format() == DType::kBf16 ? dot_bf16 : ref::DotF32;
    ForRows(rows * n, [&](int64_t i) {
      const float sum = dot(args.x.f32() + i / n * k, weight.row(i % n), k);
      float& y = args.y.f32()[i];
      y = ref::FinishElement(sum, args.bias == nullptr ? nullptr : args.bias + i % n, args.accumulate, y);
    });
  }

  void RopeAndCache(const RopeAndCacheArgs& args) override {
    CheckOperands(args);
    for (const BatchSpan& span : args.batch->spans()) {
      ForRows(span.num_rows, [&](int64_t i) { RopeAndCacheRow(args, span, static_cast<int32_t>(i)); });
    }
  }

  void Attention(const AttentionArgs& args) override {
    CheckOperands(args);
    for (const BatchSpan& span : args.batch->spans()) {
      ForRows(int64_t{span.num_rows} * args.num_heads, [&](int64_t i) {
        AttendHead(args, span, static_cast<int32_t>(i / args.num_heads), static_cast<int32_t>(i % args.num_heads));
      });
    }
  }

  void GatedActivation(const GatedActivationArgs& args) override {
    CheckOperands(args);
    const int64_t n = args.y.dim(1);
    const auto activate = args.activation == Activation::kSilu ? ref::Silu : ref::GeluTanh;
    ForRows(args.y.dim(0), [&](int64_t row) {
      const float* gate = args.gate_up.f32() + row * 2 * n;
      ref::GatedRow(gate, gate + n, activate, n, args.y.f32() + row * n);
    });
  }

  void GatherRows(const Tensor& x, std::span<const int32_t> rows, const Tensor& y) override {
    CheckGatherRows(x, rows, y);
    const int64_t n = x.dim(1);
    for (size_t r = 0; r < rows.size(); ++r) {
      std::copy_n(x.f32() + rows[r] * n, n, y.f32() + static_cast<int64_t>(r) * n);
    }
  }

  void Sample(const SampleArgs& args) override {
    CheckOperands(args);
    static_cast<RefBatch&>(*args.batch).sampler().Run(team_, args.logits.f32(), args.tasks);
  }

  void CopyBlocks(KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) override {
    CheckCopyBlocks(cache, copies);
    static_cast<RefKvCache&>(cache).CopyBlocks(copies);
  }

  Status PopulateKvCache(const KvCache& cache, FunctionRef<bool()> goes_on) const override {
    return static_cast<const RefKvCache&>(cache).Populate(goes_on);
  }

  void ReadBlock(const KvCache& cache, uint32_t block, std::byte* out) const override {
    CheckBlock(cache, block);
    static_cast<const RefKvCache&>(cache).ReadBlock(block, out);
  }

  void WriteBlock(KvCache& cache, uint32_t block, const std::byte* in) const override {
    CheckBlock(cache, block);
    static_cast<const RefKvCache&>(cache).WriteBlock(block, in);
  }

  std::string kv_layout() const override {
    return std::string("ref: [layer][token][keys, values][kv_head]") +
           (order_ == Bf16Order::kTiles ? "; products summed in tiles" : "");
  }

  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn) override { team_.ParallelFor(count, fn); }

 private:
  template <typename Fn>
  void ForRows(int64_t count, Fn fn) {
    team_.ParallelFor(count, [&](int64_t begin, int64_t end) {
      const FlushDenormalsScope flush;
      for (int64_t i = begin; i < end; ++i) fn(i);
    });
  }

  static void RopeAndCacheRow(const RopeAndCacheArgs& args, const BatchSpan& span, int32_t row) {
    const auto& cache = static_cast<const RefKvCache&>(*args.cache);
    const int64_t head_dim = cache.shape().head_dim, kv_heads = cache.shape().num_kv_heads;
    const int32_t position = span.first_position + row;
    const int64_t half = args.rope.rotary_dim / 2;
    float* qkv = args.qkv.f32() + (span.first_row + row) * args.qkv.dim(1);
    for (int64_t head = 0; head < args.num_heads + kv_heads; ++head) {
      float* vector = qkv + head * head_dim;
      const float* norm = head < args.num_heads ? args.q_norm : args.k_norm;
      if (norm != nullptr) ref::RmsNormRow(vector, norm, args.norm_epsilon, head_dim, vector);
      if (half == 0) continue;
      ref::RotateHead(vector, args.rope.cos + position * half, args.rope.sin + position * half, args.rope.rotary_dim);
    }
    const float* keys = qkv + args.num_heads * head_dim;
    cache.Store(args.layer, span.table(args.group), position, 0, keys);
    cache.Store(args.layer, span.table(args.group), position, 1, keys + kv_heads * head_dim);
  }

  static void AttendHead(const AttentionArgs& args, const BatchSpan& span, int32_t row, int32_t head) {
    const auto& cache = static_cast<const RefKvCache&>(*args.cache);
    const int32_t head_dim = cache.shape().head_dim;
    const int32_t kv_head = head / (args.num_heads / cache.shape().num_kv_heads);
    const int32_t end = span.first_position + row + 1;
    const int32_t begin = args.window == 0 ? 0 : std::max(0, end - args.window);
    const int64_t batch_row = span.first_row + row;
    float loaded[ref::kMaxHeadDim];
    const auto at = [&](int32_t position, int32_t which) {
      cache.Load(args.layer, span.table(args.group), position, which, kv_head, loaded);
      return static_cast<const float*>(loaded);
    };
    ref::AttendRow(
        args.qkv.f32() + batch_row * args.qkv.dim(1) + int64_t{head} * head_dim, head_dim, args.scale, begin, end,
        [&](int32_t p) { return at(p, 0); }, [&](int32_t p) { return at(p, 1); },
        args.y.f32() + batch_row * args.y.dim(1) + int64_t{head} * head_dim);
  }

  ThreadTeam team_;
  const Bf16Order order_;
  MemoryPool& memory_;
};

}  // namespace

Result<std::unique_ptr<Backend>> MakeRefBackend(int num_threads, Bf16Order order, MemoryPool& memory) {
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(num_threads));
  return std::unique_ptr<Backend>(std::make_unique<RefBackend>(std::move(team), order, memory));
}

}  // namespace quire
