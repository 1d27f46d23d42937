// CpuBackend: packed panels, a paged cache, and the kernels of one instruction set on a team of threads.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/kernel_table.h"

namespace quire {

// REQUIRES: num_threads >= 1 and a CPU that runs these kernels; `memory` outlives the backend.
Result<std::unique_ptr<Backend>> MakeCpuBackend(int num_threads, const cpu::KernelTable& kernels, MemoryPool& memory);

}  // namespace quire
