// Definition of ref::AttendRow.
#pragma once

#include <algorithm>
#include <cmath>

#include "backend/ref/ref_ops.h"

namespace quire::ref {

constexpr int kMaxHeadDim = 512;

// Softmax numerator and denominator over some positions, relative to `max`.
struct PartialSoftmax {
  float max;
  float sum;
  float values[kMaxHeadDim];
};

template <typename KeyAt, typename ValueAt>
void AttendPartition(const float* query, int32_t head_dim, float scale, int32_t begin, int32_t end, KeyAt key,
                     ValueAt value, PartialSoftmax& part) {
  const int32_t base = begin / kPartition * kPartition;
  float weights[kPartition] = {};
  for (int32_t p = begin; p < end; ++p) {
    const float* k = key(p);
    float score = 0;
    for (int32_t d = 0; d < head_dim; ++d) score = std::fma(query[d], k[d], score);
    weights[p - base] = score * scale;
  }
  part.max = *std::max_element(weights + (begin - base), weights + (end - base));
  float lanes[kLanes] = {};
  for (int32_t p = begin; p < end; ++p) {
    float& weight = weights[p - base];
    weight = Exp(weight - part.max);
    lanes[(p - base) % kLanes] += weight;
  }
  part.sum = FoldLanes(lanes);
  std::fill_n(part.values, head_dim, 0.0F);
  for (int32_t p = begin; p < end; ++p) {
    const float* v = value(p);
    for (int32_t d = 0; d < head_dim; ++d) part.values[d] = std::fma(weights[p - base], v[d], part.values[d]);
  }
}

template <typename KeyAt, typename ValueAt>
void AttendRow(const float* query, int32_t head_dim, float scale, int32_t begin, int32_t end, KeyAt key, ValueAt value,
               float* y) {
  PartialSoftmax total, part;
  const auto partition_end = [end](int32_t from) { return std::min(end, (from / kPartition + 1) * kPartition); };
  AttendPartition(query, head_dim, scale, begin, partition_end(begin), key, value, total);
  for (int32_t from = partition_end(begin); from < end; from = partition_end(from)) {
    AttendPartition(query, head_dim, scale, from, partition_end(from), key, value, part);
    const float max = std::max(total.max, part.max);
    const float keep = Exp(total.max - max);
    const float add = Exp(part.max - max);
    total.max = max;
    total.sum = std::fma(total.sum, keep, part.sum * add);
    for (int32_t d = 0; d < head_dim; ++d) total.values[d] = std::fma(total.values[d], keep, part.values[d] * add);
  }
  const float inverse = 1.0F / total.sum;
  for (int32_t d = 0; d < head_dim; ++d) y[d] = total.values[d] * inverse;
}

}  // namespace quire::ref
