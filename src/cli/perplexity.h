// How well a model foretells a text.
#pragma once

#include <string>

#include "cli/generate.h"
#include "quire/result.h"

namespace quire {

struct Perplexity {
  double value = 0;        // e to the mean of -log p of each token, given those before it in its window
  int64_t num_tokens = 0;  // that were scored
};

// The text in windows, each as long as the context but not over 2,048 tokens; what begins a window is not scored.
// kInvalidArgument: it has not two tokens.
Result<Perplexity> MeasurePerplexity(RunningModel& model, const std::string& text);

}  // namespace quire
