// RefBackend: the oracle. Plain row-major weights, a plain cache, scalar arithmetic; serves CPUs without AVX2 too.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace quire {

// REQUIRES: num_threads >= 1.
std::unique_ptr<Backend> MakeRefBackend(int num_threads);

}  // namespace quire
