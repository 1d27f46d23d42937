// SlotAccount: where every token slot of the KV pool is, at one moment. The classes are those of the paper's Figures 2
// and 3, and what a cache adds to them; they add up to the pool, under every policy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/enum_array.h"

namespace quire {

enum class SlotState : uint8_t {
  kToken,     // holds keys and values of running or pinned sequences; a shared slot counts once
  kReserved,  // given to a sequence that will still fill it
  kInternal,  // given to a sequence that can never fill it
  kExternal,  // free, but in pieces too small for the request that waits
  kCached,    // of nobody, but reusable as a prefix
  kFree,
  // Beside the pool.
  kShared,   // would be needed on top if sequences shared nothing
  kSwapped,  // in swap space
  kOnDisk,   // in the prefix cache on disk
};
inline constexpr size_t kNumSlotStates = 9;
inline constexpr size_t kNumPoolStates = 6;  // the first ones: of slots that are in the pool
// "token", "reserved", ..., "on_disk".
const char* SlotStateName(SlotState state);

// Slots by state, or slot-seconds.
template <typename T>
struct SlotCounts : EnumArray<SlotState, T, kNumSlotStates> {
  // Of the pool.
  T total() const {
    T sum = 0;
    for (size_t i = 0; i < kNumPoolStates; ++i) sum += this->values[i];
    return sum;
  }
  // What has come since an earlier reading.
  SlotCounts Since(const SlotCounts& earlier) const {
    SlotCounts passed = *this;
    for (size_t i = 0; i < kNumSlotStates; ++i) passed.values[i] -= earlier.values[i];
    return passed;
  }
  // Reserved, internal and external as a share of the memory in use, in percent.
  double waste_pct() const {
    const auto& self = *this;
    const auto waste =
        static_cast<double>(self[SlotState::kReserved] + self[SlotState::kInternal] + self[SlotState::kExternal]);
    const double used = static_cast<double>(self[SlotState::kToken]) + waste;
    return used > 0 ? 100 * waste / used : 0;
  }
};
using SlotAccount = SlotCounts<uint64_t>;

// The slots of one sequence's block table, or of a part of it.
struct SequenceSlots {
  uint32_t token = 0;
  uint32_t reserved = 0;
  uint32_t internal = 0;
  friend bool operator==(const SequenceSlots&, const SequenceSlots&) = default;
};

struct SequenceExtent {
  uint32_t num_held = 0;          // tokens whose keys and values are in memory, and the current one
  uint32_t max_total_tokens = 0;  // prompt and the longest output
  uint32_t num_slots = 0;         // of the table
};

// Token states first, then what the sequence will fill if its output is as long as can be, then what it never can.
SequenceSlots Classify(const SequenceExtent& extent);

}  // namespace quire
