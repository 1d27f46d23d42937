#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/packed_panels.h"
#include "backend/cpu/paged_kv.h"
#include "backend/flush_denormals.h"
#include "backend/ops.h"
#include "base/check.h"
#include "base/thread_team.h"
#include "base/work_ranges.h"
#include "sampling/host_sampler.h"

namespace quire {
namespace cpu {
namespace {

constexpr size_t kCacheLine = 64;
// Packing of activations is dealt out in pieces of this many values of K.
constexpr int64_t kPackPiece = 512;
// Below this many values or products an operation is over before another thread has woken up.
constexpr int64_t kSerialValues = 1 << 13;
constexpr int64_t kSerialProducts = 1 << 16;

constexpr size_t AlignUp(size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; }

constexpr size_t kThreadScratch =
    AlignUp(sizeof(float) * static_cast<size_t>(std::max(kLinearScratch, kAttendScratch)));

// Rows cut into tiles.
struct RowTiles {
  int64_t rows, count;
  int64_t padded;  // rows that each tile holds, the last one padded; 0: those that there are, dealt out evenly
  RowTiles(int64_t rows, const LinearKernels& kernels)
      : rows(rows),
        count((rows + kernels.tile_rows - 1) / kernels.tile_rows),
        padded(kernels.whole_tiles && count > 1 ? kernels.tile_rows : 0) {}
  int64_t first(int64_t tile) const { return padded > 0 ? std::min(tile * padded, rows) : rows * tile / count; }
  int64_t num_packed_rows() const { return padded > 0 ? padded * count : rows; }
  int64_t num_tasks() const { return (count + kMaxTilesPerTask - 1) / kMaxTilesPerTask; }
};

// Bytes of one row of activations.
int64_t PackedRowBytes(const LinearKernels& kernels, int64_t k) {
  return (k + kernels.depth_multiple - 1) / kernels.depth_multiple * kernels.depth_multiple * kernels.bytes_per_value;
}

// Panels in groups of neighbours.
struct PanelGroups {
  int64_t panels, per_group;
  int64_t count() const { return (panels + per_group - 1) / per_group; }
};

// Some rows of a span and some of the heads that share a key-value head.
struct HeadGroups {
  int64_t group = 1, heads = 1, rows = 1;  // heads per key-value head; heads and rows per task
  int64_t chunks() const { return (group + heads - 1) / heads; }
};

// Scratch: a part per thread, then the activations of the linear layer that is running, as kernels want them.
class CpuBatch : public Batch {
 public:
  // A row of the batch that belongs to a span.
  struct Row {
    int32_t row, span;
  };
  // Some rows of a span, counted within it.
  struct Tile {
    int32_t span, first_row;
  };

  CpuBatch(const BatchLimits& limits, Buffer scratch, size_t thread_bytes, int num_threads)
      : Batch(limits),
        scratch_(std::move(scratch)),
        thread_bytes_(thread_bytes),
        sampler_(num_threads, limits.vocab_size) {
    const int64_t group = limits.num_heads / limits.num_kv_heads;
    groups_.group = group;
    groups_.heads = std::min<int64_t>(group, kMaxQueries);
    groups_.rows = kMaxQueries / groups_.heads;
    rows_.reserve(static_cast<size_t>(limits.max_rows));
    tiles_.reserve(static_cast<size_t>(limits.max_rows));
  }

  void Prepare(std::span<const int32_t> tokens, std::span<const BatchSpan> spans) {
    Assign(tokens, spans);
    rows_.clear();
    tiles_.clear();
    for (size_t i = 0; i < spans.size(); ++i) {
      const auto span = static_cast<int32_t>(i);
      for (int32_t row = 0; row < spans[i].num_rows; ++row) {
        rows_.push_back({spans[i].first_row + row, span});
        if (row % groups_.rows == 0) tiles_.push_back({span, row});
      }
    }
  }

  HostSampler& sampler() { return sampler_; }
  std::span<const Row> rows() const { return rows_; }
  const HeadGroups& groups() const { return groups_; }
  std::span<const Tile> tiles() const { return tiles_; }

