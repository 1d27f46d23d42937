// Products of packed activations with weight panels.
//
// A tile holds the sums of a few rows by a few vectors of columns in registers while it runs over K; every output
// element is one lane's chain of fused multiply-adds in the order of K, however rows and columns are tiled. Sums spill
// to scratch between two parts of K, which loses nothing.

// Activations of a tile, element (row, k): packed for this number of rows, or rows kXRowStride floats apart.
constexpr int64_t kXRowStride = 512;
template <int kRows>
struct PackedX {
  const float* x;
  V Splatted(int row, int64_t k) const { return Splat(x[k * kRows + row]); }
};
struct StridedX {
  const float* x;
  V Splatted(int row, int64_t k) const { return Splat(x[row * kXRowStride + k]); }
};

template <int kRows, int kVectors>
struct Sums {
  V v[kRows][kVectors];

  void Load(const float* from, int64_t stride, bool zero) {
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) v[r][c] = zero ? Zero() : KERNELS::Load(from + r * stride + c * 16);
    }
  }
  void Store(float* to, int64_t stride) const {
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) KERNELS::Store(to + r * stride + c * 16, v[r][c]);
    }
  }
  template <typename X>
  void AddProducts(X x, int64_t k, const V (&w)[kVectors]) {
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const V xv = x.Splatted(r, k);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) v[r][c] = Fma(xv, w[c], v[r][c]);
    }
  }
};

// Where a tile finds its weights, and its sums.
struct TileArgs {
  const char* w;        // first column, first k
  int64_t w_stride;     // floats from k to k + 1 (float32 weights only)
  int64_t k;            // depth; even for bf16
  bool first;           // start from zero
  float* sums;          // first row, first column
  int64_t sums_stride;  // floats from row to row
  const char* ahead;    // weights that are multiplied later: the lines to ask for, kAhead each step
};

constexpr int64_t kLine = 64;
constexpr int64_t kStepBytes = kPanel * 4;  // a panel's weights of one step over K: of two bf16, or of one float

// Into the second-level cache: the first holds what the tile works on.
template <int kAhead>
inline void Prefetch(const char*& ahead) {
#pragma GCC unroll 4
  for (int i = 0; i < kAhead; ++i) _mm_prefetch(ahead + i * kLine, _MM_HINT_T1);
  ahead += kAhead * kLine;
}

template <int kRows, int kVectors, int kAhead, typename X>
void TileF32(X x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const float* w = reinterpret_cast<const float*>(args.w);
  const char* ahead = args.ahead;
  for (int64_t k = 0; k < args.k; ++k, w += args.w_stride) {
    V wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = Load(w + c * 16);
    Prefetch<kAhead>(ahead);
    sums.AddProducts(x, k, wv);
  }
  sums.Store(args.sums, args.sums_stride);
}

#ifdef QUIRE_NATIVE_BF16
template <int kRows, int kVectors, int kAhead>
void TileBf16(const char* x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const char* w = args.w;
  const char* ahead = args.ahead;
  const int* pairs = reinterpret_cast<const int*>(x);
  for (int64_t k = 0; k < args.k; k += 2, w += kStepBytes, pairs += kRows) {
    __m512bh wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = (__m512bh)_mm512_loadu_si512(w + c * 64);
    Prefetch<kAhead>(ahead);
#pragma GCC unroll 12
    for (int r = 0; r < kRows; ++r) {
      const __m512bh xv = (__m512bh)_mm512_set1_epi32(pairs[r]);
#pragma GCC unroll 4
      for (int c = 0; c < kVectors; ++c) sums.v[r][c] = _mm512_dpbf16_ps(sums.v[r][c], wv[c], xv);
    }
  }
  sums.Store(args.sums, args.sums_stride);
}
#else
// Packed activations stand in the order of use: odd, even, odd, even.
template <int kRows, int kVectors, int kAhead>
void TileBf16(const char* x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const char* w = args.w;
  const char* ahead = args.ahead;
  PackedX<kRows> packed{reinterpret_cast<const float*>(x)};
  for (int64_t k = 0; k < args.k; k += 2, w += kStepBytes, packed.x += 2 * kRows) {
    V wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = LoadOdd(w + c * 64);
    Prefetch<kAhead>(ahead);
    sums.AddProducts(packed, 0, wv);
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = LoadEven(w + c * 64);
    sums.AddProducts(packed, 1, wv);
  }
  sums.Store(args.sums, args.sums_stride);
}
#endif

