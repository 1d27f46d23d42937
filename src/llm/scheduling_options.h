// From the options that people write to what the scheduler takes. All of it requires CheckLoadOptions(options).
#pragma once

#include <cstddef>

#include "llm/load_options.h"
#include "llm/memory_plan.h"
#include "sched/scheduler_config.h"

namespace quire {

// Bytes of swap space that the options ask for; 0 where nothing is ever swapped.
size_t SwapBytes(const LoadOptions& options);
// Bytes of the prefix cache on disk; 0 without a directory for it.
size_t DiskBytes(const LoadOptions& options);

SchedulerConfig MakeSchedulerConfig(const LoadOptions& options, const MemoryPlan& memory);

}  // namespace quire
