#include "cli/perplexity.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

constexpr int32_t kMaxWindow = 2048;

// The log-probabilities of the tokens of one window, but for its first.
Result<PromptLogprobs> Score(RunningModel& model, std::span<const int32_t> window) {
  Request request;
  request.prompt.assign(window.begin(), window.end());
  request.params = DefaultSamplingParams(model.loaded().config);
  request.params.prompt_logprobs = 0;
  request.params.max_tokens = 1;  // of no interest, but an answer has one
  request.reads_prefix_cache = request.writes_prefix_cache = false;
  QUIRE_ASSIGN_OR_RETURN(RequestHandle handle, model.engine().Submit(std::move(request)));
  PromptLogprobs scores;
  for (;;) {
    const std::optional<OutputDelta> delta = handle.Wait(std::chrono::milliseconds(1000));
    if (!delta) continue;
    if (delta->error) return *delta->error;
    if (delta->prompt_logprobs != nullptr) scores = *delta->prompt_logprobs;
    if (delta->finished()) return scores;
  }
}

}  // namespace

Result<Perplexity> MeasurePerplexity(RunningModel& model, const std::string& text) {
  QUIRE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, model.loaded().tokenizer->Encode(text, true));
  // One place of the context is for the answer.
  const auto window = static_cast<size_t>(std::clamp(model.loaded().memory.max_model_len - 1, 2, kMaxWindow));
  double sum = 0;
  Perplexity perplexity;
  for (size_t begin = 0; begin + 1 < ids.size(); begin += window) {
    const auto part = std::span(ids).subspan(begin, std::min(window, ids.size() - begin));
    if (part.size() < 2) break;
    QUIRE_ASSIGN_OR_RETURN(const PromptLogprobs scores, Score(model, part));
    for (const auto& score : scores) {
      if (!score) continue;
      sum -= double{score->logprob};
      ++perplexity.num_tokens;
    }
  }
  if (perplexity.num_tokens == 0) return InvalidArgument("the text has not two tokens to measure perplexity on");
  perplexity.value = std::exp(sum / static_cast<double>(perplexity.num_tokens));
  return perplexity;
}

}  // namespace quire
