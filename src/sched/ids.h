// Strong ids of scheduling.
#pragma once

#include <cstdint>

namespace quire {

enum class RequestId : uint64_t {};
// A dense index of the running sequences: what runners mirror their per-sequence state by.
enum class SeatId : uint32_t {};

}  // namespace quire
