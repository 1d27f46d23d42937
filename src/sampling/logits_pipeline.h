// What changes logits before the temperature: logit_bias, repetition, presence and frequency penalties, masks.
#pragma once

#include <span>

#include "sampling/sampler.h"

namespace quire {

// Whether ProcessLogits would leave the row as it is.
bool LeavesLogitsAlone(const SampleRequest& request);

// In place, in vLLM's order; semantics of the penalties as there: repetition over prompt and output, dividing positive
// logits and multiplying negative ones; frequency and presence over the output. Finite logits stay finite; forbidden
// tokens become -inf.
void ProcessLogits(const SampleRequest& request, std::span<float> logits);

}  // namespace quire
