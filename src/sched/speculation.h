// Speculation: which drafts of a step are verified. A draft costs a row, and is worth the token that its acceptance
// saves a step: of all that are proposed the step takes those, the likeliest first, with which it is expected to draw
// the most tokens per time. How likely is learnt from each sequence's own drafts; what rows cost from StepTimes. So
// where rows are cheap many are tried, where they cost compute only the likely ones, and none where none is accepted,
// but for the likeliest now and then, for a hundredth of the time, that finds out whether that has changed. Host logic;
// no thread safety.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sched/drafter.h"
#include "sched/sequence.h"
#include "sched/speculation_counters.h"
#include "sched/step_builder.h"
#include "sched/step_times.h"

namespace quire {

struct DraftOptions {
  uint32_t max_drafts = 0;    // of one sequence in a step, up to kMaxDrafts
  bool follows_times = true;  // otherwise all drafts are verified
};

class Speculation {
 public:
  // Null: no drafts.
  Speculation(const DraftOptions& options, std::shared_ptr<Drafter> drafter);

  bool enabled() const { return drafter_ != nullptr; }
  const SpeculationCounters& counters() const { return counters_; }

  // Of a step's sequences that decode: asks for drafts of those that are samples, and chooses at most max_rows of them.
  // `load`: of the step without any.
  void Choose(const StepTimes& times, const StepLoad& load, std::span<const Decode> decodes, uint32_t max_rows);
  // Of the sequence at this place of `decodes`, until the next Choose.
  std::span<const int32_t> DraftsOf(size_t index) const;

  // Of num_drafts drafts of a sequence the first num_accepted were right.
  void Observe(Sequence& sequence, uint32_t num_drafts, uint32_t num_accepted);
  void Forget(RequestId request);

 private:
  // A draft that could be verified; those of a sequence in their order.
  struct Choice {
    double probability = 0;  // that it is accepted
    uint32_t decode = 0;     // whose it is
  };

  static uint32_t NumUseful(const Decode& decode);
  double AcceptanceOf(const Sequence& sequence) const;
  void Ask(const Decode& decode, uint32_t max_drafts);
  bool TakeTrial(double cost_us);
  uint32_t BestDepth(const StepTimes& times, const StepLoad& load, std::span<const Decode> decodes) const;
  void ListChoices(std::span<const Decode> decodes);
  size_t BestNumber(const StepTimes& times, const StepLoad& load) const;

  const DraftOptions options_;
  const std::shared_ptr<Drafter> drafter_;
  double usual_acceptance_ = 0.7;  // of a sequence whose drafts have not been tried
  double trial_us_ = 0;            // that may be spent on drafts that seem not worth it
  SpeculationCounters counters_;

  // Of one step, kept for their capacity.
  std::vector<size_t> asked_;           // [decodes]: its place in requests_, or kNone
  std::vector<DraftRequest> requests_;  // the first num_requests_ are this step's
  size_t num_requests_ = 0;
  std::vector<Choice> choices_;
  std::vector<uint32_t> num_chosen_;  // [decodes]
};

}  // namespace quire