  float* thread_scratch(int thread) const {
    return reinterpret_cast<float*>(static_cast<char*>(scratch_.data()) + kThreadScratch * static_cast<size_t>(thread));
  }
  char* packed() const { return static_cast<char*>(scratch_.data()) + thread_bytes_; }
  size_t packed_bytes() const { return scratch_.bytes() - thread_bytes_; }

 private:
  Buffer scratch_;
  size_t thread_bytes_;
  HostSampler sampler_;
  HeadGroups groups_;
  std::vector<Row> rows_;
  std::vector<Tile> tiles_;  // of attention, over all spans
};

class CpuBackend : public Backend {
 public:
  CpuBackend(ThreadTeam team, const KernelTable& kernels, MemoryPool& memory)
      : team_(std::move(team)), ranges_(team_.num_threads()), kernels_(kernels), memory_(memory) {}

  std::string name() const override { return std::string("cpu-") + kernels_.name; }
  int num_threads() const override { return team_.num_threads(); }

  size_t PackedBytes(int64_t out_features, int64_t in_features, DType format) const override {
    return PackedPanels::Bytes(out_features, in_features, format);
  }
  Result<std::unique_ptr<PackedLinear>> PackLinear(std::span<const MatrixPart> parts, DType format,
                                                   MemoryPool& memory) override {
    QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<PackedPanels> packed, PackedPanels::Pack(parts, format, team_, memory));
    return std::unique_ptr<PackedLinear>(std::move(packed));
  }

  Result<std::unique_ptr<KvCache>> AllocateKvCache(const KvShape& shape) override {
    QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<PagedKv> cache, PagedKv::Allocate(shape, memory_));
    return std::unique_ptr<KvCache>(std::move(cache));
  }

  Result<Buffer> Allocate(size_t bytes) override { return memory_.Allocate(bytes); }
  void Upload(const void* host, void* device, size_t bytes) override { std::memcpy(device, host, bytes); }
  void Download(const void* device, void* host, size_t bytes) override { std::memcpy(host, device, bytes); }

  size_t BatchBytes(const BatchLimits& limits) const override {
    return ScratchBytes(limits) + HostSampler::Bytes(num_threads(), limits.vocab_size);
  }
  // Of these, the device's.
  size_t ScratchBytes(const BatchLimits& limits) const {
    int64_t packed_bytes = 0;
    for (const LinearKernels* kernels : {&kernels_.f32, &kernels_.bf16}) {
      const int64_t rows = RowTiles(limits.max_rows, *kernels).num_packed_rows();
      packed_bytes = std::max(packed_bytes, rows * PackedRowBytes(*kernels, limits.max_features));
    }
    return ThreadScratchBytes() + AlignUp(static_cast<size_t>(packed_bytes));
  }
  Result<std::unique_ptr<Batch>> NewBatch(const BatchLimits& limits) override {
    QUIRE_ASSIGN_OR_RETURN(Buffer scratch, memory_.Allocate(ScratchBytes(limits)));
    return std::unique_ptr<Batch>(
        std::make_unique<CpuBatch>(limits, std::move(scratch), ThreadScratchBytes(), num_threads()));
  }
  void Prepare(Batch& batch, std::span<const int32_t> tokens, std::span<const BatchSpan> spans) override {
    static_cast<CpuBatch&>(batch).Prepare(tokens, spans);
  }

  void Embed(const Batch& batch, const PackedLinear& table, const Tensor& y) override {
    CheckEmbed(batch, table, y);
    const std::span<const int32_t> ids = batch.tokens();
    const int64_t n = table.in_features();
    const auto& panels = static_cast<const PackedPanels&>(table);
    ForRows(static_cast<int64_t>(ids.size()), n,
            [&](int64_t row) { panels.LoadRow(ids[static_cast<size_t>(row)], y.f32() + row * n); });
  }

  void RmsNorm(const RmsNormArgs& args) override {
    CheckOperands(args);
    const int64_t n = args.x.dim(1);
    ForRows(args.x.dim(0), n, [&](int64_t row) {
      kernels_.rms_norm(args.x.f32() + row * n, args.weight, args.epsilon, n, args.y.f32() + row * n);
    });
  }

