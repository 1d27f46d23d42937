#include "sampling/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "sampling/candidates.h"
#include "sampling/logits_pipeline.h"
#include "sampling/row_scan.h"

namespace quire {
namespace {

// The raw distribution of a row: log-probability = logit - log_sum.
struct RawDistribution {
  std::span<const float> logits;
  double log_sum = 0;

  float Logprob(float logit) const { return static_cast<float>(static_cast<double>(logit) - log_sum); }
};

RawDistribution MakeRawDistribution(std::span<const float> logits, const RowScan& scan, SamplerScratch& scratch) {
  const double sum = SumWeights(logits, scan.max, 1.0F, scratch.block_sums);
  return {logits, static_cast<double>(scan.max) + std::log(sum)};
}

// The k most likely tokens, best first, equal ones by id. Valid while nothing else uses the scratch. REQUIRES: the row
// was scanned into it; 1 <= k <= vocab.
std::span<const int32_t> SelectTop(std::span<const float> logits, size_t k, SamplerScratch& scratch) {
  const float floor = FloorOfTopK(scratch.block_max, k, scratch.block_work);
  const size_t count = GatherAtLeast(logits, scratch.block_max, floor, scratch.ids.data(), scratch.values.data());
  const auto before = [logits](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  };
  const auto first = scratch.ids.begin(), end = first + static_cast<std::ptrdiff_t>(count);
  const auto kth = first + static_cast<std::ptrdiff_t>(k);
  if (kth != end) std::nth_element(first, kth, end, before);
  std::sort(first, kth, before);
  return std::span(scratch.ids).first(k);
}

void FillTop(const RawDistribution& raw, SamplerScratch& scratch, std::span<SampledCandidate> top) {
  if (top.empty()) return;
  const std::span<const int32_t> tokens = SelectTop(raw.logits, top.size(), scratch);
  for (size_t i = 0; i < top.size(); ++i) {
    top[i] = {tokens[i], raw.Logprob(raw.logits[static_cast<size_t>(tokens[i])])};
  }
}

void Describe(const RawDistribution& raw, SampleOutcome& outcome) {
  outcome.logprob = raw.Logprob(raw.logits[static_cast<size_t>(outcome.token)]);
  outcome.rank = CountBefore(raw.logits, outcome.token) + 1;
}

// The first index at which the running sum of the weights exceeds target; at the latest the last of a positive weight.
size_t InvertCdf(std::span<const float> weights, double target) {
  size_t last = 0;
  double sum = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] > 0)) continue;
    last = i;
    sum += static_cast<double>(weights[i]);
    if (sum > target) break;
  }
  return last;
}

// Over the whole row: the block first, then the token in it.
int32_t DrawFromRow(const ScannedRow& row, double uniform, SamplerScratch& scratch) {
  const double target = uniform * SumWeights(row.logits, row.max, row.inverse_temperature, scratch.block_sums);
  size_t block = 0;
  double sum = 0, before = 0;  // through `block`, and before it
  for (size_t b = 0; b < scratch.block_sums.size(); ++b) {
    if (!(scratch.block_sums[b] > 0)) continue;
    block = b;
    before = sum;
    sum += scratch.block_sums[b];
    if (sum > target) break;
  }
  const size_t begin = block * kScanBlock;
  const std::span<const float> logits = row.logits.subspan(begin, std::min(kScanBlock, row.logits.size() - begin));
  std::array<float, kScanBlock> weights;
  ComputeWeights(logits, row.max, row.inverse_temperature, weights.data());
  return static_cast<int32_t>(begin + InvertCdf(std::span(weights).first(logits.size()), target - before));
}

int32_t DrawFromCandidates(size_t count, double uniform, const SamplerScratch& scratch) {
  const std::span<const float> weights = std::span(scratch.weights).first(count);
  return scratch.ids[InvertCdf(weights, uniform * TotalWeight(weights))];
}

// A bound below every logit whose weight can reach min_p: weights are rounded, so it lies a little deeper.
float FloorOfMinP(const ScannedRow& row, float min_p) {
  const double depth = (1e-3 - std::log(static_cast<double>(min_p))) / static_cast<double>(row.inverse_temperature);
  return static_cast<float>(static_cast<double>(row.max) - depth - 1e-6 * std::abs(static_cast<double>(row.max)));
}