// Calls fn.template Run<rows>() for a number of rows that is known at run time.
template <typename Fn>
inline void WithRows(int64_t rows, const Fn& fn) {
  switch (rows) {
    case 1:
      return fn.template Run<1>();
    case 2:
      return fn.template Run<2>();
    case 3:
      return fn.template Run<3>();
    case 4:
      return fn.template Run<4>();
    case 5:
      return fn.template Run<5>();
    case 6:
      return fn.template Run<6>();
    default:
      break;
  }
  if constexpr (kTileRows > 6) {
    switch (rows) {
      case 7:
        return fn.template Run<7>();
      case 8:
        return fn.template Run<8>();
      case 9:
        return fn.template Run<9>();
      case 10:
        return fn.template Run<10>();
      case 11:
        return fn.template Run<11>();
      case 12:
        return fn.template Run<12>();
      default:
        break;
    }
  }
  __builtin_unreachable();
}

// One tile of rows over all columns of the panel, in as many passes as its width takes. While it multiplies, it asks
// for what is multiplied next: the only tile of a task for as many lines as it reads, one of several for a line each
// step, until all of it has been asked for.
enum class Weights { kF32, kUnpacked, kBf16 };
template <Weights kWeights>
constexpr int64_t StepsOf(int64_t k) {
  return kWeights == Weights::kBf16 ? k / 2 : k;
}

template <Weights kWeights, bool kOnlyTile>
struct PanelTile {
  const char* x;
  TileArgs args;
  const char* ahead_end;

  template <int kRows>
  void Run() const {
    constexpr int kVectors = TileVectors(kRows);
    constexpr int kAhead = kOnlyTile ? kVectors : 1;
    const int64_t steps = StepsOf<kWeights>(args.k);
    TileArgs pass = args;
    for (int column = 0; column < kPanel; column += kVectors * 16) {
      if (kOnlyTile || pass.ahead < ahead_end) {
        RunPass<kRows, kVectors, kAhead>(column, pass);
        pass.ahead += steps * kAhead * kLine;
      } else {
        RunPass<kRows, kVectors, 0>(column, pass);
      }
    }
  }

 private:
  template <int kRows, int kVectors, int kAhead>
  void RunPass(int column, TileArgs pass) const {
    pass.sums += column;
    if constexpr (kWeights == Weights::kBf16) {
      pass.w += column * 4;
      TileBf16<kRows, kVectors, kAhead>(x, pass);
    } else {
      // Unpacked weights stand in strips as wide as the tiles of many rows.
      pass.w += column * static_cast<int64_t>(sizeof(float)) * (kWeights == Weights::kUnpacked ? args.k : 1);
      if constexpr (kWeights == Weights::kUnpacked) pass.w_stride = kVectors * 16;
      TileF32<kRows, kVectors, kAhead>(PackedX<kRows>{reinterpret_cast<const float*>(x)}, pass);
    }
  }
};

// Adds bias and residual to the finished sums of some rows of one panel and writes them out.
void FinishRows(const LinearTask& task, int64_t panel, int64_t first_row, int64_t end_row, const float* sums) {
  const int64_t begin = panel * kPanel;
  const int64_t end = task.columns - begin < kPanel ? task.columns : begin + kPanel;
  for (int64_t r = first_row; r < end_row; ++r) {
    for (int64_t c = begin; c < end; c += 16) {
      const int64_t n = end - c;
      float* y = task.y + r * task.y_stride + c;
      V v = Load(sums + (r - first_row) * kPanel + (c - begin));
      if (task.bias != nullptr) v = Add(v, LoadFirst(task.bias + c, n));
      if (task.accumulate) v = Add(LoadFirst(y, n), v);
      StoreFirst(y, v, n);
    }
  }
}

constexpr int64_t Passes(int64_t rows) { return kPanel / (TileVectors(static_cast<int>(rows)) * 16); }

// One tile: the panel streams from memory once, straight into the products. A tile that takes several passes works on a
// few KB at a time, which stay in cache between them.
template <Weights kWeights>
void StreamPanel(const LinearTask& task, int64_t k, int64_t row_bytes) {
  const int64_t rows = task.first_row[1];
  const int64_t bytes_per_k = kPanel * (kWeights == Weights::kBf16 ? 2 : 4);
  const int64_t depth = Passes(rows) == 1 ? k : kStreamBytes / bytes_per_k;
  for (int64_t from = 0; from < k; from += depth) {
    const int64_t part = k - from < depth ? k - from : depth;
    const char* w = task.panel + from * bytes_per_k;
    const char* ahead = w + (Passes(rows) == 1 ? kStreamBytes : depth * bytes_per_k);
    const TileArgs args = {w, kPanel, part, from == 0, task.scratch, kPanel, ahead};
    WithRows(rows, PanelTile<kWeights, true>{task.x + from * rows * (row_bytes / k), args, nullptr});
  }
  FinishRows(task, 0, 0, rows, task.scratch);
}

