// Attention of a few queries that share their keys and values, partition by partition.
//
// Scores and weighted sums are products of the same tiles as linear layers: queries (then exponentials) are the
// activations, a tile of 64 keys (then values), widened to floats, the weights. A query sees a range of positions;
// what lies outside is blended away before it is used, and values outside are never multiplied.

// Positions [begin, end).
struct Range {
  int64_t begin, end;
  bool empty() const { return begin >= end; }
};
inline Range Intersect(Range a, Range b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

// Scratch of one task. Rows of q and scores are kXRowStride apart.
struct AttendState {
  float* q;       // [queries][kMaxHeadDim]
  float* scores;  // [queries][kPartition]
  float* part;    // [queries][kMaxHeadDim]: this partition's weighted values
  float* total;   // [queries][kMaxHeadDim]: of the partitions before
  float* keys;    // [head_dim][kPositions]
  float* values;  // [kPositions][width]
  float* max;     // [queries], over the partitions before
  float* sum;     // [queries]
  int64_t width;  // head_dim in whole vectors
};
static_assert(kXRowStride == kMaxHeadDim && kXRowStride == kPartition);

inline AttendState CarveScratch(const AttendTask& task) {
  constexpr int64_t kMatrix = int64_t{kMaxQueries} * kXRowStride;
  float* p = task.scratch;
  AttendState s;
  s.q = p, p += kMatrix;
  s.scores = p, p += kMatrix;
  s.part = p, p += kMatrix;
  s.total = p, p += kMatrix;
  s.keys = p, p += int64_t{kPositions} * kMaxHeadDim;
  s.values = p, p += int64_t{kPositions} * kMaxHeadDim;
  s.max = p, p += kMaxQueries;
  s.sum = p;
  s.width = (task.head_dim + 15) / 16 * 16;
  return s;
}

inline Range VisibleRange(const AttendTask& task, int64_t query) {
  const int64_t end = task.first_position + query / task.heads + 1;
  return {task.window == 0 || end < task.window ? 0 : end - task.window, end};
}

inline V LoadCached(const AttendTask& task, const char* from, int64_t index) {
  return task.bf16 ? LoadBf16(reinterpret_cast<const uint16_t*>(from) + index)
                   : Load(reinterpret_cast<const float*>(from) + index);
}
inline float CachedValue(const AttendTask& task, const char* from, int64_t index) {
  if (!task.bf16) return reinterpret_cast<const float*>(from)[index];
  const uint32_t bits = static_cast<uint32_t>(reinterpret_cast<const uint16_t*>(from)[index]) << 16;
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

inline const char* BlockOf(const AttendTask& task, const char* base, int64_t position) {
  return base + static_cast<int64_t>(task.block_table[position / task.block_size]) * task.block_bytes;
}

inline void PrefetchBytes(const char* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += kLine) _mm_prefetch(from + i, _MM_HINT_T0);
}

// Slots of one block in a tile of positions.
inline int64_t SlotsPerRun(const AttendTask& task) {
  return task.block_size < kPositions ? task.block_size : kPositions;
}

// Asks for the keys (values) of the blocks that hold `seen`, of the tile that starts at `base`: blocks lie anywhere,
// and what reads them later is too slow to keep many lines on their way.
void PrefetchKeys(const AttendTask& task, int64_t base, Range seen) {
  const int64_t run = SlotsPerRun(task), size = task.bf16 ? 2 : 4;
  for (int64_t begin = base; begin < base + kPositions; begin += run) {
    if (Intersect({begin, begin + run}, seen).empty()) continue;
    const char* keys = BlockOf(task, task.keys, begin) + begin % task.block_size * size;
    if (run == task.block_size) {
      PrefetchBytes(keys, task.head_dim * run * size);
    } else {
      for (int64_t d = 0; d < task.head_dim; ++d) PrefetchBytes(keys + d * task.block_size * size, run * size);
    }
  }
}
void PrefetchValues(const AttendTask& task, int64_t base, Range seen) {
  const int64_t run = SlotsPerRun(task), width = task.head_dim * (task.bf16 ? 2 : 4);
  for (int64_t begin = base; begin < base + kPositions; begin += run) {
    const Range slots = Intersect({begin, begin + run}, seen);
    if (slots.empty()) continue;
    const char* values = BlockOf(task, task.values, begin) + slots.begin % task.block_size * width;
    PrefetchBytes(values, (slots.end - slots.begin) * width);
  }
}

// Keys [head_dim][kRun] of a small block to rows kPositions apart, a vector of several rows at a time.
template <int kRun>
void SpreadKeys(const AttendTask& task, const char* block, float* to) {
  constexpr int kDims = 16 / kRun;
  int64_t d = 0;
  for (; d + kDims <= task.head_dim; d += kDims) {
    float keys[16];
    Store(keys, LoadCached(task, block, d * kRun));
#pragma GCC unroll 16
    for (int i = 0; i < kDims; ++i) {
      __builtin_memcpy(to + (d + i) * kPositions, keys + i * kRun, kRun * sizeof(float));
    }
  }
  for (; d < task.head_dim; ++d) {
    for (int i = 0; i < kRun; ++i) to[d * kPositions + i] = CachedValue(task, block, d * kRun + i);
  }
}

// Keys of the blocks that hold `seen`, of the tile that starts at `base`, to [head_dim][kPositions].
void LoadKeys(const AttendTask& task, int64_t base, Range seen, float* out) {
  const int64_t run = SlotsPerRun(task);
  for (int64_t begin = base; begin < base + kPositions; begin += run) {
    if (Intersect({begin, begin + run}, seen).empty()) continue;
    const char* block = BlockOf(task, task.keys, begin);
    const int64_t slot = begin % task.block_size;
    float* to = out + (begin - base);
    switch (run) {
      case 1:
        SpreadKeys<1>(task, block, to);
        break;
      case 2:
        SpreadKeys<2>(task, block, to);
        break;
      case 4:
        SpreadKeys<4>(task, block, to);
        break;
      case 8:
        SpreadKeys<8>(task, block, to);
        break;
      default:
        for (int64_t d = 0; d < task.head_dim; ++d, to += kPositions) {
          const int64_t index = d * task.block_size + slot;
          for (int64_t i = 0; i < run; i += 16) Store(to + i, LoadCached(task, block, index + i));
        }
    }
  }
}

// Values at `seen`, all in the tile that starts at `base`, to [kPositions][width], zero past head_dim.
void LoadValues(const AttendTask& task, int64_t base, Range seen, int64_t width, float* out) {
  for (int64_t p = seen.begin; p < seen.end; ++p) {
    const char* block = BlockOf(task, task.values, p);
    const int64_t index = p % task.block_size * task.head_dim;
    float* to = out + (p - base) * width;
    int64_t d = 0;
    for (; d + 16 <= task.head_dim; d += 16) Store(to + d, LoadCached(task, block, index + d));
    for (; d < width; ++d) to[d] = d < task.head_dim ? CachedValue(task, block, index + d) : 0.0F;
  }
}

// sums [rows][columns] (+)= x [rows, kXRowStride apart][k] * w [k][columns]; columns in whole vectors.
struct StridedTile {
  const float* x;
  TileArgs args;
  int64_t columns;

  template <int kRows>
  void Run() const {
    constexpr int kVectors = TileVectors(kRows);
    int64_t c = 0;
    for (; c + kVectors * 16 <= columns; c += kVectors * 16) RunColumns<kRows, kVectors>(c);
    if constexpr (kVectors > 1) {
      for (; c < columns; c += 16) RunColumns<kRows, 1>(c);
    }
  }
  template <int kRows, int kVectors>
  void RunColumns(int64_t c) const {
    TileArgs part = args;
    part.w += c * static_cast<int64_t>(sizeof(float));
    part.sums += c;
    TileF32<kRows, kVectors, 0>(StridedX{x}, part);
  }
};

// Queries in tiles of nearly equal size.
template <typename Fn>
inline void ForQueryTiles(int64_t queries, const Fn& fn) {
  const int64_t tiles = (queries + kTileRows - 1) / kTileRows;
  for (int64_t t = 0; t < tiles; ++t) fn(queries * t / tiles, queries * (t + 1) / tiles);
}

inline void ScoreTile(const AttendTask& task, const AttendState& s, int64_t queries, int64_t offset) {
  ForQueryTiles(queries, [&](int64_t from, int64_t to) {
    const TileArgs args = {reinterpret_cast<const char*>(s.keys),  kPositions, task.head_dim, true,
                           s.scores + from * kXRowStride + offset, kXRowStride};
    WithRows(to - from, StridedTile{s.q + from * kXRowStride, args, kPositions});
  });
}

// Turns a query's scores at `seen` (relative to the partition) to exponentials; the rest of their vectors to zero.
inline void Exponentiate(float* scores, Range seen, float scale, float* max_out, float* sum_out) {
  const float kMinusInfinity = -__builtin_inff();
  const int64_t first = seen.begin / 16 * 16;
  V max = Splat(kMinusInfinity);
  for (int64_t p = first; p < seen.end; p += 16) {
    const V scaled = Mul(Load(scores + p), Splat(scale));
    const int64_t begin = seen.begin > p ? seen.begin - p : 0;
    const V kept = KeepLanes(scaled, begin, seen.end - p, Splat(kMinusInfinity));
    Store(scores + p, kept);
    max = Max(max, kept);
  }
  const float highest = FoldMax(max);
  V sum = Zero();
  for (int64_t p = first; p < seen.end; p += 16) {
    const int64_t begin = seen.begin > p ? seen.begin - p : 0;
    const V e = KeepLanes(Exp(Sub(Load(scores + p), Splat(highest))), begin, seen.end - p, Zero());
    Store(scores + p, e);
    sum = Add(sum, e);
  }
  *max_out = highest;
  *sum_out = FoldAdd(sum);
}

// One query's weighted values at `seen` of the tile that starts at `base`.
inline void AddValues(const AttendState& s, int64_t query, Range seen, int64_t base, int64_t partition) {
  float* sums = s.part + query * kXRowStride;
  for (int64_t p = seen.begin; p < seen.end; ++p) {
    const V weight = Splat(s.scores[query * kXRowStride + p - partition]);
    for (int64_t d = 0; d < s.width; d += 16) {
      Store(sums + d, Fma(weight, Load(s.values + (p - base) * s.width + d), Load(sums + d)));
    }
  }
}

// The weighted values of all queries in one tile of positions: together where all of a tile of queries see them, one by
// one at the edges of their ranges.
inline void WeightTile(const AttendTask& task, const AttendState& s, int64_t queries, Range tile, int64_t partition) {
  ForQueryTiles(queries, [&](int64_t from, int64_t to) {
    const Range first = VisibleRange(task, from), last = VisibleRange(task, to - 1);
    Range common = Intersect(Intersect(first, last), tile);
    if (common.empty()) common = {tile.end, tile.end};
    for (int64_t q = from; q < to; ++q) {
      AddValues(s, q, Intersect(VisibleRange(task, q), {tile.begin, common.begin}), tile.begin, partition);
    }
    if (common.empty()) return;
    const char* values = reinterpret_cast<const char*>(s.values + (common.begin - tile.begin) * s.width);
    const TileArgs args = {values, s.width, common.end - common.begin, false, s.part + from * kXRowStride, kXRowStride};
    const float* weights = s.scores + from * kXRowStride + common.begin - partition;
    WithRows(to - from, StridedTile{weights, args, s.width});
    for (int64_t q = from; q < to; ++q) {
      AddValues(s, q, Intersect(VisibleRange(task, q), {common.end, tile.end}), tile.begin, partition);
    }
  });
}

// Merges this partition of one query into its total.
inline void MergePartition(const AttendState& s, int64_t query, float max, float sum, bool first) {
  float* total = s.total + query * kXRowStride;
  const float* part = s.part + query * kXRowStride;
  if (first) {
    for (int64_t d = 0; d < s.width; d += 16) Store(total + d, Load(part + d));
    s.max[query] = max;
    s.sum[query] = sum;
    return;
  }
  const float highest = s.max[query] < max ? max : s.max[query];
  const V keep = Exp(Splat(s.max[query] - highest));
  const V add = Exp(Splat(max - highest));
  for (int64_t d = 0; d < s.width; d += 16) {
    Store(total + d, Fma(Load(total + d), keep, Mul(Load(part + d), add)));
  }
  float merged[16];
  Store(merged, Fma(Splat(s.sum[query]), keep, Mul(Splat(sum), add)));
  s.max[query] = highest;
  s.sum[query] = merged[0];
}

inline void AttendPartition(const AttendTask& task, const AttendState& s, int64_t queries, Range seen) {
  const int64_t partition = seen.begin / kPartition * kPartition;
  const int64_t first_tile = seen.begin / kPositions * kPositions;
  PrefetchKeys(task, first_tile, seen);
  for (int64_t base = first_tile; base < seen.end; base += kPositions) {
    const Range tile = Intersect({base, base + kPositions}, seen);
    PrefetchKeys(task, base + kPositions, seen);
    PrefetchValues(task, base, tile);
    LoadKeys(task, base, tile, s.keys);
    ScoreTile(task, s, queries, base - partition);
  }
  float max[kMaxQueries], sum[kMaxQueries];
  for (int64_t q = 0; q < queries; ++q) {
    const Range range = Intersect(VisibleRange(task, q), seen);
    if (range.empty()) continue;
    const Range relative = {range.begin - partition, range.end - partition};
    Exponentiate(s.scores + q * kXRowStride, relative, task.scale, &max[q], &sum[q]);
    for (int64_t d = 0; d < s.width; d += 16) Store(s.part + q * kXRowStride + d, Zero());
  }
  for (int64_t base = first_tile; base < seen.end; base += kPositions) {
    const Range tile = {base, base + kPositions};
    LoadValues(task, base, Intersect(tile, seen), s.width, s.values);
    WeightTile(task, s, queries, tile, partition);
  }
  for (int64_t q = 0; q < queries; ++q) {
    const Range all = VisibleRange(task, q);
    if (!Intersect(all, seen).empty()) MergePartition(s, q, max[q], sum[q], all.begin >= partition);
  }
}

void Attend(const AttendTask& task) {
  const AttendState s = CarveScratch(task);
  const int64_t queries = int64_t{task.rows} * task.heads;
  for (int64_t q = 0; q < queries; ++q) {
    const float* from = task.q + q / task.heads * task.q_stride + q % task.heads * task.head_dim;
    for (int64_t d = 0; d < task.head_dim; ++d) s.q[q * kXRowStride + d] = from[d];
  }
  const int64_t end = VisibleRange(task, queries - 1).end;
  for (int64_t begin = VisibleRange(task, 0).begin; begin < end;) {
    const int64_t limit = (begin / kPartition + 1) * kPartition;
    const int64_t to = limit < end ? limit : end;
    AttendPartition(task, s, queries, {begin, to});
    begin = to;
  }
  for (int64_t q = 0; q < queries; ++q) {
    float* to = task.y + q / task.heads * task.y_stride + q % task.heads * task.head_dim;
    const V inverse = Splat(1.0F / s.sum[q]);
    for (int64_t d = 0; d < task.head_dim; d += 16) {
      StoreFirst(to + d, Mul(Load(s.total + q * kXRowStride + d), inverse), task.head_dim - d);
    }
  }
}
