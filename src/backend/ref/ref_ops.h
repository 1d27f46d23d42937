// The scalar reference of every operation that computes: the oracle. Each states the order of its reductions, which
// every other backend reproduces to the bit. Pure functions; run them inside of a FlushDenormalsScope.
#pragma once

#include <cstdint>

namespace quire::ref {

// Reductions over a row run in this many lanes: element i belongs to lane i mod 16, lanes are summed in index order,
// then folded by halves: lane l takes lane l + 8, then l + 4, l + 2, l + 1.
constexpr int kLanes = 16;
// Attention reduces over partitions of this many absolute positions, merged in order.
constexpr int kPartition = 512;

float FoldLanes(float (&lanes)[kLanes]);

// e^x, relative error below 2e-7; 0 below -87.7, and no larger than e^88.
float Exp(float x);
// An activation as an operand of a bf16 product: denormals to zero, then nearest even.
float RoundToBf16(float x);

// sum over k in order of x[k] * w[k], one fused multiply-add each.
float DotF32(const float* x, const float* w, int64_t k);
// bf16 values held as floats, x rounded on the way; an odd k is padded by a zero.
// Pairs: (2i, 2i + 1) in order, within a pair the odd element first; one fused multiply-add each.
float DotBf16Pairs(const float* x, const float* w, int64_t k);
// Tiles: 32 values at a time; of these, the even and the odd elements are summed apart, in order from zero, by fused
// multiply-adds; then the one is added to the other, and both to the sum so far.
float DotBf16Tiles(const float* x, const float* w, int64_t k);

// y = x / sqrt(mean(x^2) + epsilon) * weight; the squares are summed in kLanes lanes.
void RmsNormRow(const float* x, const float* weight, float epsilon, int64_t n, float* y);
// Rotates pairs (i, i + rotary_dim / 2) of a head.
void RotateHead(float* head, const float* cos, const float* sin, int32_t rotary_dim);

float Silu(float x);      // x / (1 + e^-x)
float GeluTanh(float x);  // x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3)
// y = activate(gate) * up, element by element.
void GatedRow(const float* gate, const float* up, float (*activate)(float), int64_t n, float* y);

// What a product's element becomes of its sum over k: plus the bias, plus what it was if it accumulates.
float FinishElement(float sum, const float* bias, bool accumulate, float y);

// One query head of one row over the positions [begin, end). key(p) and value(p) give head_dim floats.
//
// Per partition: scores are summed over the dimensions in order, then scaled; exponentials (of score - maximum) are
// summed in kLanes lanes by position; values are accumulated in order of position. Partitions are merged in order.
template <typename KeyAt, typename ValueAt>
void AttendRow(const float* query, int32_t head_dim, float scale, int32_t begin, int32_t end, KeyAt key, ValueAt value,
               float* y);

}  // namespace quire::ref

#include "backend/ref/ref_attention.h"
