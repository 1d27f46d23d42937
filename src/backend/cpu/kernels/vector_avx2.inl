// Sixteen floats in two 256-bit registers.

struct V {
  __m256 lo, hi;
};

constexpr int kTileRows = 6;
// Columns of a tile, in vectors: accumulators, weights and a broadcast fit the 16 registers.
constexpr int TileVectors(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }

inline __m256i LanesBelow(int64_t n) {
  const auto limit = static_cast<int>(n < 0 ? 0 : n > 8 ? 8 : n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(limit), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline V Zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline V Splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline V Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline V LoadFirst(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, LanesBelow(n)), _mm256_maskload_ps(p + 8, LanesBelow(n - 8))};
}
inline void Store(float* p, V x) {
  _mm256_storeu_ps(p, x.lo);
  _mm256_storeu_ps(p + 8, x.hi);
}
inline void StoreFirst(float* p, V x, int64_t n) {
  _mm256_maskstore_ps(p, LanesBelow(n), x.lo);
  _mm256_maskstore_ps(p + 8, LanesBelow(n - 8), x.hi);
}

inline V Add(V a, V b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline V Sub(V a, V b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline V Mul(V a, V b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline V Div(V a, V b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline V Fma(V a, V b, V c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
// The second operand where either is NaN.
inline V Max(V a, V b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline V Min(V a, V b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }

inline __m256 KeepHalf(__m256 x, int64_t begin, int64_t end, __m256 other) {
  const __m256i keep = _mm256_andnot_si256(LanesBelow(begin), LanesBelow(end));
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(keep));
}
// Lanes [begin, end) of x, elsewhere `other`.
inline V KeepLanes(V x, int64_t begin, int64_t end, V other) {
  return {KeepHalf(x.lo, begin, end, other.lo), KeepHalf(x.hi, begin - 8, end - 8, other.hi)};
}

inline __m256 PowerOfTwoHalf(__m256 shifted) {
  const __m256i n = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(n, 23));
}
// 2^n from a float whose low mantissa bits hold n.
inline V PowerOfTwo(V shifted) { return {PowerOfTwoHalf(shifted.lo), PowerOfTwoHalf(shifted.hi)}; }

inline float FoldAdd(V x) {
  const __m256 a = _mm256_add_ps(x.lo, x.hi);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
inline float FoldMax(V x) {
  const __m256 a = _mm256_max_ps(x.lo, x.hi);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}

inline __m256 WidenBf16(const uint16_t* p) {
  const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
// Sixteen bf16 values.
inline V LoadBf16(const uint16_t* p) { return {WidenBf16(p), WidenBf16(p + 8)}; }

inline __m256i LoadBits(const char* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline __m256 OddHalf(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int>(0xFFFF0000))));
}
// Sixteen pairs of bf16 values: the odd and the even elements.
inline V LoadOdd(const char* p) { return {OddHalf(LoadBits(p)), OddHalf(LoadBits(p + 32))}; }
inline V LoadEven(const char* p) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p), 16)),
          _mm256_castsi256_ps(_mm256_slli_epi32(LoadBits(p + 32), 16))};
}

// To bf16, nearest even, NaN stays NaN; the bits stand in the upper halves.
inline __m256i RoundBits(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  return _mm256_and_si256(_mm256_blendv_epi8(rounded, quiet, nan), _mm256_set1_epi32(static_cast<int>(0xFFFF0000)));
}
inline void StoreBf16(uint16_t* p, V x) {
  const __m256i lo = _mm256_srli_epi32(RoundBits(x.lo), 16);
  const __m256i hi = _mm256_srli_epi32(RoundBits(x.hi), 16);
  const __m256i halves = _mm256_permute4x64_epi64(_mm256_packus_epi32(lo, hi), 0xD8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), halves);
}
inline __m256 RoundHalf(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7F800000));
  const __m256i tiny = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
  const __m256i sign = _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x80000000)));
  return _mm256_castsi256_ps(_mm256_blendv_epi8(RoundBits(x), sign, tiny));
}
// The same, denormals to signed zero first, as a float.
inline V RoundToBf16(V x) { return {RoundHalf(x.lo), RoundHalf(x.hi)}; }
