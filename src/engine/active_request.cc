#include "engine/active_request.h"

#include <algorithm>
#include <utility>

namespace quire {
namespace {

double Seconds(TimeUs duration) { return static_cast<double>(duration) * 1e-6; }

}  // namespace

ActiveRequest::ActiveRequest(const Request& request, const Tokenizer* tokenizer, std::shared_ptr<OutputQueue> queue)
    : queue_(std::move(queue)),
      external_id_(request.external_id),
      stops_(request.params.stop, request.params.include_stop_str_in_output),
      num_logprobs_(request.params.logprobs),
      num_prompt_logprobs_(request.params.prompt_logprobs),
      min_tokens_(static_cast<uint32_t>(request.params.min_tokens)),
      num_prompt_tokens_(static_cast<uint32_t>(request.prompt.size())),
      arrival_(request.arrival) {
  if (tokenizer != nullptr && request.params.detokenize) {
    detokenizer_.emplace(*tokenizer, request.params.skip_special_tokens, request.prompt);
  }
}

void ActiveRequest::OnAdmitted(uint32_t num_cached_tokens, TimeUs now, StatsSnapshot& stats) {
  if (first_scheduled_ >= 0) return;  // back from a preemption
  first_scheduled_ = now;
  num_cached_tokens_ = num_cached_tokens;
  stats.queue_time_s.Observe(Seconds(now - arrival_));
}

TokenLogprob ActiveRequest::ToLogprob(const TokenOutput& token, std::span<const Candidate> candidates,
                                      int32_t num_top) const {
  TokenLogprob logprob{.token = token.token, .logprob = token.logprob, .rank = token.rank};
  const auto top = candidates.subspan(token.first_candidate, token.num_candidates);
  const size_t count = std::min(top.size(), static_cast<size_t>(num_top));
  logprob.top.assign(top.begin(), top.begin() + static_cast<std::ptrdiff_t>(count));
  return logprob;
}

void ActiveRequest::OnPromptLogprobs(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates) {
  if (!num_prompt_logprobs_ || prompt_scored_) return;
  if (pending_.prompt_logprobs.empty()) pending_.prompt_logprobs.emplace_back();  // nothing comes before the first
  for (const TokenOutput& token : tokens) {
    pending_.prompt_logprobs.push_back(ToLogprob(token, candidates, *num_prompt_logprobs_));
  }
}

// Returns true when the text that the token completes ends with a stop string.
bool ActiveRequest::AppendText(int32_t token) {
  if (!detokenizer_) return false;
  piece_.clear();
  detokenizer_->Append(token, piece_);
  if (num_output_tokens_ <= min_tokens_) {
    pending_.text += piece_;
    return false;
  }
  pending_.stop_string = stops_.Append(piece_, pending_.text);
  return pending_.stop_string.has_value();
}

bool ActiveRequest::OnTokens(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates, TimeUs now,
                             StatsSnapshot& stats) {
  if (num_prompt_logprobs_ && !prompt_scored_) {
    if (pending_.prompt_logprobs.empty()) pending_.prompt_logprobs.emplace_back();  // a prompt of one token
    prompt_scored_ = true;
  }
  if (first_token_ < 0) {
    first_token_ = now;
    stats.time_to_first_token_s.Observe(Seconds(now - arrival_));
    stats.prompt_tokens += num_prompt_tokens_;
  } else {
    stats.inter_token_latency_s.Observe(Seconds(now - last_token_) / static_cast<double>(tokens.size()), tokens.size());
  }
  last_token_ = now;
  has_pending_ = true;
  for (const TokenOutput& token : tokens) {
    ++num_output_tokens_;
    ++stats.generation_tokens;
    pending_.token_ids.push_back(token.token);
    if (num_logprobs_) pending_.logprobs.push_back(ToLogprob(token, candidates, *num_logprobs_));
    if (AppendText(token.token)) return true;
  }
  return false;
}

void ActiveRequest::FillCounts() {
  pending_.num_prompt_tokens = num_prompt_tokens_;
  pending_.num_cached_tokens = num_cached_tokens_;
  pending_.num_output_tokens = num_output_tokens_;
}

void ActiveRequest::Publish() {
  if (!has_pending_) return;
  FillCounts();
  queue_->Push(std::exchange(pending_, {}));
  has_pending_ = false;
}

void ActiveRequest::CountFinished(FinishReason reason, StatsSnapshot& stats) const {
  switch (reason) {
    case FinishReason::kNone:
      break;
    case FinishReason::kStop:
      ++stats.requests_stop;
      break;
    case FinishReason::kLength:
      ++stats.requests_length;
      break;
    case FinishReason::kAbort:
      ++stats.requests_abort;
      break;
    case FinishReason::kError:
      ++stats.requests_error;
      break;
  }
}

void ActiveRequest::Finish(FinishReason reason, int32_t stop_token, TimeUs now, StatsSnapshot& stats) {
  if (detokenizer_ && !pending_.stop_string) {
    piece_.clear();
    detokenizer_->Flush(piece_);
    pending_.stop_string = stops_.Append(piece_, pending_.text);
    if (!pending_.stop_string) stops_.Flush(pending_.text);
  }
  if (stop_token >= 0) pending_.stop_token_id = stop_token;
  pending_.finish_reason = pending_.stop_string ? FinishReason::kStop : reason;
  CountFinished(pending_.finish_reason, stats);
  stats.e2e_latency_s.Observe(Seconds(now - arrival_));
  stats.prompt_length.Observe(num_prompt_tokens_);
  stats.generation_length.Observe(num_output_tokens_);
  if (first_token_ >= 0) {
    stats.prefill_time_s.Observe(Seconds(first_token_ - first_scheduled_));
    stats.decode_time_s.Observe(Seconds(last_token_ - first_token_));
    if (num_output_tokens_ > 1) {
      stats.time_per_output_token_s.Observe(Seconds(last_token_ - first_token_) / (num_output_tokens_ - 1));
    }
  }
  has_pending_ = true;
  Publish();
}

void ActiveRequest::Fail(FinishReason reason, Error error, StatsSnapshot& stats) {
  pending_.finish_reason = reason;
  pending_.error = std::move(error);
  CountFinished(reason, stats);
  has_pending_ = true;
  Publish();
}

}  // namespace quire
