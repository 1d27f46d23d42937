// Passes over one row of logits, in blocks of 64: what the sampler is made of. The maxima of the blocks let later
// passes skip nearly all of a large vocabulary. Every sum is taken in an order fixed by the row's length, with an
// exponential of its own, so that results do not depend on threads or on the C library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quire {

inline constexpr size_t kScanBlock = 64;
constexpr size_t NumScanBlocks(size_t vocab_size) { return (vocab_size + kScanBlock - 1) / kScanBlock; }

struct RowScan {
  bool is_valid = false;  // no NaN, no +inf, and at least one logit above -inf
  float max = 0;
  int32_t argmax = 0;  // the lowest id of those equal to max
};

// block_max [NumScanBlocks] receives the maximum of each block.
RowScan ScanRow(std::span<const float> row, std::span<float> block_max);

// weights[i] = exp((logits[i] - max) * inverse_temperature); 0 below exp(-87). REQUIRES: logits[i] <= max.
// Relative error under 2e-7 of the exponential of the rounded argument.
void ComputeWeights(std::span<const float> logits, float max, float inverse_temperature, float* weights);

// The sum of the row's weights; block_sums [NumScanBlocks] receives that of each block.
double SumWeights(std::span<const float> row, float max, float inverse_temperature, std::span<double> block_sums);

// How many tokens stand before `token` when logits descend and equal ones ascend by id.
uint32_t CountBefore(std::span<const float> row, int32_t token);

// Appends to `ids` and `logits`, in the order of ids, every token with logit >= floor; returns how many.
size_t GatherAtLeast(std::span<const float> row, std::span<const float> block_max, float floor, int32_t* ids,
                     float* logits);

// A bound that at least k logits of the row reach: the k-th largest of the blocks' maxima, or -inf if there are fewer
// blocks than k. `work` [NumScanBlocks] is overwritten.
float FloorOfTopK(std::span<const float> block_max, size_t k, std::span<float> work);

}  // namespace quire
