// BeamSearch: which continuations of a group's beams live on, as in the paper's section 4.4 and, to the rule, in
// Transformers' generate(num_beams): from every beam its most likely next tokens, by cumulative log-probability over
// all beams; those that end (EOS, a stop token, the longest length) among the best `width` become hypotheses; the best
// others live on. Pure host logic: it sees scores and tokens, no blocks and no seats. One thread.
//
// Scores are float32 sums, as Transformers keeps them. Equal sums go to the smaller beam, then in the order of its
// candidates (the likelier token, of equals the smaller id); equal scores to the hypothesis that ended earlier. So the
// outcome is a function of the prompt, the parameters and the model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sched/request.h"
#include "sched/step_plan.h"
#include "sched/stop_rules.h"

namespace quire {

class BeamSearch {
 public:
  static constexpr float kLost = -1e9F;

  // REQUIRES: the request outlives the search; its prompt is shorter than max_total_tokens.
  // A hypothesis ends when prompt and output have max_total_tokens. Before min_tokens nothing else ends one; there the
  // candidates hold no token that would (the sampler masks them).
  BeamSearch(const Request& request, uint32_t max_total_tokens);

  uint32_t width() const { return width_; }
  // How many of each beam's best tokens a step must see: width, and one for every token that ends a hypothesis.
  // Whatever ends, enough live on; no other token could be among the best width of all, or of those that live on.
  uint32_t num_candidates() const { return num_candidates_; }

  // A beam that lives on: `token` after what beam `parent` said, with the cumulative log-probability.
  struct Survivor {
    uint32_t parent = 0;
    int32_t token = 0;
    float sum = 0;
    uint32_t rank = 0;  // of the token among its parent's candidates: 0 is the most likely
  };
  // A hypothesis that ended with this step: `token` after what beam `parent` said. It takes this place among the best.
  struct Ended {
    uint32_t place = 0;  // 0 to width - 1: whatever was kept there goes
    uint32_t parent = 0;
    int32_t token = 0;
    float sum = 0;
    float score = 0;  // sum / (number of generated tokens, with this one, ^ length_penalty)
    uint32_t rank = 0;
    FinishReason reason = FinishReason::kStop;
    int32_t stop_token = -1;  // the member of stop_token_ids that ended it, or -1
  };
  struct Outcome {
    bool done = false;  // the search is over: what was kept, by descending score, is the answer
    // [width] unless done. A parent that has any survivor keeps one of them in its own place (survivors[parent].parent
    // == parent, its best), so that only the others are forks. Those take the free places, the best the smallest.
    // Where fewer candidates live on than width (a vocabulary or a mask that leaves too few), copies of the best one
    // fill up: they have lost (their sum is kLost), nothing that follows them counts, and better ones replace them.
    std::span<const Survivor> survivors;
    std::span<const Ended> ended;  // in the order in which they take their places
  };

  // `best`: for each of the num_beams() beams its num_candidates() most likely next tokens, best first (fewer only if
  // the vocabulary has fewer). The outcome is valid until the next call.
  Outcome Step(std::span<const std::span<const TokenOutput>> best);

  // Beams that run: 1 before the first step (the prompt), then width.
  uint32_t num_beams() const { return static_cast<uint32_t>(sums_.size()); }
  float sum(uint32_t beam) const { return sums_[beam]; }
  // Tokens generated so far, by every running beam.
  uint32_t num_generated() const { return num_generated_; }
  // The places of the kept hypotheses, best score first.
  std::vector<uint32_t> RankedPlaces() const;

 private:
  // A beam's next candidate in the merge of all beams' candidates.
  struct Head {
    uint32_t rank = 0;
    float sum = kLost;  // kLost: the beam has none
  };
  struct Kept {
    uint32_t place = 0;
    float score = 0;
  };

  Head HeadAt(std::span<const std::span<const TokenOutput>> best, uint32_t beam, uint32_t rank) const;
  bool TakeBest(std::span<const std::span<const TokenOutput>> best, Survivor& candidate);
  void Divide(std::span<const std::span<const TokenOutput>> best);
  void Keep(const Survivor& candidate, const StopDecision& stop);
  float LengthFactor(uint32_t num_tokens) const;
  bool IsDone() const;
  void PlaceSurvivors();

  const Request& request_;  // the group's own
  const uint32_t max_total_tokens_;
  const uint32_t width_;
  const uint32_t num_candidates_;
  uint32_t num_generated_ = 0;
  std::vector<float> sums_;  // of the running beams
  std::vector<Kept> kept_;   // up to width, best score first, of equals the one that ended earlier

  // One step's, kept for their capacity.
  std::vector<Head> heads_;          // [num_beams]
  std::vector<Survivor> living_;     // up to width, best first
  std::vector<Survivor> forks_;      // of these, without the best of each parent
  std::vector<Survivor> survivors_;  // by place
  std::vector<Ended> ended_;
};

}  // namespace quire
