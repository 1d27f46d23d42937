#include "backend/ref/ref_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "tensor/dtype.h"

namespace quire::ref {

float FoldLanes(float (&lanes)[kLanes]) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

// 2^n * e^r with n = round(x / ln 2), |r| <= ln 2 / 2; the polynomial of Cephes' expf. Adding 1.5 * 2^23 rounds to an
// integer that then stands in the low bits. Comparisons are arranged so that NaN passes.
float Exp(float x) {
  constexpr float kLow = -88.0F, kHigh = 88.0F, kRound = 12582912.0F;
  x = kLow > x ? kLow : x;
  x = kHigh < x ? kHigh : x;
  const float shifted = std::fma(x, 1.44269504F, kRound);
  const float n = shifted - kRound;
  float r = std::fma(n, -0.693359375F, x);
  r = std::fma(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  p = std::fma(p, r, 1.3981999507e-3F);
  p = std::fma(p, r, 8.3334519073e-3F);
  p = std::fma(p, r, 4.1665795894e-2F);
  p = std::fma(p, r, 1.6666665459e-1F);
  p = std::fma(p, r, 5.0000001201e-1F);
  p = std::fma(p, r * r, r) + 1.0F;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) + 127U) << 23);
}

float RoundToBf16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7F800000U) == 0) return std::bit_cast<float>(bits & 0x80000000U);
  return ToFloat(ToBf16(x));
}

float DotF32(const float* x, const float* w, int64_t k) {
  float sum = 0;
  for (int64_t i = 0; i < k; ++i) sum = std::fma(x[i], w[i], sum);
  return sum;
}

float DotBf16Pairs(const float* x, const float* w, int64_t k) {
  float sum = 0;
  for (int64_t i = 0; i < k; i += 2) {
    const bool padded = i + 1 == k;
    sum = padded ? std::fma(0.0F, 0.0F, sum) : std::fma(RoundToBf16(x[i + 1]), w[i + 1], sum);
    sum = std::fma(RoundToBf16(x[i]), w[i], sum);
  }
  return sum;
}

float DotBf16Tiles(const float* x, const float* w, int64_t k) {
  constexpr int64_t kTileDepth = 32;
  float sum = 0;
  for (int64_t from = 0; from < k; from += kTileDepth) {
    float parts[2] = {};
    for (int64_t i = from; i < std::min(k, from + kTileDepth); ++i) {
      parts[i % 2] = std::fma(RoundToBf16(x[i]), w[i], parts[i % 2]);
    }
    sum += parts[0] + parts[1];
  }
  return sum;
}

void RmsNormRow(const float* x, const float* weight, float epsilon, int64_t n, float* y) {
  float lanes[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i % kLanes] = std::fma(x[i], x[i], lanes[i % kLanes]);
  const float mean = FoldLanes(lanes) / static_cast<float>(n);
  const float inverse = 1.0F / std::sqrt(mean + epsilon);
  for (int64_t i = 0; i < n; ++i) y[i] = x[i] * inverse * weight[i];
}

void RotateHead(float* head, const float* cos, const float* sin, int32_t rotary_dim) {
  const int32_t half = rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const float a = head[i], b = head[i + half];
    head[i] = a * cos[i] - b * sin[i];
    head[i + half] = b * cos[i] + a * sin[i];
  }
}

float Silu(float x) { return x / (1.0F + Exp(-x)); }

float GeluTanh(float x) {
  constexpr float kMinusTwoSqrtTwoOverPi = -1.5957691216F;
  const float cubed = x * x * x;
  return x / (1.0F + Exp(kMinusTwoSqrtTwoOverPi * std::fma(0.044715F, cubed, x)));
}

void GatedRow(const float* gate, const float* up, float (*activate)(float), int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = activate(gate[i]) * up[i];
}

float FinishElement(float sum, const float* bias, bool accumulate, float y) {
  if (bias != nullptr) sum += *bias;
  return accumulate ? y + sum : sum;
}

}  // namespace quire::ref
