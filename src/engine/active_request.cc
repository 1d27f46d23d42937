#include "engine/active_request.h"

#include <algorithm>
#include <utility>

namespace quire {
namespace {

double Seconds(TimeUs duration) { return static_cast<double>(duration) * 1e-6; }

}  // namespace

ActiveRequest::ActiveRequest(const Submission& submission, const Tokenizer* tokenizer)
    : queue_(submission.queue),
      external_id_(submission.request.external_id),
      num_choices_(static_cast<uint32_t>(submission.request.params.n)),
      beams_(submission.request.params.use_beam_search),
      num_prompt_logprobs_(submission.request.params.prompt_logprobs),
      num_prompt_tokens_(static_cast<uint32_t>(submission.request.prompt.size())),
      arrival_(submission.request.arrival) {
  const auto num_streams =
      beams_ ? num_choices_ : static_cast<uint32_t>(submission.request.params.num_streams());  // that are told of
  gathers_ = num_streams > num_choices_;
  told_end_.resize(num_choices_);
  streams_.reserve(num_streams);
  for (uint32_t i = 0; i < num_streams; ++i) {
    streams_.emplace_back(submission.request, tokenizer, submission.shown_logprobs);
  }
}

uint32_t ActiveRequest::num_output_tokens() const {
  uint32_t count = 0;
  for (const StreamOutput& stream : streams_) count += stream.num_tokens();
  return count;
}

void ActiveRequest::OnAdmitted(uint32_t num_cached_tokens, TimeUs now, StatsSnapshot& stats) {
  if (started()) return;  // back from a preemption
  first_scheduled_ = now;
  num_cached_tokens_ = num_cached_tokens;
  stats.queue_time_s.Observe(Seconds(now - arrival_));
}

void ActiveRequest::OnPromptLogprobs(std::span<const TokenOutput> tokens, std::span<const Candidate> candidates) {
  if (!num_prompt_logprobs_ || prompt_logprobs_ != nullptr) return;
  if (scores_.empty()) scores_.emplace_back();  // nothing comes before the first
  for (const TokenOutput& token : tokens) scores_.push_back(ToTokenLogprob(token, candidates, *num_prompt_logprobs_));
}

bool ActiveRequest::OnTokens(const SchedulerEvent& event, TimeUs now, StatsSnapshot& stats) {
  StreamOutput& output = streams_[event.stream];
  const std::span<const TokenOutput> tokens = event.tokens;
  if (first_token_ < 0) {
    first_token_ = now;
    stats.time_to_first_token_s.Observe(Seconds(now - arrival_));
    stats.prompt_tokens += num_prompt_tokens_;
    stats.prompt_tokens_cached += num_cached_tokens_;
    if (num_prompt_logprobs_) {
      if (scores_.empty()) scores_.emplace_back();  // a prompt of one token
      prompt_logprobs_ = std::make_shared<const PromptLogprobs>(std::move(scores_));
    }
  }
  if (output.last_token >= 0) {
    const double interval = Seconds(now - output.last_token) / static_cast<double>(tokens.size());
    stats.inter_token_latency_s.Observe(interval, tokens.size());
  }
  output.last_token = last_token_ = now;
  for (const TokenOutput& token : tokens) {
    ++stats.generation_tokens;
    const bool ends_answer = event.ends_by_token && &token == &tokens.back();
    if (output.Append(token, event.candidates, ends_answer)) return !beams_;  // a hypothesis' end follows in any case
  }
  return false;
}

void ActiveRequest::Push(StreamOutput& stream, uint32_t choice) {
  OutputDelta delta = stream.Take();
  delta.choice = choice;
  delta.prompt_logprobs = prompt_logprobs_;
  delta.num_prompt_tokens = num_prompt_tokens_;
  delta.num_cached_tokens = num_cached_tokens_;
  delta.num_output_tokens = stream.num_tokens();
  const bool ends = delta.finished();
  queue_->Push(std::move(delta));
  if (ends) told_end_[choice] = true;
}

void ActiveRequest::Publish(uint32_t stream) {
  if (!gathers_ && streams_[stream].has_pending()) Push(streams_[stream], stream);
}

bool ActiveRequest::EndStream(uint32_t stream, const StreamEnd& end, TimeUs now, StatsSnapshot& stats) {
  streams_[stream].End(end.reason, end.stop_token, beams_ ? std::optional(end.score) : std::nullopt);
  const bool last = ++num_ended_ == streams_.size();
  if (last) Complete(now, stats);
  return last;
}

std::vector<StreamOutput*> ActiveRequest::BestFirst() {
  std::vector<StreamOutput*> ranked;
  for (StreamOutput& stream : streams_) ranked.push_back(&stream);
  std::ranges::stable_sort(ranked, [](const auto* a, const auto* b) { return a->MeanLogprob() > b->MeanLogprob(); });
  ranked.resize(num_choices_);
  return ranked;
}

void ActiveRequest::Complete(TimeUs now, StatsSnapshot& stats) {
  stats.e2e_latency_s.Observe(Seconds(now - arrival_));
  stats.prompt_length.Observe(num_prompt_tokens_);
  stats.generation_length.Observe(num_output_tokens());
  uint32_t longest = 0;
  for (const StreamOutput& stream : streams_) longest = std::max(longest, stream.num_tokens());
  stats.longest_generation.Observe(longest);
  if (first_token_ >= 0) {
    stats.prefill_time_s.Observe(Seconds(first_token_ - first_scheduled_));
    stats.inference_time_s.Observe(Seconds(last_token_ - first_scheduled_));
    stats.prefill_computed_tokens.Observe(num_prompt_tokens_ - num_cached_tokens_);
    stats.decode_time_s.Observe(Seconds(last_token_ - first_token_));
    if (longest > 1) stats.time_per_output_token_s.Observe(Seconds(last_token_ - first_token_) / (longest - 1));
  }
  ++stats.finished[streams_.front().reason()];
}

void ActiveRequest::PublishEnd() {
  if (!gathers_) {
    for (uint32_t stream = 0; stream < num_choices_; ++stream) Publish(stream);
    return;
  }
  uint32_t choice = 0;
  for (StreamOutput* stream : BestFirst()) Push(*stream, choice++);
}

void ActiveRequest::Fail(FinishReason reason, const Error& error) {
  for (uint32_t choice = 0; choice < num_choices_; ++choice) {
    if (told_end_[choice]) continue;
    streams_[choice].Fail(reason, error);
    Push(streams_[choice], choice);
  }
}

}  // namespace quire
