// Chooses a CPU backend: the widest instruction set that this CPU has, or the one that is asked for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "quire/result.h"

namespace quire {

struct CpuBackendOptions {
  int num_threads = 1;
  std::string isa = "auto";  // "auto", "ref", "ref-amx", "avx2", "avx512", "avx512bf16", "amx"
};

// kInvalidArgument for an instruction set that does not exist or that this CPU lacks; the message lists what it has.
Status CheckCpuIsa(const std::string& isa);
// Errors of CheckCpuIsa, too.
Result<std::unique_ptr<Backend>> MakeCpuBackend(const CpuBackendOptions& options);
// With the device's memory out of `memory`, which outlives the backend.
Result<std::unique_ptr<Backend>> MakeCpuBackendIn(MemoryPool& memory, const CpuBackendOptions& options);

// The instruction sets that MakeCpuBackend accepts on this CPU, the slowest first, without "auto".
std::vector<std::string> SupportedCpuIsas();

// The reference that gives the same bits as an instruction set: "ref", or "ref-amx".
std::string ReferenceOf(const std::string& isa);

}  // namespace quire