// What is multiplied after [from, to) of a panel: the same of the next panel, or the next part of the first; at the
// end, what follows in memory, which is most likely this thread's next task.
inline const char* NextPart(const LinearTask& task, int64_t panel, int64_t from, int64_t to, int64_t bytes_per_k) {
  if (panel + 1 < task.num_panels) return task.panel + (panel + 1) * task.panel_bytes + from * bytes_per_k;
  if (to * bytes_per_k < task.panel_bytes) return task.panel + to * bytes_per_k;
  return task.panel + task.num_panels * task.panel_bytes;
}

// Several tiles: a part of a panel over K stays in cache while the tiles pass.
template <Weights kWeights, typename Unpack>
void ReusePanels(const LinearTask& task, int64_t k, int64_t row_bytes, Unpack unpack) {
  const int64_t panel_sums = task.first_row[task.num_tiles] * kPanel;
  const int64_t bytes_per_k = task.panel_bytes / k;
  float* unpacked = task.scratch + task.num_panels * panel_sums;
  for (int64_t from = 0; from < k; from += kDepth) {
    const int64_t part = k - from < kDepth ? k - from : kDepth;
    for (int64_t panel = 0; panel < task.num_panels; ++panel) {
      const char* ahead = NextPart(task, panel, from, from + part, bytes_per_k);
      const char* ahead_end = ahead + part * bytes_per_k;
      const char* w = unpack(task.panel + panel * task.panel_bytes, from, part, unpacked);
      float* sums = task.scratch + panel * panel_sums;
      for (int64_t t = 0; t < task.num_tiles; ++t) {
        const int64_t first = task.first_row[t], rows = task.first_row[t + 1] - first;
        const TileArgs args = {w, kPanel, part, from == 0, sums + first * kPanel, kPanel, ahead};
        const char* x = task.x + first * row_bytes + from * rows * (row_bytes / k);
        WithRows(rows, PanelTile<kWeights, false>{x, args, ahead_end});
        ahead += Passes(rows) * StepsOf<kWeights>(part) * kLine;
      }
    }
  }
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    FinishRows(task, panel, 0, task.first_row[task.num_tiles], task.scratch + panel * panel_sums);
  }
}

// Strips of the width of the tiles of many rows, each [depth][width]: what a tile reads is contiguous.
constexpr int kStrip = TileVectors(kTileRows) * 16;

inline void UnpackF32(const char* panel, int64_t depth, float* out) {
  const float* w = reinterpret_cast<const float*>(panel);
  for (int64_t k = 0; k < depth; ++k, w += kPanel) {
#pragma GCC unroll 4
    for (int c = 0; c < kPanel; c += 16) Store(out + (c / kStrip * depth + k) * kStrip + c % kStrip, Load(w + c));
  }
}

// Whether every tile has the strips' width.
inline bool TilesAreStrips(const LinearTask& task) {
  for (int64_t t = 0; t < task.num_tiles; ++t) {
    const int64_t rows = task.first_row[t + 1] - task.first_row[t];
    if (TileVectors(static_cast<int>(rows)) * 16 != kStrip) return false;
  }
  return true;
}

void LinearF32(const LinearTask& task) {
  const int64_t row_bytes = task.k * 4;
  if (task.num_tiles == 1) {
    StreamPanel<Weights::kF32>(task, task.k, row_bytes);
  } else if (task.num_tiles < kUnpackTiles || !TilesAreStrips(task)) {
    ReusePanels<Weights::kF32>(task, task.k, row_bytes, [](const char* panel, int64_t from, int64_t, float*) {
      return panel + from * kPanel * 4;
    });
  } else {
    ReusePanels<Weights::kUnpacked>(task, task.k, row_bytes,
                                    [](const char* panel, int64_t from, int64_t depth, float* unpacked) {
                                      UnpackF32(panel + from * kPanel * 4, depth, unpacked);
                                      return reinterpret_cast<const char*>(unpacked);
                                    });
  }
}

void PackRowsF32(const PackRowsTask& task) {
  float* out = reinterpret_cast<float*>(task.tile);
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* x = task.x + r * task.x_stride;
    for (int64_t k = task.begin; k < task.end; ++k) out[k * task.rows + r] = x[k];
  }
}

constexpr LinearKernels kLinearF32 = {.tile_rows = kTileRows,
                                      .whole_tiles = false,
                                      .panels_per_task = 4,
                                      .depth_multiple = 1,
                                      .bytes_per_value = 4,
                                      .pack_rows = PackRowsF32,
                                      .multiply = LinearF32};
