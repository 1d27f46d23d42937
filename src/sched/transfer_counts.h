// How many transfers have ended, well or badly, by kind.
#pragma once

#include <cstdint>

#include "base/enum_array.h"
#include "sched/step_plan.h"

namespace quire {

struct TransferCount {
  uint64_t completed = 0;
  uint64_t failed = 0;
};
using TransferCounts = EnumArray<Transfer::Kind, TransferCount, kNumTransferKinds>;

}  // namespace quire
