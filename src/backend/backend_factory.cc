#include "backend/backend_factory.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "backend/ref/ref_backend.h"
#include "base/error.h"

namespace quire {

std::vector<std::string> SupportedCpuIsas() { return {"ref"}; }

Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options) {
  if (options.num_threads < 1 || options.num_threads > 1024) {
    return InvalidArgument("number of threads is {}: must be from 1 to 1024", options.num_threads);
  }
  const std::vector<std::string> supported = SupportedCpuIsas();
  const std::string isa = options.isa == "auto" ? supported.back() : options.isa;
  if (std::find(supported.begin(), supported.end(), isa) == supported.end()) {
    return InvalidArgument("this CPU cannot run the instruction set '{}': use auto, {}", isa,
                           fmt::join(supported, ", "));
  }
  return MakeRefBackend(options.num_threads);
}

}  // namespace quire
