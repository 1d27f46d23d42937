// What the benchmarks measure with.
#pragma once

#include "base/clock.h"

namespace quire {

// Since an arbitrary start; never goes back.
inline double NowSeconds() { return static_cast<double>(Clock::Real().NowUs()) * 1e-6; }

}  // namespace quire
