// What the tests of sampling share.
#pragma once

#include <limits>
#include <span>

#include "sampling/sampler.h"

namespace quire {

// The logit, negated, of a token that is forbidden.
inline constexpr float kInf = std::numeric_limits<float>::infinity();

struct MaybeOutcome : SampleOutcome {
  bool is_nan = false;  // there is none
};

inline MaybeOutcome Sampled(std::span<const float> logits, const SampleRequest& request, SamplerScratch& scratch,
                            std::span<SampledCandidate> top) {
  MaybeOutcome outcome;
  outcome.is_nan = !SampleToken(logits, request, scratch, top, outcome);
  return outcome;
}

inline MaybeOutcome Scored(std::span<const float> logits, int32_t token, SamplerScratch& scratch,
                           std::span<SampledCandidate> top) {
  MaybeOutcome outcome;
  outcome.is_nan = !ScoreToken(logits, token, scratch, top, outcome);
  return outcome;
}

}  // namespace quire
