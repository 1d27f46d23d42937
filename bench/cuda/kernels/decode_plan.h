// The work list of decode attention: what a step's preparation sends to the card, so that no kernel has to search.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/decode_units.h"

namespace quire::cuda {

struct DecodePlan {
  std::vector<DecodeSequence> sequences;
  std::vector<DecodeUnit> units;
};

// contexts[i] positions of sequence i, whose blocks stand in the table from table_begins[i]. `partition`: positions per
// partition, a multiple of 64 up to kMaxPartition; 0: as PartitionLength has it.
inline DecodePlan PlanDecode(std::span<const int32_t> contexts, std::span<const int32_t> table_begins, int32_t window,
                             int32_t partition = 0) {
  DecodePlan plan;
  for (size_t i = 0; i < contexts.size(); ++i) {
    const int32_t length = partition > 0 ? partition : PartitionLength(contexts[i]);
    const int32_t count = NumPartitions(contexts[i], window, length);
    plan.sequences.push_back({static_cast<int32_t>(plan.units.size()), count});
    for (int32_t p = 0; p < count; ++p) {
      const PartitionRange range = RangeOf(contexts[i], window, length, p);
      plan.units.push_back({.begin = range.begin,
                            .end = range.end,
                            .table_begin = table_begins[i],
                            .sequence = static_cast<int32_t>(i),
                            .num_partitions = count});
    }
  }
  return plan;
}

}  // namespace quire::cuda
