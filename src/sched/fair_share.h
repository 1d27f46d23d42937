// Who gives way where clients share fairly: the youngest request of a client that holds more than its share of what
// another one's lacks. A pure function; host logic.
#pragma once

#include <cstdint>
#include <span>

#include "sched/sequence.h"

namespace quire {

// What a request that waits cannot have.
struct Shortage {
  enum class Of : uint8_t { kSeats, kBlocks };
  Of of = Of::kSeats;
  uint32_t num_total = 0;    // that there are
  uint32_t num_wanted = 0;   // that it needs
  uint32_t num_clients = 1;  // that have requests
};

// `running`: the youngest last. A client's last group stays, however much it holds, so that whoever has begun comes to
// an end; and nobody gives way to a client that would then hold more than its share, unless it holds nothing. Null:
// `next` waits until there is room. O(running).
SequenceGroup* WhoGivesWayTo(const SequenceGroup& next, const Shortage& shortage,
                             std::span<SequenceGroup* const> running);

}  // namespace quire
