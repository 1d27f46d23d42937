// Which kernels this CPU can run.
#pragma once

#include <vector>

#include "backend/cpu/kernel_table.h"

namespace quire::cpu {

// Slowest first; empty on a CPU without AVX2. A table whose bf16 dot product does not give the reference's bits is left
// out, with a warning: CPUs differ in how they round inside of it. Thread-safe.
const std::vector<const KernelTable*>& SupportedKernels();

}  // namespace quire::cpu
