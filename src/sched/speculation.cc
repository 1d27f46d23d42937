#include "sched/speculation.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);
// A verified draft moves the estimate by this much towards 1 or 0. A step whose drafts were not worth their rows moves
// it up a little, so that one is tried now and then, every dozen steps or so where none is right.
constexpr double kLearn = 0.2;
constexpr double kHope = 0.002;
constexpr double kLearnUsual = 0.02;

}  // namespace

Speculation::Speculation(uint32_t max_drafts, std::shared_ptr<Drafter> drafter)
    : max_drafts_(max_drafts), drafter_(max_drafts > 0 ? std::move(drafter) : nullptr) {
  QUIRE_CHECK_LE(max_drafts, kMaxDrafts);
}

double Speculation::AcceptanceOf(const Sequence& sequence) const {
  return sequence.draft_acceptance.value_or(usual_acceptance_);
}

void Speculation::Ask(const Decode& decode) {
  const SequenceGroup& group = *decode.group;
  const uint32_t num_left = group.max_total_tokens - decode.sequence->num_tokens();  // to be drawn, at least 1
  asked_.push_back(kNone);
  if (!group.has_forked || group.is_beams() || num_left == 1) return;
  asked_.back() = num_requests_;
  if (requests_.size() == num_requests_) requests_.emplace_back();
  DraftRequest& request = requests_[num_requests_++];
  request.request = group.request.id;
  request.stream = decode.sequence->stream;
  request.tokens = decode.sequence->tokens;
  request.max_drafts = std::min(max_drafts_, num_left - 1);
  request.drafts.clear();
}

void Speculation::ListOptions(std::span<const Decode> decodes) {
  options_.clear();
  for (size_t i = 0; i < decodes.size(); ++i) {
    if (asked_[i] == kNone) continue;
    const DraftRequest& request = requests_[asked_[i]];
    QUIRE_CHECK_LE(request.drafts.size(), size_t{request.max_drafts});
    const double acceptance = AcceptanceOf(*decodes[i].sequence);
    double probability = 1;
    for (size_t k = 0; k < request.drafts.size(); ++k) {
      probability *= acceptance;
      options_.push_back({probability, static_cast<uint32_t>(i)});
    }
  }
  std::ranges::stable_sort(options_, std::ranges::greater(), &Option::probability);
}

// With how many of the options the step draws the most tokens per time.
size_t Speculation::BestNumber(const StepTimes& times, const StepLoad& load) const {
  if (!times.known()) return options_.size();
  const auto position = static_cast<uint32_t>(load.num_pairs / load.num_rows);
  StepLoad with_drafts = load;
  double num_tokens = load.num_rows;
  double best_rate = num_tokens / times.Us(load);
  size_t best = 0;
  for (size_t i = 0; i < options_.size(); ++i) {
    num_tokens += options_[i].probability;
    with_drafts.Add(1, position);
    const double rate = num_tokens / times.Us(with_drafts);
    if (rate <= best_rate) continue;
    best_rate = rate;
    best = i + 1;
  }
  return best;
}

void Speculation::Choose(const StepTimes& times, const StepLoad& load, std::span<const Decode> decodes,
                         uint32_t max_rows) {
  if (!enabled()) return;
  asked_.clear();
  num_requests_ = 0;
  for (const Decode& decode : decodes) Ask(decode);
  num_chosen_.assign(decodes.size(), 0);
  if (num_requests_ == 0) return;
  drafter_->Propose(std::span(requests_).first(num_requests_));
  ListOptions(decodes);
  const size_t num_best = std::min<size_t>(BestNumber(times, load), max_rows);
  for (size_t i = 0; i < num_best; ++i) ++num_chosen_[options_[i].decode];
  for (size_t i = 0; i < decodes.size(); ++i) {
    if (num_chosen_[i] > 0 || asked_[i] == kNone || requests_[asked_[i]].drafts.empty()) continue;
    Sequence& sequence = *decodes[i].sequence;
    sequence.draft_acceptance = std::min(AcceptanceOf(sequence) + kHope, 1.0);
  }
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
