#include "probes.h"

#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>

#include "base/check.h"

namespace quire::bench {
namespace {

constexpr int64_t kLine = 64;

__attribute__((target("avx2"))) inline __m256i ReadLine(const char* p, __m256i sum) {
  sum = _mm256_xor_si256(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm256_xor_si256(sum, _mm256_load_si256(reinterpret_cast<const __m256i*>(p + 32)));
}

// Each thread reads its part as `streams` streams side by side, asking for lines `ahead` bytes before it needs them.
__attribute__((target("avx2"))) int ReadStreams(const char* begin, int64_t bytes, int streams, int64_t ahead) {
  __m256i sum = _mm256_setzero_si256();
  const int64_t part = bytes / streams / (4 * kLine) * (4 * kLine);
  for (int64_t offset = 0; offset < part; offset += 4 * kLine) {
    for (int s = 0; s < streams; ++s) {
      const char* p = begin + s * part + offset;
      for (int64_t line = 0; line < 4; ++line) {
        if (ahead != 0) _mm_prefetch(p + line * kLine + ahead, _MM_HINT_T0);
        sum = ReadLine(p + line * kLine, sum);
      }
    }
  }
  return _mm256_movemask_epi8(sum);
}

constexpr int64_t kSteps = 1 << 17;
constexpr int kChains = 12;

__attribute__((target("avx2,fma"))) double FmaAvx2() {
  __m256 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  const __m256 a = _mm256_set1_ps(0.999F), b = _mm256_set1_ps(1e-3F);
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm256_fmadd_ps(sums[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  return static_cast<double>(_mm256_cvtss_f32(sums[0]));
}

__attribute__((target("avx512f"))) double FmaAvx512() {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512 a = _mm512_set1_ps(0.999F), b = _mm512_set1_ps(1e-3F);
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_fmadd_ps(sums[i], a, b);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return static_cast<double>(_mm512_cvtss_f32(sums[0]));
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) double DotAvx512Bf16() {
  __m512 sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3F803F80);
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, a);
  }
  for (int i = 1; i < kChains; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  return static_cast<double>(_mm512_cvtss_f32(sums[0]));
}

struct TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Four sums of full tiles side by side, as many steps as the vector loops take.
__attribute__((target("amx-tile,amx-bf16"))) double DotAmx() {
  const TileConfig config;
  asm volatile("ldtilecfg %0" ::"m"(config));
  for (int64_t step = 0; step < kSteps * kChains / 4; ++step) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return 0;
}

std::atomic<int> sink{0};  // keeps the compiler from dropping what nobody reads

// Best of three, all threads at once.
double RunLoop(ThreadTeam& team, double (*loop)(), double flops_per_step) {
  double best = 0;
  for (int i = 0; i < 3; ++i) {
    const double start = Now();
    team.Run([&](int) { sink.fetch_add(static_cast<int>(loop())); });
    const double flops = flops_per_step * kChains * kSteps * team.num_threads();
    best = std::max(best, flops / (Now() - start));
  }
  return best;
}

}  // namespace

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double ProbeReadBandwidth(ThreadTeam& team, std::span<const char> memory) {
  struct Pattern {
    int streams;
    int64_t ahead;
  };
  constexpr Pattern kPatterns[] = {{1, 0}, {1, 2048}, {4, 0}, {2, 8192}};
  double best = 0;
  const auto bytes = static_cast<int64_t>(memory.size()) / team.num_threads() / 4096 * 4096;
  for (const Pattern& pattern : kPatterns) {
    const double start = Now();
    team.Run([&](int thread) {
      sink.fetch_add(ReadStreams(memory.data() + thread * bytes, bytes, pattern.streams, pattern.ahead));
    });
    best = std::max(best, static_cast<double>(bytes) * team.num_threads() / (Now() - start));
  }
  return best;
}

PeakRates ProbePeak(ThreadTeam& team, const std::string& isa) {
  PeakRates rates;
  QUIRE_CHECK(isa == "avx2" || isa.starts_with("avx512") || isa == "amx" || isa.starts_with("ref"),
              "no peak is known of the instruction set '{}'", isa);
  const bool wide = isa.starts_with("avx512") || isa == "amx";
  rates.f32_flops = wide ? RunLoop(team, FmaAvx512, 32) : RunLoop(team, FmaAvx2, 16);
  if (isa == "avx512bf16") {
    rates.bf16_flops = RunLoop(team, DotAvx512Bf16, 64);
  } else if (isa == "amx") {
    rates.bf16_flops = RunLoop(team, DotAmx, 2 * 16 * 16 * 32);
  } else {
    rates.bf16_flops = rates.f32_flops;
  }
  return rates;
}

}  // namespace quire::bench
