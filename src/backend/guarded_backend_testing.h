// A backend whose memory the host cannot touch: its pages are open while an operation runs, and closed otherwise. What
// reads a weight, an activation or the cache past the backend's operations stops the process.
#pragma once

#include <memory>

#include "backend/backend_factory.h"

namespace quire {

// As MakeCpuBackend(options), guarded.
Result<std::unique_ptr<Backend>> MakeGuardedBackend(const CpuBackendOptions& options);

}  // namespace quire
