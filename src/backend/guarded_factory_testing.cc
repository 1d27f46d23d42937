// What takes the place of cpu_memory.cc in the guarded runs of test suites: every backend that is made is guarded.
#include "backend/guarded_backend_testing.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  return MakeGuardedBackend(options);
}

}  // namespace quire
