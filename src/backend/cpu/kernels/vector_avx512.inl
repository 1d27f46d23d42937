// Sixteen floats in one 512-bit register.

using V = __m512;

constexpr int kTileRows = 12;
// Columns of a tile, in vectors: accumulators, weights and a broadcast fit the 32 registers.
constexpr int TileVectors(int rows) { return rows <= 5 ? 4 : 2; }

inline __mmask16 LanesBelow(int64_t n) {
  return n >= 16 ? static_cast<__mmask16>(0xFFFF) : static_cast<__mmask16>((1U << n) - 1U);
}

inline V Zero() { return _mm512_setzero_ps(); }
inline V Splat(float x) { return _mm512_set1_ps(x); }
inline V Load(const float* p) { return _mm512_loadu_ps(p); }
inline V LoadFirst(const float* p, int64_t n) { return _mm512_maskz_loadu_ps(LanesBelow(n), p); }
inline void Store(float* p, V x) { _mm512_storeu_ps(p, x); }
inline void StoreFirst(float* p, V x, int64_t n) { _mm512_mask_storeu_ps(p, LanesBelow(n), x); }

inline V Add(V a, V b) { return _mm512_add_ps(a, b); }
inline V Sub(V a, V b) { return _mm512_sub_ps(a, b); }
inline V Mul(V a, V b) { return _mm512_mul_ps(a, b); }
inline V Div(V a, V b) { return _mm512_div_ps(a, b); }
inline V Fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
// The second operand where either is NaN.
inline V Max(V a, V b) { return _mm512_max_ps(a, b); }
inline V Min(V a, V b) { return _mm512_min_ps(a, b); }

// Lanes [begin, end) of x, elsewhere `other`.
inline V KeepLanes(V x, int64_t begin, int64_t end, V other) {
  const auto keep = static_cast<__mmask16>(LanesBelow(end) & ~LanesBelow(begin));
  return _mm512_mask_blend_ps(keep, other, x);
}

// 2^n from a float whose low mantissa bits hold n.
inline V PowerOfTwo(V shifted) {
  const __m512i n = _mm512_add_epi32(_mm512_castps_si512(shifted), _mm512_set1_epi32(127));
  return _mm512_castsi512_ps(_mm512_slli_epi32(n, 23));
}

inline float FoldAdd(V x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float FoldMax(V x) {
  const __m256 a = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

// Sixteen bf16 values.
inline V LoadBf16(const uint16_t* p) {
  const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
}
// Sixteen pairs of bf16 values: the odd and the even elements.
inline V LoadOdd(const char* p) {
  return _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(p), _mm512_set1_epi32(static_cast<int>(0xFFFF0000))));
}
inline V LoadEven(const char* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(p), 16)); }

// To bf16, nearest even, NaN stays NaN; the bits stand in the upper halves.
inline __m512i RoundBits(V x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x00400000));
  return _mm512_and_si512(_mm512_mask_blend_epi32(nan, rounded, quiet),
                          _mm512_set1_epi32(static_cast<int>(0xFFFF0000)));
}
inline void StoreBf16(uint16_t* p, V x) {
  const __m256i halves = _mm512_cvtepi32_epi16(_mm512_srli_epi32(RoundBits(x), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves);
}
// The same, denormals to signed zero first, as a float.
inline V RoundToBf16(V x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __mmask16 tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7F800000));
  const __m512i sign = _mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0x80000000)));
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(tiny, RoundBits(x), sign));
}
