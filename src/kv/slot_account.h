// SlotAccount: where every token slot of the KV pool is, at one moment. The classes are those of the paper's Figures 2
// and 3, and what a cache adds to them; they add up to the pool, under every policy.
#pragma once

#include <cstdint>

namespace quire {

struct SlotAccount {
  uint64_t token = 0;     // hold keys and values of running or pinned sequences; a shared slot counts once
  uint64_t reserved = 0;  // given to a sequence that will still fill them
  uint64_t internal = 0;  // given to a sequence that can never fill them
  uint64_t external = 0;  // free, but in pieces too small for the request that waits
  uint64_t cached = 0;    // of nobody, but reusable as a prefix
  uint64_t free = 0;

  // Beside the pool.
  uint64_t shared = 0;   // would be needed on top if sequences shared nothing
  uint64_t swapped = 0;  // in swap space
  uint64_t on_disk = 0;  // in the prefix cache on disk

  uint64_t total() const { return token + reserved + internal + external + cached + free; }
  // Reserved, internal and external as a share of the memory in use, in percent.
  double waste_pct() const {
    const uint64_t waste = reserved + internal + external;
    return token + waste == 0 ? 0 : 100.0 * static_cast<double>(waste) / static_cast<double>(token + waste);
  }
};

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
