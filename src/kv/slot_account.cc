#include "kv/slot_account.h"

#include <algorithm>

namespace quire {

SequenceSlots Classify(const SequenceExtent& extent) {
  const uint32_t num_held = std::min(extent.num_computed + 1, extent.num_tokens);
  const uint32_t longest = std::max(extent.max_total_tokens, extent.num_tokens);
  const uint32_t token = std::min(num_held, extent.num_slots);
  const uint32_t reserved = std::min(longest, extent.num_slots) - token;
  return {.token = token, .reserved = reserved, .internal = extent.num_slots - token - reserved};
}

}  // namespace quire
