// From the options that people write to what the scheduler takes.
#pragma once

#include <cstddef>

#include "llm/loader.h"
#include "llm/memory_plan.h"
#include "quire/result.h"
#include "sched/scheduler_config.h"

namespace quire {

// Checks names and what excludes each other; errors name the option. Before anything is loaded.
Status CheckSchedulingOptions(const LoadOptions& options);

// Bytes of swap space that the options ask for; 0 where nothing is ever swapped.
Result<size_t> SwapBytes(const LoadOptions& options);
// Bytes of the prefix cache on disk; 0 without a directory for it.
Result<size_t> DiskBytes(const LoadOptions& options);

// REQUIRES: CheckSchedulingOptions(options).
SchedulerConfig MakeSchedulerConfig(const LoadOptions& options, const MemoryPlan& memory);

}  // namespace quire
