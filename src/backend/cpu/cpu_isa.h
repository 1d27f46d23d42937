// Which kernels this CPU can run.
#pragma once

#include <vector>

#include "backend/cpu/kernel_table.h"

namespace quire::cpu {

// Slowest first; empty on a CPU without AVX2. A table whose bf16 dot product does not give the reference's bits is left
// out: CPUs differ in how they round inside of it.
std::vector<const KernelTable*> SupportedKernels();

}  // namespace quire::cpu
