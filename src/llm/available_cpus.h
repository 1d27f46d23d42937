// How many CPUs this process may use.
#pragma once

#include "llm/kernel_files.h"

namespace quire {

// Those of its affinity mask, bounded by the quotas of its control group (version 2 or 1) and of those that hold it,
// rounded up. At least 1.
int AvailableCpus(const KernelFiles& files = {});

}  // namespace quire
