#include "sampling/candidates.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace quire {
namespace {

using Weighted = SamplerScratch::Weighted;

// Candidates above `logit`, and the first `num_equal` of those equal to it by id.
struct Boundary {
  float logit = 0;
  size_t num_equal = 0;
};

template <typename Keep>
size_t Filter(size_t count, SamplerScratch& scratch, Keep keep) {
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!keep(i)) continue;
    scratch.ids[kept] = scratch.ids[i];
    scratch.values[kept] = scratch.values[i];
    scratch.weights[kept] = scratch.weights[i];
    ++kept;
  }
  return kept;
}

size_t KeepDownTo(Boundary boundary, size_t count, SamplerScratch& scratch) {
  return Filter(count, scratch, [&, left = boundary.num_equal](size_t i) mutable {
    if (scratch.values[i] != boundary.logit) return scratch.values[i] > boundary.logit;
    if (left == 0) return false;
    --left;
    return true;
  });
}

std::span<Weighted> CopyForSelection(size_t count, SamplerScratch& scratch) {
  for (size_t i = 0; i < count; ++i) scratch.select[i] = {scratch.values[i], scratch.weights[i]};
  return std::span(scratch.select).first(count);
}

bool Descending(const Weighted& a, const Weighted& b) { return a.logit > b.logit; }

double Mass(std::span<const Weighted> items) {
  double mass = 0;
  for (const Weighted& item : items) mass += static_cast<double>(item.weight);
  return mass;
}

float MedianOfThree(std::span<const Weighted> items) {
  const float a = items.front().logit, b = items[items.size() / 2].logit, c = items.back().logit;
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

Boundary WalkSorted(std::span<Weighted> items, double mass, double target) {
  std::sort(items.begin(), items.end(), Descending);
  Boundary boundary;
  for (const Weighted& item : items) {
    boundary.num_equal = item.logit == boundary.logit ? boundary.num_equal + 1 : 1;
    boundary.logit = item.logit;
    mass += static_cast<double>(item.weight);
    if (mass >= target) break;
  }
  return boundary;
}

// How many items of one weight bring mass to target: at least 1, at most count.
size_t CountToReach(double mass, double target, double weight, size_t count) {
  size_t taken = 0;
  do {
    mass += weight;
    ++taken;
  } while (mass < target && taken < count);
  return taken;
}

// Quickselect by mass: where the weights of the items, by descending logit, reach target. Items of equal logits, which
// have equal weights, are never parted.
Boundary SelectByMass(std::span<Weighted> items, double target) {
  constexpr size_t kSmall = 32;
  constexpr int kMaxRounds = 60;  // then sorting is no slower, whatever the row holds
  double mass = 0;                // of what stands before items
  for (int round = 0; items.size() > kSmall && round < kMaxRounds; ++round) {
    const float pivot = MedianOfThree(items);
    const auto above_end =
        std::partition(items.begin(), items.end(), [pivot](const Weighted& item) { return item.logit > pivot; });
    const auto equal_end =
        std::partition(above_end, items.end(), [pivot](const Weighted& item) { return item.logit == pivot; });
    const std::span<Weighted> above(items.begin(), above_end), equal(above_end, equal_end);
    const double mass_above = mass + Mass(above);
    if (mass_above >= target && !above.empty()) {
      items = above;
      continue;
    }
    const double mass_equal = mass_above + Mass(equal);
    if (mass_equal >= target || equal_end == items.end()) {
      return {pivot, CountToReach(mass_above, target, static_cast<double>(equal.front().weight), equal.size())};
    }
    mass = mass_equal;
    items = std::span<Weighted>(equal_end, items.end());
  }
  return WalkSorted(items, mass, target);
}

}  // namespace

size_t GatherCandidates(const ScannedRow& row, float floor, SamplerScratch& scratch) {
  const size_t count = GatherAtLeast(row.logits, row.block_max, floor, scratch.ids.data(), scratch.values.data());
  ComputeWeights(std::span(scratch.values).first(count), row.max, row.inverse_temperature, scratch.weights.data());
  return count;
}

size_t SelectTopP(const ScannedRow& row, double top_p, SamplerScratch& scratch) {
  const double total = SumWeights(row.logits, row.max, row.inverse_temperature, scratch.block_sums);
  // Weights down to exp(-depth): most rows have their mass near the top, flat ones need nearly all tokens.
  for (const float depth : {3.0F, 8.0F, 20.0F}) {
    const size_t count = GatherCandidates(row, row.max - depth / row.inverse_temperature, scratch);
    const double mass = TotalWeight(std::span(scratch.weights).first(count));
    if (mass >= top_p * total) return KeepTopP(top_p, total, count, scratch);
  }
  const size_t count = GatherCandidates(row, std::numeric_limits<float>::lowest(), scratch);
  return KeepTopP(top_p, total, count, scratch);
}

double TotalWeight(std::span<const float> weights) {
  double total = 0;
  for (const float weight : weights) total += static_cast<double>(weight);
  return total;
}

size_t KeepWeightAtLeast(float min_weight, size_t count, SamplerScratch& scratch) {
  return Filter(count, scratch, [&](size_t i) { return scratch.weights[i] >= min_weight; });
}

size_t KeepTopK(size_t k, size_t count, SamplerScratch& scratch) {
  if (k >= count) return count;
  const std::span<Weighted> items = CopyForSelection(count, scratch);
  const auto kth = items.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(items.begin(), kth, items.end(), Descending);
  const float logit = kth->logit;
  const auto above = std::count_if(items.begin(), kth, [logit](const Weighted& item) { return item.logit > logit; });
  return KeepDownTo({logit, k - static_cast<size_t>(above)}, count, scratch);
}

size_t KeepTopP(double top_p, double total, size_t count, SamplerScratch& scratch) {
  if (count <= 1) return count;
  return KeepDownTo(SelectByMass(CopyForSelection(count, scratch), top_p * total), count, scratch);
}

}  // namespace quire
