// Step: a plan with what its result will be applied to. A value: it says nothing about who is still there by then.
#pragma once

#include <cstdint>
#include <vector>

#include "sched/chunk_budget.h"
#include "sched/ids.h"
#include "sched/step_plan.h"
#include "sched/step_times.h"

namespace quire {

struct Step {
  StepPlan plan;
  std::vector<RequestId> owners;  // by span of the plan: whose seat it was
  StepLoad load;                  // of all rows
  StepLoad decodes;               // of these
  ChunkLimit limit;               // of the others
};

}  // namespace quire
