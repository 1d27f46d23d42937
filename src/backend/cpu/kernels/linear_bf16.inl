// Products with bf16 weights on vectors: the weights are widened on the way, or, with QUIRE_NATIVE_BF16, multiplied in
// pairs by an instruction that rounds as the widened products do. Uses linear.inl.

// In the order of use: odd before even.
inline void UnpackBf16(const char* w, int64_t depth, float* out) {
  for (int64_t k = 0; k < depth; k += 2, w += kStepBytes) {
#pragma GCC unroll 4
    for (int c = 0; c < kPanel; c += 16) {
      float* strip = out + (c / kStrip * depth + k) * kStrip + c % kStrip;
      Store(strip, LoadOdd(w + c * 4));
      Store(strip + kStrip, LoadEven(w + c * 4));
    }
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

#ifdef QUIRE_NATIVE_BF16
// The first n of 16 floats, rounded: eight pairs in the low halves of eight 64-bit lanes.
inline __m512i RoundedPairs(const float* x, int64_t n) {
  if (n <= 0) return _mm512_setzero_si512();
  const __m512i bits = _mm512_castps_si512(RoundToBf16(LoadFirst(x, n)));
  return _mm512_or_si512(_mm512_srli_epi64(bits, 16), _mm512_srli_epi64(bits, 32));
}

// The first n of 32 floats, rounded, in 16 pairs.
inline __m512i LoadPairs(const float* x, int64_t n) {
  const __m256i low = _mm512_cvtepi64_epi32(RoundedPairs(x, n));
  const __m256i high = _mm512_cvtepi64_epi32(RoundedPairs(x + 16, n - 16));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// m[i][j] to m[j][i], 16 by 16.
inline void Transpose(__m512i (&m)[16]) {
  __m512i a[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(m[i], m[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(m[i], m[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    m[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    m[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    m[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    m[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  // Lane l of m[4 q + c] holds column 4 l + c of rows 4 q to 4 q + 3.
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    a[c] = _mm512_shuffle_i32x4(m[c], m[4 + c], 0x88);
    a[4 + c] = _mm512_shuffle_i32x4(m[c], m[4 + c], 0xDD);
    a[8 + c] = _mm512_shuffle_i32x4(m[8 + c], m[12 + c], 0x88);
    a[12 + c] = _mm512_shuffle_i32x4(m[8 + c], m[12 + c], 0xDD);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; ++c) {
    m[c] = _mm512_shuffle_i32x4(a[c], a[8 + c], 0x88);
    m[4 + c] = _mm512_shuffle_i32x4(a[4 + c], a[12 + c], 0x88);
    m[8 + c] = _mm512_shuffle_i32x4(a[c], a[8 + c], 0xDD);
    m[12 + c] = _mm512_shuffle_i32x4(a[4 + c], a[12 + c], 0xDD);
  }
}

// Rounded, as pairs.
void PackRowsBf16(const PackRowsTask& task) {
  const __mmask16 rows = LanesBelow(task.rows);
  for (int64_t k = task.begin; k < task.end; k += 32) {
    uint32_t* out = reinterpret_cast<uint32_t*>(task.tile) + k / 2 * task.rows;
    const int64_t n = task.end - k;
    const int64_t pairs = n < 32 ? (n + 1) / 2 : 16;
    if (task.rows == 1) {
      _mm512_mask_storeu_epi32(out, LanesBelow(pairs), LoadPairs(task.x + k, n));
      continue;
    }
    __m512i m[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) {
      m[r] = r < task.rows ? LoadPairs(task.x + r * task.x_stride + k, n) : _mm512_setzero_si512();
    }
    Transpose(m);
#pragma GCC unroll 16
    for (int p = 0; p < 16; ++p) {
      if (p < pairs) _mm512_mask_storeu_epi32(out + p * task.rows, rows, m[p]);
    }
  }
}
#else
// Rounded, as floats in the order of use: odd, even.
void PackRowsBf16(const PackRowsTask& task) {
  for (int64_t r = 0; r < task.rows; ++r) {
    const float* x = task.x + r * task.x_stride;
    for (int64_t k = task.begin; k < task.end; k += 16) {
      float rounded[16];
      Store(rounded, RoundToBf16(LoadFirst(x + k, task.end - k)));
      const int64_t n = task.end - k < 16 ? (task.end - k + 1) / 2 * 2 : 16;
      for (int64_t i = 0; i < n; i += 2) {
        float* out = reinterpret_cast<float*>(task.tile) + (k + i) * task.rows + r;
        out[0] = rounded[i + 1];
        out[task.rows] = rounded[i];
      }
    }
  }
}
#endif

constexpr LinearKernels kLinearBf16 = {.tile_rows = kTileRows,
                                       .whole_tiles = false,
                                       .panels_per_task = 4,
                                       .depth_multiple = 2,
                                       .bytes_per_value = kBf16BytesPerValue,
                                       .pack_rows = PackRowsBf16,
                                       .multiply = LinearBf16};
