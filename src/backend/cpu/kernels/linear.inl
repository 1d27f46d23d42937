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
};

template <int kVectors>
inline void PrefetchAhead(const char* w) {
#pragma GCC unroll 4
  for (int c = 0; c < kVectors; ++c) _mm_prefetch(w + kPrefetchBytes + c * 64, _MM_HINT_T1);
}

template <int kRows, int kVectors, bool kStream, typename X>
void TileF32(X x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const float* w = reinterpret_cast<const float*>(args.w);
  for (int64_t k = 0; k < args.k; ++k, w += args.w_stride) {
    V wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = Load(w + c * 16);
    if constexpr (kStream) PrefetchAhead<kVectors>(reinterpret_cast<const char*>(w));
    sums.AddProducts(x, k, wv);
  }
  sums.Store(args.sums, args.sums_stride);
}

constexpr int64_t kPairBytes = kPanel * 4;  // a panel's bf16 weights of two k

#ifdef QUIRE_NATIVE_BF16
template <int kRows, int kVectors, bool kStream>
void TileBf16(const char* x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const char* w = args.w;
  const int* pairs = reinterpret_cast<const int*>(x);
  for (int64_t k = 0; k < args.k; k += 2, w += kPairBytes, pairs += kRows) {
    __m512bh wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = (__m512bh)_mm512_loadu_si512(w + c * 64);
    if constexpr (kStream) PrefetchAhead<kVectors>(w);
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
template <int kRows, int kVectors, bool kStream>
void TileBf16(const char* x, const TileArgs& args) {
  Sums<kRows, kVectors> sums;
  sums.Load(args.sums, args.sums_stride, args.first);
  const char* w = args.w;
  PackedX<kRows> packed{reinterpret_cast<const float*>(x)};
  for (int64_t k = 0; k < args.k; k += 2, w += kPairBytes, packed.x += 2 * kRows) {
    V wv[kVectors];
#pragma GCC unroll 4
    for (int c = 0; c < kVectors; ++c) wv[c] = LoadOdd(w + c * 64);
    if constexpr (kStream) PrefetchAhead<kVectors>(w);
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

// One tile of rows over all columns of the panel.
enum class Weights { kF32, kUnpacked, kBf16 };
template <Weights kWeights, bool kStream>
struct PanelTile {
  const char* x;
  TileArgs args;

  template <int kRows>
  void Run() const {
    constexpr int kVectors = TileVectors(kRows);
    for (int column = 0; column < kPanel; column += kVectors * 16) {
      TileArgs part = args;
      part.sums += column;
      if constexpr (kWeights == Weights::kBf16) {
        part.w += column * 4;
        TileBf16<kRows, kVectors, kStream>(x, part);
      } else {
        // Unpacked weights stand in strips as wide as the tiles of many rows.
        part.w += column * static_cast<int64_t>(sizeof(float)) * (kWeights == Weights::kUnpacked ? args.k : 1);
        const PackedX<kRows> packed{reinterpret_cast<const float*>(x)};
        if constexpr (kWeights == Weights::kUnpacked) part.w_stride = kVectors * 16;
        TileF32<kRows, kVectors, kStream>(packed, part);
      }
    }
  }
};

// Adds bias and residual to the finished sums of one panel and writes them out.
void FinishPanel(const LinearTask& task, int64_t panel, const float* sums) {
  const int64_t rows = task.first_row[task.num_tiles];
  const int64_t begin = panel * kPanel;
  const int64_t end = task.columns - begin < kPanel ? task.columns : begin + kPanel;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = begin; c < end; c += 16) {
      const int64_t n = end - c;
      float* y = task.y + r * task.y_stride + c;
      V v = Load(sums + r * kPanel + (c - begin));
      if (task.bias != nullptr) v = Add(v, LoadFirst(task.bias + c, n));
      if (task.accumulate) v = Add(LoadFirst(y, n), v);
      StoreFirst(y, v, n);
    }
  }
}

// One tile: the panel streams from memory once, straight into the products.
template <Weights kWeights>
void StreamPanel(const LinearTask& task, int64_t k, int64_t row_bytes) {
  const int64_t rows = task.first_row[1];
  const bool whole = TileVectors(static_cast<int>(rows)) * 16 == kPanel;
  const int64_t depth = whole ? k : kDepth;
  const int64_t bytes_per_k = kPanel * (kWeights == Weights::kBf16 ? 2 : 4);
  for (int64_t from = 0; from < k; from += depth) {
    const int64_t part = k - from < depth ? k - from : depth;
    const TileArgs args = {task.panel + from * bytes_per_k, kPanel, part, from == 0, task.scratch, kPanel};
    WithRows(rows, PanelTile<kWeights, true>{task.x + from * rows * (row_bytes / k), args});
  }
  FinishPanel(task, 0, task.scratch);
}

// Several tiles: a part of a panel over K stays in cache while the tiles pass.
template <Weights kWeights, typename Unpack>
void ReusePanels(const LinearTask& task, int64_t k, int64_t row_bytes, Unpack unpack) {
  const int64_t panel_sums = task.first_row[task.num_tiles] * kPanel;
  float* unpacked = task.scratch + task.num_panels * panel_sums;
  for (int64_t from = 0; from < k; from += kDepth) {
    const int64_t part = k - from < kDepth ? k - from : kDepth;
    for (int64_t panel = 0; panel < task.num_panels; ++panel) {
      const char* w = unpack(task.panel + panel * task.panel_bytes, from, part, unpacked);
      float* sums = task.scratch + panel * panel_sums;
      for (int64_t t = 0; t < task.num_tiles; ++t) {
        const int64_t first = task.first_row[t], rows = task.first_row[t + 1] - first;
        const TileArgs args = {w, kPanel, part, from == 0, sums + first * kPanel, kPanel};
        const char* x = task.x + first * row_bytes + from * rows * (row_bytes / k);
        WithRows(rows, PanelTile<kWeights, false>{x, args});
      }
    }
  }
  for (int64_t panel = 0; panel < task.num_panels; ++panel) {
    FinishPanel(task, panel, task.scratch + panel * panel_sums);
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

// In the order of use: odd before even.
inline void UnpackBf16(const char* w, int64_t depth, float* out) {
  for (int64_t k = 0; k < depth; k += 2, w += kPairBytes) {
#pragma GCC unroll 4
    for (int c = 0; c < kPanel; c += 16) {
      float* strip = out + (c / kStrip * depth + k) * kStrip + c % kStrip;
      Store(strip, LoadOdd(w + c * 4));
      Store(strip + kStrip, LoadEven(w + c * 4));
    }
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

void LinearBf16(const LinearTask& task) {
  const int64_t k = (task.k + 1) / 2 * 2;
  const int64_t row_bytes = k * kBf16BytesPerValue;
  if (task.num_tiles == 1) {
    StreamPanel<Weights::kBf16>(task, k, row_bytes);
  } else if (kNativeBf16 || task.num_tiles < kUnpackTiles || !TilesAreStrips(task)) {
    ReusePanels<Weights::kBf16>(
        task, k, row_bytes, [](const char* panel, int64_t from, int64_t, float*) { return panel + from * kPanel * 2; });
  } else {
    ReusePanels<Weights::kUnpacked>(task, k, row_bytes,
                                    [](const char* panel, int64_t from, int64_t depth, float* unpacked) {
                                      UnpackBf16(panel + from * kPanel * 2, depth, unpacked);
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

// Rounded; as floats in the order of use (odd, even), or as pairs of bf16.
void PackRowsBf16(const PackRowsTask& task) {
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* x = task.x + r * task.x_stride;
    for (int64_t k = task.begin; k < task.end; k += 16) {
      float rounded[16];
      Store(rounded, RoundToBf16(LoadFirst(x + k, task.end - k)));
      const int64_t n = task.end - k < 16 ? (task.end - k + 1) / 2 * 2 : 16;
      for (int64_t i = 0; i < n; i += 2) {
#ifdef QUIRE_NATIVE_BF16
        uint32_t even, odd;
        __builtin_memcpy(&even, rounded + i, 4);
        __builtin_memcpy(&odd, rounded + i + 1, 4);
        reinterpret_cast<uint32_t*>(task.tile)[(k + i) / 2 * task.rows + r] = even >> 16 | odd;
#else
        float* out = reinterpret_cast<float*>(task.tile) + (k + i) * task.rows + r;
        out[0] = rounded[i + 1];
        out[task.rows] = rounded[i];
#endif
      }
    }
  }
}
