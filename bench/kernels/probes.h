// What the machine can do at this moment, on all threads of a team: read bandwidth and register-only arithmetic.
#pragma once

#include <span>
#include <string>

#include "base/thread_team.h"

namespace quire::bench {

// The best of four read patterns over `memory`, which should be several times as large as the caches. Bytes/s.
double ProbeReadBandwidth(ThreadTeam& team, std::span<const char> memory);

struct PeakRates {
  double f32_flops = 0;   // fused multiply-adds on floats
  double bf16_flops = 0;  // products of bf16 pairs with float sums: by FMAs, unless the set has an instruction
};
// With the widest registers of an instruction set, named as MakeCpuBackend does.
PeakRates ProbePeak(ThreadTeam& team, const std::string& isa);

// Seconds on a monotonic clock.
double Now();

}  // namespace quire::bench
