// What became of drafts, from the scheduler to /metrics.
#pragma once

#include <array>
#include <cstdint>

#include "sched/drafter.h"

namespace quire {

struct SpeculationCounters {
  uint64_t num_drafts = 0;                            // sequences' steps with drafts
  uint64_t num_draft_tokens = 0;                      // that were verified
  uint64_t num_accepted_tokens = 0;                   // of these
  std::array<uint64_t, kMaxDrafts> accepted_at = {};  // [place]: how often the first, second, ... draft was accepted
};

}  // namespace quire