// min_p, top_k and top_p, one after the other; returns how many candidates they leave in scratch.
size_t SelectCandidates(const ScannedRow& row, const SamplingParams& params, SamplerScratch& scratch) {
  const size_t top_k = params.top_k > 0 ? static_cast<size_t>(params.top_k) : row.logits.size();
  const bool limits_k = top_k < row.logits.size();
  const auto top_p = static_cast<double>(params.top_p);
  if (!limits_k && !(params.min_p > 0)) return SelectTopP(row, top_p, scratch);

  float floor = std::numeric_limits<float>::lowest();
  if (params.min_p > 0) floor = std::max(floor, FloorOfMinP(row, params.min_p));
  if (limits_k) floor = std::max(floor, FloorOfTopK(row.block_max, top_k, scratch.block_work));
  size_t count = GatherCandidates(row, floor, scratch);
  if (params.min_p > 0) count = KeepWeightAtLeast(params.min_p, count, scratch);
  if (limits_k) count = KeepTopK(top_k, count, scratch);
  if (top_p >= 1) return count;
  return KeepTopP(top_p, TotalWeight(std::span(scratch.weights).first(count)), count, scratch);
}

int32_t Draw(const ScannedRow& row, const SampleRequest& request, SamplerScratch& scratch) {
  const SamplingParams& params = *request.params;
  const double uniform = UniformDouble(request.key, 0);
  const bool selects = params.top_p < 1 || params.top_k > 0 || params.min_p > 0;
  if (!selects) return DrawFromRow(row, uniform, scratch);
  return DrawFromCandidates(SelectCandidates(row, params, scratch), uniform, scratch);
}

}  // namespace

SamplerScratch::SamplerScratch(int32_t vocab_size)
    : logits(static_cast<size_t>(vocab_size)),
      ids(logits.size()),
      values(logits.size()),
      weights(logits.size()),
      select(logits.size()),
      block_max(NumScanBlocks(logits.size())),
      block_work(block_max.size()),
      block_sums(block_max.size()) {}

size_t SamplerScratch::Bytes(int32_t vocab_size) {
  const auto vocab = static_cast<size_t>(vocab_size);
  return vocab * (3 * sizeof(float) + sizeof(int32_t) + sizeof(Weighted)) +
         NumScanBlocks(vocab) * (2 * sizeof(float) + sizeof(double));
}

bool SampleToken(std::span<const float> logits, const SampleRequest& request, SamplerScratch& scratch,
                 std::span<SampledCandidate> top, SampleOutcome& outcome) {
  RowScan scan = ScanRow(logits, scratch.block_max);
  if (!scan.is_valid) return false;
  const bool wants_logprob = request.params->logprobs.has_value() || !top.empty();
  RawDistribution raw;
  if (wants_logprob) {
    raw = MakeRawDistribution(logits, scan, scratch);
    FillTop(raw, scratch, top);
  }
  std::span<const float> row = logits;
  if (!LeavesLogitsAlone(request)) {
    std::copy(logits.begin(), logits.end(), scratch.logits.begin());
    ProcessLogits(request, scratch.logits);
    row = scratch.logits;
    scan = ScanRow(row, scratch.block_max);
    if (!scan.is_valid) return false;
  }
  const float temperature = request.params->temperature;
  outcome = {.token = scan.argmax};
  if (temperature >= kMinTemperature) {
    outcome.token = Draw({row, scratch.block_max, scan.max, 1.0F / temperature}, request, scratch);
  }
  if (wants_logprob) Describe(raw, outcome);
  return true;
}

size_t BestTokens(std::span<const float> logits, std::span<const int32_t> masked, size_t count, SamplerScratch& scratch,
                  FunctionRef<void(const SampleOutcome&)> take) {
  const RowScan scan = ScanRow(logits, scratch.block_max);
  if (!scan.is_valid || count == 0) return 0;
  const RawDistribution raw = MakeRawDistribution(logits, scan, scratch);
  // With the masked ones, so that enough others are among them and every place is a rank.
  const std::span<const int32_t> top = SelectTop(logits, std::min(logits.size(), count + masked.size()), scratch);
  size_t taken = 0;
  for (size_t i = 0; i < top.size() && taken < count; ++i) {
    const float logit = logits[static_cast<size_t>(top[i])];
    if (logit == -std::numeric_limits<float>::infinity()) break;
    if (std::ranges::binary_search(masked, top[i])) continue;
    take({.token = top[i], .logprob = raw.Logprob(logit), .rank = static_cast<uint32_t>(i + 1)});
    ++taken;
  }
  return taken;
}

bool ScoreToken(std::span<const float> logits, int32_t token, SamplerScratch& scratch, std::span<SampledCandidate> top,
                SampleOutcome& outcome) {
  const RowScan scan = ScanRow(logits, scratch.block_max);
  if (!scan.is_valid) return false;
  const RawDistribution raw = MakeRawDistribution(logits, scan, scratch);
  FillTop(raw, scratch, top);
  outcome = {.token = token};
  Describe(raw, outcome);
  return true;
}

}  // namespace quire
