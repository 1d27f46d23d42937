#include "sched/sequence.h"

#include <utility>

namespace quire {

SequenceGroup::SequenceGroup(Request request_in, uint64_t order, BlockTable table)
    : request(std::move(request_in)), order(order) {
  sequences.emplace_back(std::move(table), request.prompt);
  sequence().stream = request.stream;
}

}  // namespace quire