  void Linear(const LinearArgs& args) override {
    CheckOperands(args);
    const int64_t rows = args.x.dim(0), k = args.weight->in_features();
    if (rows == 0) return;
    const LinearKernels& kernels = args.weight->format() == DType::kF32 ? kernels_.f32 : kernels_.bf16;
    const RowTiles tiles(rows, kernels);
    PackActivations(args, kernels, tiles);
    const auto& weight = static_cast<const PackedPanels&>(*args.weight);
    const PanelGroups groups = GroupPanels(weight.num_panels(), kernels, tiles);
    const bool serial = rows * k * weight.out_features() < kSerialProducts;
    ForUnits(tiles.num_tasks() * groups.count(), serial, [&](int64_t unit, int thread) {
      MultiplyPanels(args, kernels, tiles, unit / groups.count(), groups, unit % groups.count(), thread);
    });
  }

  void RopeAndCache(const RopeAndCacheArgs& args) override {
    CheckOperands(args);
    const std::span<const CpuBatch::Row> rows = static_cast<const CpuBatch&>(*args.batch).rows();
    ForRows(static_cast<int64_t>(rows.size()), args.qkv.dim(1),
            [&](int64_t i) { RopeAndCacheRow(args, rows[static_cast<size_t>(i)]); });
  }

  void Attention(const AttentionArgs& args) override {
    CheckOperands(args);
    const auto& batch = static_cast<const CpuBatch&>(*args.batch);
    const auto num_tiles = static_cast<int64_t>(batch.tiles().size());
    const int64_t units = num_tiles * args.cache->shape().num_kv_heads * batch.groups().chunks();
    ForUnits(units, units == 1, [&](int64_t unit, int thread) { AttendUnit(args, batch, unit, thread); });
  }

