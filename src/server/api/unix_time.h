// The time that answers name as `created`.
#pragma once

#include <chrono>
#include <cstdint>

namespace quire::server {

inline int64_t SecondsSinceEpoch() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace quire::server
