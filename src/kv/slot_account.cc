#include "kv/slot_account.h"

#include <algorithm>

namespace quire {

const char* SlotStateName(SlotState state) {
  static constexpr const char* kNames[kNumSlotStates] = {"token", "reserved", "internal", "external", "cached",
                                                         "free",  "shared",   "swapped",  "on_disk"};
  return kNames[static_cast<size_t>(state)];
}

SequenceSlots Classify(const SequenceExtent& extent) {
  const uint32_t longest = std::max(extent.max_total_tokens, extent.num_held);
  const uint32_t token = std::min(extent.num_held, extent.num_slots);
  const uint32_t reserved = std::min(longest, extent.num_slots) - token;
  return {.token = token, .reserved = reserved, .internal = extent.num_slots - token - reserved};
}

}  // namespace quire
