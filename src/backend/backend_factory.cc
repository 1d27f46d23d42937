#include "backend/backend_factory.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/cpu_isa.h"
#include "backend/ref/ref_backend.h"
#include "base/error.h"

namespace quire {

std::vector<std::string> SupportedCpuIsas() {
  std::vector<std::string> names = {"ref-amx", "ref"};
  for (const cpu::KernelTable* kernels : cpu::SupportedKernels()) names.emplace_back(kernels->name);
  return names;
}

std::string ReferenceOf(const std::string& isa) { return isa.ends_with("amx") ? "ref-amx" : "ref"; }

Status CheckCpuIsa(const std::string& isa) {
  const std::vector<std::string> supported = SupportedCpuIsas();
  if (isa == "auto" || std::find(supported.begin(), supported.end(), isa) != supported.end()) return {};
  return InvalidArgument("this CPU cannot run the instruction set '{}': use auto, {}", isa, fmt::join(supported, ", "));
}

Result<std::unique_ptr<Backend>> MakeCpuBackendIn(MemoryPool& memory, const CpuBackendOptions& options) {
  if (options.num_threads < 1 || options.num_threads > 1024) {
    return InvalidArgument("number of threads is {}: must be from 1 to 1024", options.num_threads);
  }
  QUIRE_RETURN_IF_ERROR(CheckCpuIsa(options.isa));
  const std::string isa = options.isa == "auto" ? SupportedCpuIsas().back() : options.isa;
  for (const cpu::KernelTable* kernels : cpu::SupportedKernels()) {
    if (isa == kernels->name) return MakeCpuBackend(options.num_threads, *kernels, memory);
  }
  return MakeRefBackend(options.num_threads, isa == "ref" ? Bf16Order::kPairs : Bf16Order::kTiles, memory);
}

}  // namespace quire
