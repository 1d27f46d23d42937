// StepPlan, StepMasks and StepResult as bytes: to another process, or into a trace. Little-endian, fixed-width fields,
// a version byte in front, every count checked against what is left: truncated or altered bytes are an error, never a
// crash.
#pragma once

#include <string>
#include <string_view>

#include "quire/result.h"
#include "sched/step_plan.h"

namespace quire {

inline constexpr uint8_t kStepPlanFormat = 5;

void AppendBytes(const StepPlan& plan, std::string& out);
void AppendBytes(const StepMasks& masks, std::string& out);
void AppendBytes(const StepResult& result, std::string& out);

// `bytes` is exactly one value. The destination's capacity is reused; after an error its content is unspecified.
Status ParseBytes(std::string_view bytes, StepPlan& plan);
Status ParseBytes(std::string_view bytes, StepMasks& masks);
Status ParseBytes(std::string_view bytes, StepResult& result);

}  // namespace quire
