#include "sched/fair_share.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>

namespace quire {
namespace {

struct Holding {
  uint32_t num_groups = 0;
  uint32_t num_units = 0;
};

uint32_t NumHeld(const SequenceGroup& group, Shortage::Of of) {
  if (of == Shortage::Of::kSeats) return group.num_seats();
  uint32_t num_blocks = 0;
  for (const Sequence& sequence : group.sequences) num_blocks += sequence.kv.num_held();
  return num_blocks;
}

}  // namespace

SequenceGroup* WhoGivesWayTo(const SequenceGroup& next, const Shortage& shortage,
                             std::span<SequenceGroup* const> running) {
  const uint32_t share = shortage.num_total / std::max(shortage.num_clients, 1U);
  std::unordered_map<std::string_view, Holding> holdings;
  for (const SequenceGroup* group : running) {
    Holding& held = holdings[group->request.client_key];
    ++held.num_groups;
    held.num_units += NumHeld(*group, shortage.of);
  }
  const uint32_t num_own = holdings[next.request.client_key].num_units;
  if (num_own > 0 && num_own + shortage.num_wanted > share) return nullptr;
  for (size_t i = running.size(); i-- > 0;) {
    const Holding& held = holdings[running[i]->request.client_key];
    if (held.num_groups > 1 && held.num_units > share) return running[i];
  }
  return nullptr;
}

}  // namespace quire
