// Sampler: one row of logits and the request's parameters -> a token, its log-probability, its rank, alternatives.
// A draw is a function of (seed, stream, position) and the row alone. Thread-safe between rows: one SamplerScratch per
// thread. No function here allocates.
//
// The pipeline follows vLLM: logit_bias, penalties, masks, temperature, min_p, top_k, top_p. Equal logits are ordered
// by id, so that what top_k and top_p keep is always one definite set. The draw inverts the cumulative distribution of
// the kept tokens in the order of their ids. Log-probabilities and ranks are of the raw model distribution (before any
// processing), as in vLLM's default `raw_logprobs`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/function_ref.h"
#include "base/rng.h"
#include "quire/sampling_params.h"
#include "sampling/sample_task.h"
#include "sampling/token_counts.h"

namespace quire {

// Below this temperature sampling is greedy, as in vLLM.
inline constexpr float kMinTemperature = 1e-5F;

struct SampleRequest {
  const SamplingParams* params = nullptr;
  const TokenCounts* counts = nullptr;       // null: no penalties asked
  std::span<const int32_t> accepted_drafts;  // output that is not in `counts` yet
  std::span<const int32_t> masked_tokens;    // forbidden now (stop tokens before min_tokens)
  std::span<const uint32_t> allowed_mask;    // structured output: one bit per token; empty: all
  RngKey key;
};

// Whether a sequence with these parameters needs TokenCounts.
bool UsesPenalties(const SamplingParams& params);

// Work memory of one thread: sized once for a vocabulary.
class SamplerScratch {
 public:
  explicit SamplerScratch(int32_t vocab_size);
  static size_t Bytes(int32_t vocab_size);

  struct Weighted {
    float logit;
    float weight;
  };

  std::vector<float> logits;     // [vocab] after processing
  std::vector<int32_t> ids;      // candidates, ascending
  std::vector<float> values;     // their logits
  std::vector<float> weights;    // their probabilities, not normalised
  std::vector<Weighted> select;  // reordered by selections
  std::vector<float> block_max;
  std::vector<float> block_work;
  std::vector<double> block_sums;
};

// logits [vocab] are left as they were. `top`, if not empty, receives the most likely tokens, best first, ties by id.
// False: the row holds a NaN or +inf, or nothing in it may be drawn (all masked). REQUIRES: top.size() <= vocab; token
// ids of the request are below vocab.
bool SampleToken(std::span<const float> logits, const SampleRequest& request, SamplerScratch& scratch,
                 std::span<SampledCandidate> top, SampleOutcome& outcome);

// Calls take(outcome) for the `count` most likely tokens of the raw distribution but the masked ones, best first, equal
// ones by id; log-probabilities and ranks are of the raw distribution, masked tokens included. Returns how many there
// were: fewer than `count` only if no others have a logit above -inf, and 0 (as with a NaN or +inf) if none has. Takes
// time linear in the vocabulary, and sorts `count` of it. REQUIRES: masked is sorted.
size_t BestTokens(std::span<const float> logits, std::span<const int32_t> masked, size_t count, SamplerScratch& scratch,
                  FunctionRef<void(const SampleOutcome&)> take);

// The log-probability and rank of a given token (prompt_logprobs). False: the row holds a NaN or +inf.
bool ScoreToken(std::span<const float> logits, int32_t token, SamplerScratch& scratch, std::span<SampledCandidate> top,
                SampleOutcome& outcome);

}  // namespace quire
