#include "sched/sequence.h"

#include <utility>

namespace quire {

SequenceGroup::SequenceGroup(Request request_in, uint64_t order, uint32_t max_total_tokens, BlockTable table)
    : request(std::move(request_in)),
      order(order),
      width(static_cast<uint32_t>(request.params.num_streams())),
      max_total_tokens(max_total_tokens),
      has_forked(width == 1 && !request.params.use_beam_search) {
  sequences.emplace_back(std::move(table), request.prompt);
  if (!request.params.use_beam_search) return;
  beams.emplace(request, max_total_tokens);
  hypotheses.resize(width);
}

Sequence* SequenceGroup::Find(SlotId slot) {
  for (Sequence& sequence : sequences) {
    if (sequence.slot == slot) return &sequence;
  }
  return nullptr;
}

}  // namespace quire
