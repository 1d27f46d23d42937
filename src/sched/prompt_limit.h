// Who waits for a first token, and what the chunk budget makes of it. A free function over the scheduler's parts.
#pragma once

#include "sched/chunk_budget.h"
#include "sched/scheduler_report.h"

namespace quire {

// How many prompt tokens the step under construction may take beside its decodes. Who waits for seats or memory is not
// put off by decodes, and so does not count.
ChunkLimit PromptLimit(const ChunkBudget& budget, const SchedulerView& view);

}  // namespace quire
