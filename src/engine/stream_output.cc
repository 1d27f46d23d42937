#include "engine/stream_output.h"

#include <algorithm>
#include <utility>

namespace quire {

TokenLogprob ToTokenLogprob(const TokenOutput& token, std::span<const Candidate> candidates, int32_t num_top) {
  TokenLogprob logprob{.token = token.token, .logprob = token.logprob, .rank = token.rank};
  const auto top = candidates.subspan(token.first_candidate, token.num_candidates);
  const size_t count = std::min(top.size(), static_cast<size_t>(num_top));
  logprob.top.assign(top.begin(), top.begin() + static_cast<std::ptrdiff_t>(count));
  return logprob;
}

StreamOutput::StreamOutput(const Request& request, const Tokenizer* tokenizer, std::optional<int32_t> num_logprobs)
    : stops_(request.params.stop, request.params.include_stop_str_in_output),
      num_logprobs_(num_logprobs),
      shows_end_token_(request.params.include_stop_str_in_output),
      min_tokens_(static_cast<uint32_t>(request.params.min_tokens)) {
  if (tokenizer != nullptr && request.params.detokenize) {
    detokenizer_.emplace(*tokenizer, request.params.skip_special_tokens, request.prompt);
  }
}

bool StreamOutput::AppendText(int32_t token) {
  if (!detokenizer_) return false;
  piece_.clear();
  detokenizer_->Append(token, piece_);
  if (num_tokens_ <= min_tokens_) {
    pending_.text += piece_;
    return false;
  }
  stop_string_ = stops_.Append(piece_, pending_.text);
  return stop_string_.has_value();
}

bool StreamOutput::Append(const TokenOutput& token, std::span<const Candidate> candidates, bool ends_answer) {
  has_pending_ = true;
  ++num_tokens_;
  logprob_sum_ += token.logprob;
  pending_.token_ids.push_back(token.token);
  if (num_logprobs_) pending_.logprobs.push_back(ToTokenLogprob(token, candidates, *num_logprobs_));
  return (!ends_answer || shows_end_token_) && AppendText(token.token);
}

void StreamOutput::End(FinishReason reason, int32_t stop_token, std::optional<float> score) {
  if (detokenizer_ && !stop_string_) {
    piece_.clear();
    detokenizer_->Flush(piece_);
    stop_string_ = stops_.Append(piece_, pending_.text);
    if (!stop_string_) stops_.Flush(pending_.text);
  }
  if (stop_token >= 0) pending_.stop_token_id = stop_token;
  reason_ = stop_string_ ? FinishReason::kStop : reason;
  pending_.stop_string = std::move(stop_string_);
  pending_.finish_reason = reason_;
  pending_.score = score;
  has_pending_ = true;
}

void StreamOutput::Fail(FinishReason reason, const Error& error) {
  pending_.finish_reason = reason_ = reason;
  pending_.error = error;
  has_pending_ = true;
}

OutputDelta StreamOutput::Take() {
  has_pending_ = false;
  return std::exchange(pending_, {});
}

}  // namespace quire
