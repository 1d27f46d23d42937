// StepDriver: the steps of a scheduler, computed by a runner, one after the other: plan, run, apply, with the
// scheduler's invariants checked wherever it has changed. What tests of whole schedules drive; one thread.
#pragma once

#include <gtest/gtest.h>

#include <span>

#include "sched/scheduler.h"
#include "sched/step_runner.h"

namespace quire {

class StepDriver {
 public:
  // Both outlive it.
  StepDriver(Scheduler& scheduler, StepRunner& runner) : scheduler_(scheduler), runner_(runner) {}

  // A whole step. Its events are valid as long as those of Scheduler::Apply; an empty plan is not run and has none.
  std::span<const SchedulerEvent> Step() {
    if (has_failed_ || Plan().empty()) return {};
    Run();
    return Apply();
  }
  // Whether there is a step to take: none once the runner has failed, which fails the test.
  bool HasWork() const { return !has_failed_ && scheduler_.HasWork(); }
  bool has_failed() const { return has_failed_; }

  // The parts of a step, for tests that look or act between them.
  const StepPlan& Plan() {
    plan_ = &scheduler_.Plan();
    scheduler_.CheckInvariants();
    return *plan_;
  }
  void Run() {
    const Status status = runner_.Run(*plan_, result_);
    has_failed_ = has_failed_ || !status.ok();
    EXPECT_TRUE(status.ok()) << "step " << plan_->step << ": " << status.error().message;
  }
  std::span<const SchedulerEvent> Apply() {
    if (has_failed_) return {};
    const std::span<const SchedulerEvent> events = scheduler_.Apply(result_);
    scheduler_.CheckInvariants();
    return events;
  }

  // Of the latest step, until the next is planned. REQUIRES: there was one.
  const StepPlan& plan() const { return *plan_; }
  const StepResult& result() const { return result_; }

 private:
  Scheduler& scheduler_;
  StepRunner& runner_;
  const StepPlan* plan_ = nullptr;
  StepResult result_;
  bool has_failed_ = false;
};

}  // namespace quire
