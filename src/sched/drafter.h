// Drafter: guesses what sequences say next, to be verified in one step. A guess decides about time only: what is drawn
// never depends on it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quire/sampling_params.h"
#include "sched/ids.h"

namespace quire {

// Of one sequence in a step, at most.
inline constexpr uint32_t kMaxDrafts = 32;

struct DraftRequest {
  RequestId request = {};
  uint32_t stream = 0;
  const SamplingParams* params = nullptr;
  std::span<const int32_t> tokens;  // prompt and output; what was there in an earlier call still begins it
  uint32_t max_drafts = 0;          // at least 1
  std::vector<int32_t> drafts;      // empty before the call: at most max_drafts tokens that may follow
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  // Of all sequences that are about to decode, each once.
  virtual void Propose(std::span<DraftRequest> requests) = 0;
  // The request has ended.
  virtual void Forget(RequestId request) = 0;
  // What one draft more of all sequences costs, as measured. 0: next to nothing, or not known yet.
  virtual double DraftUs() const { return 0; }
};

}  // namespace quire
