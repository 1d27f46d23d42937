// Apart from the factory, so that test programs can link another one that gives backends guarded memory.
#include "backend/backend_factory.h"

namespace quire {

Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  return MakeCpuBackendIn(HostMemory(), options);
}

}  // namespace quire