  void GatedActivation(const GatedActivationArgs& args) override {
    CheckOperands(args);
    const int64_t n = args.y.dim(1);
    const auto gated = args.activation == Activation::kSilu ? kernels_.gated_silu : kernels_.gated_gelu_tanh;
    ForRows(args.y.dim(0), n, [&](int64_t row) {
      const float* gate = args.gate_up.f32() + row * 2 * n;
      gated(gate, gate + n, n, args.y.f32() + row * n);
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
    static_cast<CpuBatch&>(*args.batch).sampler().Run(team_, args.logits.f32(), args.tasks);
  }

  void CopyBlocks(KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) override {
    CheckCopyBlocks(cache, copies);
    static_cast<PagedKv&>(cache).CopyBlocks(copies);
  }

  Status PopulateKvCache(const KvCache& cache, FunctionRef<bool()> goes_on) const override {
    return static_cast<const PagedKv&>(cache).Populate(goes_on);
  }

  void ReadBlock(const KvCache& cache, uint32_t block, std::byte* out) const override {
    CheckBlock(cache, block);
    static_cast<const PagedKv&>(cache).ReadBlock(block, out);
  }

  void WriteBlock(KvCache& cache, uint32_t block, const std::byte* in) const override {
    CheckBlock(cache, block);
    static_cast<const PagedKv&>(cache).WriteBlock(block, in);
  }

  std::string kv_layout() const override {
    return std::string("cpu: [layer][kv_head][keys by dimension, values by token]") +
           (kernels_.bf16_order == Bf16Order::kTiles ? "; products summed in tiles" : "");
  }

  void ParallelFor(int64_t count, FunctionRef<void(int64_t, int64_t)> fn) override { team_.ParallelFor(count, fn); }

 private:
  size_t ThreadScratchBytes() const { return kThreadScratch * static_cast<size_t>(num_threads()); }

  // fn(row), in contiguous parts; `width` values each.
  template <typename Fn>
  void ForRows(int64_t rows, int64_t width, Fn fn) {
    const auto part = [&](int64_t begin, int64_t end) {
      const FlushDenormalsScope flush;
      for (int64_t row = begin; row < end; ++row) fn(row);
    };
    if (rows * width < kSerialValues) return part(0, rows);
    team_.ParallelFor(rows, part);
  }

  // fn(unit, thread), neighbouring units on one thread where that keeps all busy: which thread computes what does not
  // show in a result.
  template <typename Fn>
  void ForUnits(int64_t units, bool serial, Fn fn) {
    if (serial) {
      const FlushDenormalsScope flush;
      for (int64_t unit = 0; unit < units; ++unit) fn(unit, 0);
      return;
    }
    ranges_.Deal(units);
    team_.Run([&](int thread) {
      const FlushDenormalsScope flush;
      for (int64_t unit; (unit = ranges_.Take(thread)) >= 0;) fn(unit, thread);
    });
  }

  void PackActivations(const LinearArgs& args, const LinearKernels& kernels, const RowTiles& tiles) {
    const int64_t k = args.weight->in_features(), row_bytes = PackedRowBytes(kernels, k);
    const auto& batch = static_cast<const CpuBatch&>(*args.batch);
    QUIRE_CHECK_LE(static_cast<size_t>(tiles.num_packed_rows() * row_bytes), batch.packed_bytes());
    const int64_t pieces = (k + kPackPiece - 1) / kPackPiece;
    ForUnits(tiles.count * pieces, tiles.rows * k < kSerialValues, [&](int64_t unit, int) {
      const int64_t tile = unit / pieces, begin = unit % pieces * kPackPiece, first = tiles.first(tile);
      const int64_t rows = tiles.first(tile + 1) - first;
      kernels.pack_rows({.x = args.x.f32() + first * k,
                         .x_stride = k,
                         .rows = rows,
                         .tile_rows = std::max(rows, tiles.padded),
                         .begin = begin,
                         .end = std::min(k, begin + kPackPiece),
                         .tile = batch.packed() + first * row_bytes});
    });
  }

  // Large groups where several tiles share the activations, unless threads would then go without.
  PanelGroups GroupPanels(int64_t panels, const LinearKernels& kernels, const RowTiles& tiles) const {
    PanelGroups groups{panels, tiles.count == 1 ? 1 : kernels.panels_per_task};
    while (groups.per_group > 1 && groups.count() * tiles.num_tasks() < 4 * num_threads()) groups.per_group /= 2;
    return groups;
  }

  void MultiplyPanels(const LinearArgs& args, const LinearKernels& kernels, const RowTiles& tiles, int64_t task_index,
                      const PanelGroups& groups, int64_t group, int thread) {
    const auto& weight = static_cast<const PackedPanels&>(*args.weight);
    const auto& batch = static_cast<const CpuBatch&>(*args.batch);
    const int64_t panel = group * groups.per_group;
    const int64_t n = weight.out_features(), column = panel * kPanel;
    const int64_t begin = tiles.count * task_index / tiles.num_tasks();
    const int64_t end = tiles.count * (task_index + 1) / tiles.num_tasks();
    const int64_t first = tiles.first(begin);
    LinearTask task;
    task.panel = weight.panel(panel);
    task.panel_bytes = static_cast<int64_t>(weight.panel_bytes());
    task.num_panels = std::min(groups.per_group, groups.panels - panel);
    task.k = weight.in_features();
    task.x = batch.packed() + first * PackedRowBytes(kernels, task.k);
    task.num_tiles = end - begin;
    for (int64_t t = begin; t <= end; ++t) task.first_row[t - begin] = tiles.first(t) - first;
    task.bias = args.bias == nullptr ? nullptr : args.bias + column;
    task.y = args.y.f32() + first * n + column;
    task.y_stride = n;
    task.columns = std::min(task.num_panels * kPanel, n - column);
    task.accumulate = args.accumulate;
    task.scratch = batch.thread_scratch(thread);
    kernels.multiply(task);
  }

  void RopeAndCacheRow(const RopeAndCacheArgs& args, const CpuBatch::Row& row) {
    const auto& cache = static_cast<const PagedKv&>(*args.cache);
    const BatchSpan& span = args.batch->spans()[static_cast<size_t>(row.span)];
    const int64_t head_dim = cache.shape().head_dim, kv_heads = cache.shape().num_kv_heads;
    const int64_t position = span.first_position + row.row - span.first_row;
    const int64_t half = args.rope.rotary_dim / 2;
    float* qkv = args.qkv.f32() + row.row * args.qkv.dim(1);
    for (int64_t head = 0; head < args.num_heads + kv_heads; ++head) {
      kernels_.prepare_head({.head = qkv + head * head_dim,
                             .head_dim = cache.shape().head_dim,
                             .norm = head < args.num_heads ? args.q_norm : args.k_norm,
                             .epsilon = args.norm_epsilon,
                             .cos = args.rope.cos + position * half,
                             .sin = args.rope.sin + position * half,
                             .rotary_dim = args.rope.rotary_dim});
    }
    StoreRow(cache, args.layer, span.table(args.group), position, qkv + args.num_heads * head_dim);
  }

  // `keys`: of all heads, values of all heads after them.
  void StoreRow(const PagedKv& cache, int32_t layer, const uint32_t* block_table, int64_t position, const float* keys) {
    const KvShape& shape = cache.shape();
    const int64_t head_dim = shape.head_dim, slot = position % shape.block_size;
    const auto size = static_cast<int64_t>(DTypeSize(shape.dtype));
    char* block = cache.block(layer, block_table[position / shape.block_size]);
    for (int64_t head = 0; head < shape.num_kv_heads; ++head) {
      char* to = block + static_cast<size_t>(head) * cache.head_bytes();
      const float* key = keys + head * head_dim;
      StoreVector(shape.dtype, key, head_dim, to + slot * size, shape.block_size);
      const float* value = key + shape.num_kv_heads * head_dim;
      StoreVector(shape.dtype, value, head_dim, to + cache.head_bytes() / 2 + slot * head_dim * size, 1);
    }
  }

  void StoreVector(DType dtype, const float* from, int64_t n, char* to, int64_t stride) {
    if (dtype == DType::kF32) {
      kernels_.store_f32(from, n, reinterpret_cast<float*>(to), stride);
    } else {
      kernels_.store_bf16(from, n, reinterpret_cast<uint16_t*>(to), stride);
    }
  }

  // Units run over tiles, then heads.
  void AttendUnit(const AttentionArgs& args, const CpuBatch& batch, int64_t unit, int thread) {
    const auto& cache = static_cast<const PagedKv&>(*args.cache);
    const KvShape& shape = cache.shape();
    const HeadGroups& groups = batch.groups();
    const int64_t units_per_tile = shape.num_kv_heads * groups.chunks();
    const CpuBatch::Tile& tile = batch.tiles()[static_cast<size_t>(unit / units_per_tile)];
    const BatchSpan& span = batch.spans()[static_cast<size_t>(tile.span)];
    const int64_t kv_head = unit % units_per_tile / groups.chunks();
    const int64_t first_in_group = unit % groups.chunks() * groups.heads;
    const int64_t head = kv_head * groups.group + first_in_group;
    const int64_t row = tile.first_row, batch_row = span.first_row + row;
    const char* keys = cache.block(args.layer, 0) + static_cast<size_t>(kv_head) * cache.head_bytes();
    kernels_.attend({.q = args.qkv.f32() + batch_row * args.qkv.dim(1) + head * shape.head_dim,
                     .q_stride = args.qkv.dim(1),
                     .y = args.y.f32() + batch_row * args.y.dim(1) + head * shape.head_dim,
                     .y_stride = args.y.dim(1),
                     .rows = static_cast<int32_t>(std::min(groups.rows, span.num_rows - row)),
                     .heads = static_cast<int32_t>(std::min(groups.heads, groups.group - first_in_group)),
                     .head_dim = shape.head_dim,
                     .scale = args.scale,
                     .window = args.window,
                     .first_position = span.first_position + static_cast<int32_t>(row),
                     .block_table = span.table(args.group),
                     .keys = keys,
                     .values = keys + cache.head_bytes() / 2,
                     .block_bytes = static_cast<int64_t>(cache.block_bytes()),
                     .block_size = shape.block_size,
                     .bf16 = shape.dtype == DType::kBf16,
                     .scratch = batch.thread_scratch(thread)});
  }

  ThreadTeam team_;
  WorkRanges ranges_;
  const KernelTable& kernels_;
  MemoryPool& memory_;
};

}  // namespace
}  // namespace cpu

Result<std::unique_ptr<Backend>> MakeCpuBackend(int num_threads, const cpu::KernelTable& kernels, MemoryPool& memory) {
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(num_threads));
  return std::unique_ptr<Backend>(std::make_unique<cpu::CpuBackend>(std::move(team), kernels, memory));
}

}  // namespace quire
