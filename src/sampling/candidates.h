// Candidates: the few tokens of a row that min_p, top_k and top_p can keep, in the order of ids; filters narrow them.
// They live in a SamplerScratch. Selections are exact and take time linear in the candidates: nothing sorts a row.
#pragma once

#include <cstddef>
#include <span>

#include "sampling/row_scan.h"
#include "sampling/sampler.h"

namespace quire {

// A row after processing, scanned, and the temperature it is drawn at.
struct ScannedRow {
  std::span<const float> logits;
  std::span<const float> block_max;
  float max = 0;
  float inverse_temperature = 1;
};

// Fills ids, values and weights with all tokens of logits >= floor; returns how many.
size_t GatherCandidates(const ScannedRow& row, float floor, SamplerScratch& scratch);

// Gathers enough candidates for their weights to reach top_p of the row's sum of weights, and keeps just those.
size_t SelectTopP(const ScannedRow& row, double top_p, SamplerScratch& scratch);

// In double and in the order of ids.
double TotalWeight(std::span<const float> weights);

// The filters return how many candidates they keep.
size_t KeepWeightAtLeast(float min_weight, size_t count, SamplerScratch& scratch);
// The k first by descending logit, then ascending id. REQUIRES: k >= 1.
size_t KeepTopK(size_t k, size_t count, SamplerScratch& scratch);
// The shortest beginning of that order whose weights reach top_p * total.
size_t KeepTopP(double top_p, double total, size_t count, SamplerScratch& scratch);

}  // namespace quire
