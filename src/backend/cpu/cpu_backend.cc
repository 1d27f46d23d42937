#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "backend/cpu/packed_panels.h"
#include "backend/cpu/paged_kv.h"
#include "backend/flush_denormals.h"
#include "backend/ops.h"
#include "backend/weight_rows.h"
#include "base/check.h"
#include "base/thread_team.h"
#include "base/work_ranges.h"

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
  int64_t group, heads, rows;  // heads per key-value head; heads and rows per task
  int64_t chunks() const { return (group + heads - 1) / heads; }
  int64_t row_tiles(const BatchSpan& span) const { return (span.num_rows + rows - 1) / rows; }
};

class CpuBackend : public Backend {
 public:
  CpuBackend(ThreadTeam team, const KernelTable& kernels)
      : team_(std::move(team)), ranges_(team_.num_threads()), kernels_(kernels) {}

  std::string name() const override { return std::string("cpu-") + kernels_.name; }
  int num_threads() const override { return team_.num_threads(); }

  Result<std::unique_ptr<PackedLinear>> PackLinear(std::span<const Tensor> parts, DType format) override {
    QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<PackedPanels> packed, PackedPanels::Pack(parts, format, team_));
    return std::unique_ptr<PackedLinear>(std::move(packed));
  }

  Result<std::unique_ptr<KvCache>> AllocateKvCache(const KvShape& shape) override {
    QUIRE_ASSIGN_OR_RETURN(std::unique_ptr<PagedKv> cache, PagedKv::Allocate(shape));
    return std::unique_ptr<KvCache>(std::move(cache));
  }

  // One part per thread, then the packed activations.
  size_t ScratchBytes(int64_t max_rows, int64_t max_features, int32_t, int32_t) const override {
    int64_t packed_bytes = 0;
    for (const LinearKernels* kernels : {&kernels_.f32, &kernels_.bf16}) {
      const int64_t rows = RowTiles(max_rows, *kernels).num_packed_rows();
      packed_bytes = std::max(packed_bytes, rows * PackedRowBytes(*kernels, max_features));
    }
    return kCacheLine + kThreadScratch * static_cast<size_t>(num_threads()) +
           AlignUp(static_cast<size_t>(packed_bytes));
  }

  void SetScratch(Tensor bytes) override {
    const auto address = reinterpret_cast<uintptr_t>(bytes.data());
    const size_t skipped = AlignUp(address) - address;
    const size_t used = skipped + kThreadScratch * static_cast<size_t>(num_threads());
    QUIRE_CHECK_GE(bytes.bytes(), used);
    thread_scratch_ = bytes.as<char>() + skipped;
    packed_ = bytes.as<char>() + used;
    packed_bytes_ = bytes.bytes() - used;
  }

  void Embed(std::span<const int32_t> ids, const Tensor& table, const Tensor& y) override {
    CheckEmbed(ids, table, y);
    const int64_t n = table.dim(1);
    ForRows(static_cast<int64_t>(ids.size()), n, [&](int64_t row) {
      WeightRows({&table, 1}).Load(ids[static_cast<size_t>(row)], y.f32() + row * n);
    });
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
    QUIRE_CHECK(thread_scratch_ != nullptr, "SetScratch comes before Linear");
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
    for (const BatchSpan& span : args.spans) {
      ForRows(span.num_rows, args.qkv.dim(1), [&](int64_t row) { RopeAndCacheRow(args, span, row); });
    }
  }

  void Attention(const AttentionArgs& args) override {
    CheckOperands(args);
    QUIRE_CHECK(thread_scratch_ != nullptr, "SetScratch comes before Attention");
    const int64_t kv_heads = args.cache->shape().num_kv_heads;
    HeadGroups groups;
    groups.group = args.num_heads / kv_heads;
    groups.heads = std::min<int64_t>(groups.group, kMaxQueries);
    groups.rows = kMaxQueries / groups.heads;
    int64_t num_tiles = 0;
    first_tiles_.clear();
    for (const BatchSpan& span : args.spans) {
      first_tiles_.push_back(num_tiles);
      num_tiles += groups.row_tiles(span);
    }
    const int64_t units = num_tiles * kv_heads * groups.chunks();
    ForUnits(units, units == 1, [&](int64_t unit, int thread) { AttendUnit(args, groups, unit, thread); });
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

  void CopyBlocks(KvCache& cache, std::span<const std::pair<uint32_t, uint32_t>> copies) override {
    CheckCopyBlocks(cache, copies);
    static_cast<PagedKv&>(cache).CopyBlocks(copies);
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

  float* ThreadScratch(int thread) const {
    return reinterpret_cast<float*>(thread_scratch_ + kThreadScratch * static_cast<size_t>(thread));
  }

  void PackActivations(const LinearArgs& args, const LinearKernels& kernels, const RowTiles& tiles) {
    const int64_t k = args.weight->in_features(), row_bytes = PackedRowBytes(kernels, k);
    QUIRE_CHECK_LE(static_cast<size_t>(tiles.num_packed_rows() * row_bytes), packed_bytes_);
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
                         .tile = packed_ + first * row_bytes});
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
    task.x = packed_ + first * PackedRowBytes(kernels, task.k);
    task.num_tiles = end - begin;
    for (int64_t t = begin; t <= end; ++t) task.first_row[t - begin] = tiles.first(t) - first;
    task.bias = args.bias == nullptr ? nullptr : args.bias + column;
    task.y = args.y.f32() + first * n + column;
    task.y_stride = n;
    task.columns = std::min(task.num_panels * kPanel, n - column);
    task.accumulate = args.accumulate;
    task.scratch = ThreadScratch(thread);
    kernels.multiply(task);
  }

  void RopeAndCacheRow(const RopeAndCacheArgs& args, const BatchSpan& span, int64_t row) {
    const auto& cache = static_cast<const PagedKv&>(*args.cache);
    const int64_t head_dim = cache.shape().head_dim, kv_heads = cache.shape().num_kv_heads;
    const int64_t position = span.first_position + row;
    const int64_t half = args.rope.rotary_dim / 2;
    float* qkv = args.qkv.f32() + (span.first_row + row) * args.qkv.dim(1);
    for (int64_t head = 0; head < args.num_heads + kv_heads; ++head) {
      kernels_.prepare_head({.head = qkv + head * head_dim,
                             .head_dim = cache.shape().head_dim,
                             .norm = head < args.num_heads ? args.q_norm : args.k_norm,
                             .epsilon = args.norm_epsilon,
                             .cos = args.rope.cos + position * half,
                             .sin = args.rope.sin + position * half,
                             .rotary_dim = args.rope.rotary_dim});
    }
    StoreRow(cache, args.layer, span.block_table, position, qkv + args.num_heads * head_dim);
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

  // Units run over spans, then rows, then heads.
  void AttendUnit(const AttentionArgs& args, const HeadGroups& groups, int64_t unit, int thread) {
    const auto& cache = static_cast<const PagedKv&>(*args.cache);
    const KvShape& shape = cache.shape();
    const int64_t units_per_tile = shape.num_kv_heads * groups.chunks();
    // The last span that begins at this tile or before; an empty one begins where the next does.
    const auto behind = std::upper_bound(first_tiles_.begin(), first_tiles_.end(), unit / units_per_tile);
    const auto s = static_cast<size_t>(behind - first_tiles_.begin()) - 1;
    const int64_t tile = unit / units_per_tile - first_tiles_[s];
    const BatchSpan& span = args.spans[s];
    const int64_t kv_head = unit % units_per_tile / groups.chunks();
    const int64_t first_in_group = unit % groups.chunks() * groups.heads;
    const int64_t head = kv_head * groups.group + first_in_group;
    const int64_t row = tile * groups.rows, batch_row = span.first_row + row;
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
                     .block_table = span.block_table,
                     .keys = keys,
                     .values = keys + cache.head_bytes() / 2,
                     .block_bytes = static_cast<int64_t>(cache.block_bytes()),
                     .block_size = shape.block_size,
                     .bf16 = shape.dtype == DType::kBf16,
                     .scratch = ThreadScratch(thread)});
  }

  ThreadTeam team_;
  WorkRanges ranges_;
  std::vector<int64_t> first_tiles_;  // [spans]: of the attention that is running
  const KernelTable& kernels_;
  char* thread_scratch_ = nullptr;
  char* packed_ = nullptr;  // activations of the linear layer that is running
  size_t packed_bytes_ = 0;
};

}  // namespace
}  // namespace cpu

Result<std::unique_ptr<Backend>> MakeCpuBackend(int num_threads, const cpu::KernelTable& kernels) {
  QUIRE_ASSIGN_OR_RETURN(ThreadTeam team, ThreadTeam::Start(num_threads));
  return std::unique_ptr<Backend>(std::make_unique<cpu::CpuBackend>(std::move(team), kernels));
}

}  // namespace quire
