// RefBackend: the oracle. Plain row-major weights, a plain cache, scalar arithmetic; serves CPUs without AVX2 too.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/bf16_order.h"

namespace quire {

// "ref" sums products of bf16 values in pairs, as vector instructions do; "ref-amx" in tiles. REQUIRES: num_threads
// >= 1; `memory` outlives the backend.
Result<std::unique_ptr<Backend>> MakeRefBackend(int num_threads, Bf16Order order, MemoryPool& memory);

}  // namespace quire
