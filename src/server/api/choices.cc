#include "server/api/choices.h"

#include <utility>

namespace quire::server {

Choices::Choices(std::vector<RequestHandle> handles, uint64_t num_prompt_tokens, size_t num_per_prompt,
                 bool drop_output)
    : num_prompt_tokens_(num_prompt_tokens),
      num_per_prompt_(num_per_prompt),
      drop_output_(drop_output),
      handles_(std::move(handles)),
      counts_(handles_.size() * num_per_prompt) {}

std::optional<OutputDelta> Choices::Take() {
  for (; next_ < handles_.size(); ++next_) {
    std::optional<OutputDelta> delta = handles_[next_].TryNext();
    if (!delta) continue;
    delta->choice += static_cast<uint32_t>(next_ * num_per_prompt_);
    Count(*delta);
    return delta;
  }
  next_ = 0;
  return std::nullopt;
}

void Choices::Count(const OutputDelta& delta) {
  Counts& counts = counts_[delta.choice];
  counts.finish_reason = delta.finish_reason;
  counts.usage = UsageOf(delta, drop_output_);
  if (delta.finished()) ++num_finished_;
}

Usage Choices::usage() const {
  Usage usage{.prompt_tokens = num_prompt_tokens_};
  for (size_t choice = 0; choice < counts_.size(); ++choice) {
    usage.completion_tokens += counts_[choice].usage.completion_tokens;
    if (choice % num_per_prompt_ == 0) usage.cached_tokens += counts_[choice].usage.cached_tokens;
  }
  return usage;
}

}  // namespace quire::server
