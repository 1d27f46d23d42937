#include "sched/beam_search.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace quire {
namespace {

constexpr uint32_t kNoParent = UINT32_MAX;

uint32_t NumEndingTokens(const Request& request) {
  std::vector<int32_t> ids = request.params.stop_token_ids;
  if (!request.params.ignore_eos) ids.insert(ids.end(), request.eos_token_ids.begin(), request.eos_token_ids.end());
  std::ranges::sort(ids);
  return static_cast<uint32_t>(std::unique(ids.begin(), ids.end()) - ids.begin());
}

}  // namespace

BeamSearch::BeamSearch(const Request& request, uint32_t max_total_tokens)
    : request_(request),
      max_total_tokens_(max_total_tokens),
      width_(static_cast<uint32_t>(request.params.num_streams())),
      num_candidates_(width_ + NumEndingTokens(request)) {
  QUIRE_CHECK_LT(request.prompt.size(), max_total_tokens);
  sums_.reserve(width_);
  sums_.push_back(0);
  kept_.reserve(width_);
  heads_.reserve(width_);
  living_.reserve(width_);
  forks_.reserve(width_);
  survivors_.resize(width_);
  ended_.reserve(width_);
}

BeamSearch::Outcome BeamSearch::Step(std::span<const std::span<const TokenOutput>> best) {
  QUIRE_CHECK_EQ(best.size(), sums_.size());
  ++num_generated_;
  Divide(best);
  if (IsDone()) return {.done = true, .survivors = {}, .ended = ended_};
  PlaceSurvivors();
  return {.done = false, .survivors = survivors_, .ended = ended_};
}

std::vector<uint32_t> BeamSearch::RankedPlaces() const {
  std::vector<uint32_t> places;
  for (const Kept& kept : kept_) places.push_back(kept.place);
  return places;
}

// Goes through the candidates of all beams, best first, until enough of them live on. Only the best width may be kept
// when they end; those behind them that end are passed over.
void BeamSearch::Divide(std::span<const std::span<const TokenOutput>> best) {
  living_.clear();
  ended_.clear();
  heads_.clear();
  for (uint32_t beam = 0; beam < num_beams(); ++beam) heads_.push_back(HeadAt(best, beam, 0));

  const auto num_total = static_cast<uint32_t>(request_.prompt.size()) + num_generated_;
  const size_t wanted = num_total < max_total_tokens_ ? width_ : 0;
  Survivor candidate;
  for (uint32_t i = 0; (i < width_ || living_.size() < wanted) && TakeBest(best, candidate); ++i) {
    const StopDecision stop = CheckStop(request_, {.token = candidate.token,
                                                   .num_output = num_generated_,
                                                   .num_total = num_total,
                                                   .max_model_len = max_total_tokens_});
    if (stop.reason == FinishReason::kNone) {
      living_.push_back(candidate);
    } else if (i < width_) {
      Keep(candidate, stop);
    }
  }
}

BeamSearch::Head BeamSearch::HeadAt(std::span<const std::span<const TokenOutput>> best, uint32_t beam,
                                    uint32_t rank) const {
  if (sums_[beam] == kLost || rank >= best[beam].size()) return {};
  return {.rank = rank, .sum = sums_[beam] + best[beam][rank].logprob};
}

// False if there is none.
bool BeamSearch::TakeBest(std::span<const std::span<const TokenOutput>> best, Survivor& candidate) {
  uint32_t beam = 0;
  for (uint32_t other = 1; other < heads_.size(); ++other) {
    if (heads_[other].sum > heads_[beam].sum) beam = other;
  }
  Head& head = heads_[beam];
  if (!(head.sum > kLost)) return false;
  candidate = {.parent = beam, .token = best[beam][head.rank].token, .sum = head.sum, .rank = head.rank};
  head = HeadAt(best, beam, head.rank + 1);
  return true;
}

// The candidate becomes a hypothesis if there is room or it beats the worst. One that came in with this step never goes
// again with it: the candidates come best first and are all of one length.
void BeamSearch::Keep(const Survivor& candidate, const StopDecision& stop) {
  const float score = candidate.sum / LengthFactor(num_generated_);
  auto place = static_cast<uint32_t>(kept_.size());
  if (place == width_) {
    if (!(score > kept_.back().score)) return;
    place = kept_.back().place;
    kept_.pop_back();
  }
  const auto worse = std::ranges::find_if(kept_, [&](const Kept& kept) { return score > kept.score; });
  kept_.insert(worse, {.place = place, .score = score});
  ended_.push_back({.place = place,
                    .parent = candidate.parent,
                    .token = candidate.token,
                    .sum = candidate.sum,
                    .score = score,
                    .rank = candidate.rank,
                    .reason = stop.reason,
                    .stop_token = stop.stop_token});
}

float BeamSearch::LengthFactor(uint32_t num_tokens) const {
  return static_cast<float>(std::pow(static_cast<double>(num_tokens), double{request_.params.length_penalty}));
}

// Nothing lives on, or what does is not worth following: the best running beam, at the length that early_stopping
// assumes, does not beat the worst hypothesis.
bool BeamSearch::IsDone() const {
  if (living_.empty()) return true;
  if (kept_.size() < width_) return false;
  const SamplingParams& params = request_.params;
  if (params.early_stopping == EarlyStopping::kAlways) return true;
  const bool may_gain = params.early_stopping == EarlyStopping::kNever && params.length_penalty > 0;
  const uint32_t longest = max_total_tokens_ - static_cast<uint32_t>(request_.prompt.size());
  const float best_possible = living_.front().sum / LengthFactor(may_gain ? longest : num_generated_);
  return !(best_possible > kept_.back().score);
}

void BeamSearch::PlaceSurvivors() {
  for (Survivor& place : survivors_) place.parent = kNoParent;
  forks_.clear();
  for (const Survivor& survivor : living_) {
    Survivor& own = survivors_[survivor.parent];
    if (own.parent == kNoParent) {
      own = survivor;
    } else {
      forks_.push_back(survivor);
    }
  }
  Survivor lost = living_.front();
  lost.sum = kLost;
  forks_.resize(forks_.size() + width_ - living_.size(), lost);

  auto next = forks_.begin();
  sums_.resize(width_);
  for (uint32_t place = 0; place < width_; ++place) {
    if (survivors_[place].parent == kNoParent) survivors_[place] = *next++;
    sums_[place] = survivors_[place].sum;
  }
}

}  // namespace quire
