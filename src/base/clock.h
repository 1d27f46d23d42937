// Time as a value: the engine asks a Clock, so that a simulation can run on a virtual one.
#pragma once

#include <chrono>
#include <cstdint>

namespace quire {

// Monotonic microseconds since an arbitrary start.
using TimeUs = int64_t;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimeUs NowUs() const = 0;

  static const Clock& Real();
};

}  // namespace quire
