// What the tests of BeamSearch share: requests, and a slow search to compare it with, which looks at every continuation
// of every beam.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <ostream>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "sched/request.h"

namespace quire {

// The log-probability of every token after some output.
using LogprobTable = std::function<std::vector<float>(const std::vector<int32_t>& output)>;

struct EndedBeam {
  std::vector<int32_t> output;
  float sum = 0;
  float score = 0;
  FinishReason reason = FinishReason::kStop;
  int32_t stop_token = -1;
  friend bool operator==(const EndedBeam&, const EndedBeam&) = default;
};

inline void PrintTo(const EndedBeam& beam, std::ostream* out) {
  *out << ::testing::PrintToString(beam.output) << " sum " << beam.sum << " score " << beam.score << " "
       << FinishReasonName(beam.reason) << " " << beam.stop_token;
}

struct RunningBeam {
  std::vector<int32_t> output;
  float sum = 0;
  bool lost = false;
  friend bool operator==(const RunningBeam&, const RunningBeam&) = default;
};

inline std::vector<int32_t> Extended(std::vector<int32_t> output, int32_t token) {
  output.push_back(token);
  return output;
}

// The rule as Transformers states it, over the whole [beams, vocabulary] table of sums.
class ExhaustiveBeamSearch {
 public:
  ExhaustiveBeamSearch(const Request& request, uint32_t max_total_tokens, LogprobTable table)
      : params_(request.params), table_(std::move(table)), max_output_(max_total_tokens - request.prompt.size()) {
    if (!params_.ignore_eos) eos_.insert(request.eos_token_ids.begin(), request.eos_token_ids.end());
    stop_.insert(params_.stop_token_ids.begin(), params_.stop_token_ids.end());
    width_ = static_cast<size_t>(params_.num_streams());
  }

  void Step() {
    ++length_;
    std::vector<Continuation> top = AllContinuations();
    std::set<int32_t> ending = eos_;
    ending.insert(stop_.begin(), stop_.end());
    top.resize(std::min(top.size(), std::max<size_t>(2, 1 + ending.size()) * width_));

    std::vector<Continuation> living;
    for (size_t i = 0; i < top.size(); ++i) {
      if (!Ends(top[i].token)) {
        if (living.size() < width_) living.push_back(top[i]);
      } else if (i < width_) {
        finished_.push_back(Finished(top[i]));
      }
    }
    std::ranges::stable_sort(finished_, std::greater<>(), &EndedBeam::score);
    finished_.resize(std::min(finished_.size(), width_));
    done_ = living.empty() || (finished_.size() == width_ && IsContent(living[0].sum));
    if (!done_) beams_ = Placed(living);
  }

  bool done() const { return done_; }
  const std::vector<RunningBeam>& beams() const { return beams_; }
  const std::vector<EndedBeam>& finished() const { return finished_; }

 private:
  struct Continuation {
    size_t beam;
    int32_t token;
    float logprob, sum;
  };

  std::vector<Continuation> AllContinuations() const {
    std::vector<Continuation> all;
    for (size_t beam = 0; beam < beams_.size(); ++beam) {
      if (beams_[beam].lost) continue;
      const std::vector<float> logprobs = table_(beams_[beam].output);
      for (size_t token = 0; token < logprobs.size(); ++token) {
        all.push_back({beam, static_cast<int32_t>(token), logprobs[token], beams_[beam].sum + logprobs[token]});
      }
    }
    std::ranges::sort(all, [](const Continuation& a, const Continuation& b) {
      return std::tuple(-a.sum, a.beam, -a.logprob, a.token) < std::tuple(-b.sum, b.beam, -b.logprob, b.token);
    });
    return all;
  }

  bool Ends(int32_t token) const { return eos_.contains(token) || stop_.contains(token) || length_ >= max_output_; }

  EndedBeam Finished(const Continuation& from) const {
    const bool is_eos = eos_.contains(from.token);
    const bool is_stop = !is_eos && stop_.contains(from.token);
    return {.output = Extended(beams_[from.beam].output, from.token),
            .sum = from.sum,
            .score = from.sum / Factor(length_),
            .reason = is_eos || is_stop ? FinishReason::kStop : FinishReason::kLength,
            .stop_token = is_stop ? from.token : -1};
  }

  float Factor(size_t length) const {
    return static_cast<float>(std::pow(static_cast<double>(length), static_cast<double>(params_.length_penalty)));
  }

  bool IsContent(float best_running) const {
    float worst = finished_[0].score;
    for (const EndedBeam& beam : finished_) worst = std::min(worst, beam.score);
    const bool hopes = params_.early_stopping == EarlyStopping::kNever && params_.length_penalty > 0;
    if (params_.early_stopping == EarlyStopping::kAlways) return true;
    return best_running / Factor(hopes ? max_output_ : length_) <= worst;
  }

  std::vector<RunningBeam> Placed(const std::vector<Continuation>& living) const {
    std::vector<RunningBeam> placed(width_, RunningBeam{});
    std::vector<bool> taken(width_, false), is_placed(living.size(), false);
    const auto put = [&](size_t place, const Continuation& from, bool lost) {
      placed[place] = {Extended(beams_[from.beam].output, from.token), from.sum, lost};
      taken[place] = true;
    };
    for (size_t i = 0; i < living.size(); ++i) {
      if (taken[living[i].beam]) continue;
      put(living[i].beam, living[i], false);
      is_placed[i] = true;
    }
    const auto first_free = [&] { return static_cast<size_t>(std::ranges::find(taken, false) - taken.begin()); };
    for (size_t i = 0; i < living.size(); ++i) {
      if (!is_placed[i]) put(first_free(), living[i], false);
    }
    while (first_free() < width_) put(first_free(), living[0], true);
    return placed;
  }

  const SamplingParams& params_;
  const LogprobTable table_;
  const size_t max_output_;
  size_t width_ = 0;
  std::set<int32_t> eos_, stop_;
  size_t length_ = 0;
  bool done_ = false;
  std::vector<RunningBeam> beams_ = {RunningBeam{}};
  std::vector<EndedBeam> finished_;  // best first
};

inline Request MakeBeamRequest(int32_t width, const std::vector<int32_t>& eos = {}) {
  Request request;
  request.prompt = {0};
  request.eos_token_ids = eos;
  request.params.use_beam_search = true;
  request.params.beam_width = width;
  return request;
}

}  // namespace quire
