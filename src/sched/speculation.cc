#include "sched/speculation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);
// A verified draft moves the estimate by this much towards 1 or 0.
constexpr double kLearn = 0.2;
constexpr double kLearnUsual = 0.02;
// Of the time, spent on drafts that are not worth it by what is known.
constexpr double kTrialShare = 0.01;
constexpr double kMostTrials = 4;  // that may be saved up

}  // namespace

Speculation::Speculation(const DraftOptions& options, std::shared_ptr<Drafter> drafter)
    : options_(options), drafter_(options.max_drafts > 0 ? std::move(drafter) : nullptr) {
  QUIRE_CHECK_LE(options.max_drafts, kMaxDrafts);
}

// Drafts that the sequence could use: none behind its last token, nor for a beam.
uint32_t Speculation::NumUseful(const Decode& decode) {
  const SequenceGroup& group = *decode.group;
  if (!group.has_forked || group.is_beams()) return 0;
  return group.max_total_tokens - decode.sequence->num_tokens() - 1;
}

// Where drafts have to be computed: how many of each are worth that. All of a step go on side by side.
uint32_t Speculation::BestDepth(const StepTimes& times, const StepLoad& load, std::span<const Decode> decodes) const {
  const double draft_us = drafter_->DraftUs();
  if (draft_us <= 0 || !times.known()) return options_.max_drafts;
  const auto position = static_cast<uint32_t>(load.num_pairs / load.num_rows);
  StepLoad with_drafts = load;
  double num_tokens = load.num_rows;
  double best_rate = num_tokens / times.Us(load);
  uint32_t best = 0;
  for (uint32_t depth = 1; depth <= options_.max_drafts; ++depth) {
    for (const Decode& decode : decodes) {
      if (NumUseful(decode) == 0) continue;
      num_tokens += std::pow(AcceptanceOf(*decode.sequence), depth);
      with_drafts.Add(1, position);
    }
    const double rate = num_tokens / (times.Us(with_drafts) + depth * draft_us);
    if (rate <= best_rate) continue;
    best_rate = rate;
    best = depth;
  }
  return best;
}

bool Speculation::TakeTrial(double cost_us) {
  trial_us_ = std::min(trial_us_, kMostTrials * cost_us);
  if (trial_us_ < cost_us) return false;
  trial_us_ -= cost_us;
  return true;
}

double Speculation::AcceptanceOf(const Sequence& sequence) const {
  return sequence.draft_acceptance.value_or(usual_acceptance_);
}

void Speculation::Ask(const Decode& decode, uint32_t max_drafts) {
  const SequenceGroup& group = *decode.group;
  asked_.push_back(kNone);
  const uint32_t num_useful = NumUseful(decode);
  if (num_useful == 0) return;
  asked_.back() = num_requests_;
  if (requests_.size() == num_requests_) requests_.emplace_back();
  DraftRequest& request = requests_[num_requests_++];
  request.request = group.request.id;
  request.stream = decode.sequence->stream;
  request.params = &group.request.params;
  request.tokens = decode.sequence->tokens;
  request.max_drafts = std::min(max_drafts, num_useful);
  request.drafts.clear();
}

void Speculation::ListChoices(std::span<const Decode> decodes) {
  choices_.clear();
  for (size_t i = 0; i < decodes.size(); ++i) {
    if (asked_[i] == kNone) continue;
    const DraftRequest& request = requests_[asked_[i]];
    QUIRE_CHECK_LE(request.drafts.size(), size_t{request.max_drafts});
    const double acceptance = AcceptanceOf(*decodes[i].sequence);
    double probability = 1;
    for (size_t k = 0; k < request.drafts.size(); ++k) {
      probability *= acceptance;
      choices_.push_back({probability, static_cast<uint32_t>(i)});
    }
  }
  std::ranges::stable_sort(choices_, std::ranges::greater(), &Choice::probability);
}

// With how many of the choices the step draws the most tokens per time.
size_t Speculation::BestNumber(const StepTimes& times, const StepLoad& load) const {
  if (!times.known()) return choices_.size();
  const auto position = static_cast<uint32_t>(load.num_pairs / load.num_rows);
  StepLoad with_drafts = load;
  double num_tokens = load.num_rows;
  double best_rate = num_tokens / times.Us(load);
  size_t best = 0;
  for (size_t i = 0; i < choices_.size(); ++i) {
    num_tokens += choices_[i].probability;
    with_drafts.Add(1, position);
    const double rate = num_tokens / times.Us(with_drafts);
    if (rate <= best_rate) continue;
    best_rate = rate;
    best = i + 1;
  }
  return best;
}

void Speculation::Choose(const StepTimes& measured, const StepLoad& load, std::span<const Decode> decodes,
                         uint32_t max_rows) {
  if (!enabled()) return;
  static const StepTimes kUnknown;
  const StepTimes& times = options_.follows_times ? measured : kUnknown;
  asked_.clear();
  num_requests_ = 0;
  num_chosen_.assign(decodes.size(), 0);
  if (decodes.empty()) return;
  trial_us_ += kTrialShare * times.Us(load);
  StepLoad one_more = load;
  ++one_more.num_rows;
  const double row_us = times.Us(one_more) - times.Us(load);
  uint32_t depth = BestDepth(times, load, decodes);
  // Who has not been asked for a while has more to compute.
  const bool is_trial = depth == 0 && TakeTrial(2 * drafter_->DraftUs() + row_us);
  if (is_trial) depth = 1;
  if (depth == 0) return;
  for (const Decode& decode : decodes) Ask(decode, depth);
  if (num_requests_ == 0) return;
  drafter_->Propose(std::span(requests_).first(num_requests_));
  ListChoices(decodes);
  const size_t most = std::min<size_t>(choices_.size(), max_rows);
  size_t number = std::min(BestNumber(times, load), most);
  if (number < most && ((is_trial && number == 0) || TakeTrial(row_us))) ++number;
  for (size_t i = 0; i < number; ++i) ++num_chosen_[choices_[i].decode];
}

std::span<const int32_t> Speculation::DraftsOf(size_t index) const {
  if (!enabled() || num_chosen_[index] == 0) return {};
  return std::span(requests_[asked_[index]].drafts).first(num_chosen_[index]);
}

void Speculation::Observe(Sequence& sequence, uint32_t num_drafts, uint32_t num_accepted) {
  ++counters_.num_drafts;
  counters_.num_draft_tokens += num_drafts;
  counters_.num_accepted_tokens += num_accepted;
  double acceptance = AcceptanceOf(sequence);
  for (uint32_t i = 0; i < num_accepted; ++i) {
    ++counters_.accepted_at[i];
    acceptance += kLearn * (1 - acceptance);
    usual_acceptance_ += kLearnUsual * (1 - usual_acceptance_);
  }
  if (num_accepted < num_drafts) {
    acceptance -= kLearn * acceptance;
    usual_acceptance_ -= kLearnUsual * usual_acceptance_;
  }
  sequence.draft_acceptance = acceptance;
}

void Speculation::Forget(RequestId request) {
  if (enabled()) drafter_->Forget(request);
}

}  // namespace quire
