// How much memory this process may still take.
#pragma once

#include <cstddef>

#include "llm/kernel_files.h"

namespace quire {

// MemAvailable of /proc/meminfo, bounded by what the limits of the process's control group (version 2 or 1), and of
// those that hold it, leave. Page cache that a group can give back counts as free, as it does in MemAvailable. 1 GiB if
// nothing is said at all.
size_t AvailableMemoryBytes(const KernelFiles& files = {});

}  // namespace quire
