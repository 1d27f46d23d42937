// StepRunner: the seam for real, simulated and distributed execution of plans.
#pragma once

#include "quire/result.h"
#include "sched/step_plan.h"

namespace quire {

class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Starts a step. The plan may be reused once Submit returns. One step is in flight at a time.
  virtual Status Submit(const StepPlan& plan) = 0;
  // Only for plans with masks_follow.
  virtual Status Sample(const StepMasks& masks) = 0;
  // Waits for the step and moves its result into `result`, whose capacity is reused. An error means that the runner
  // cannot go on.
  virtual Status Collect(StepResult& result) = 0;

  // A whole step, for callers that do nothing beside it.
  Status Run(const StepPlan& plan, StepResult& result) {
    QUIRE_RETURN_IF_ERROR(Submit(plan));
    return Collect(result);
  }
};

}  // namespace quire
