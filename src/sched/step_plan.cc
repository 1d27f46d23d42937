#include "sched/step_plan.h"

#include "sched/step_fields.h"

namespace quire {

bool operator==(const Admission& a, const Admission& b) { return EqualFields(a, b); }

bool operator==(const StepPlan& a, const StepPlan& b) { return EqualFields(a, b); }

bool operator==(const StepMasks& a, const StepMasks& b) { return EqualFields(a, b); }

bool operator==(const StepResult& a, const StepResult& b) { return EqualFields(a, b); }

namespace {

// Keeps the capacity of lists.
template <typename T>
void ClearFields(T& value) {
  ForEachField<T>([&](const char*, auto member) {
    auto& field = value.*member;
    if constexpr (requires { field.clear(); }) {
      field.clear();
    } else {
      field = {};
    }
  });
}

}  // namespace

void StepPlan::Clear() { ClearFields(*this); }

void StepResult::Clear() { ClearFields(*this); }

}  // namespace quire
